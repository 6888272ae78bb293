"""Modules, and functions that look through them."""

from linnet.module_core.nnx import Module as Module
from linnet.module_core.nnx import Pytree as Pytree
from linnet.module_core.nnx import State as State
from linnet.module_core.nnx import capture as capture
from linnet.module_core.nnx import first_from as first_from
from linnet.module_core.nnx import iter_children as iter_children
from linnet.module_core.nnx import iter_module_children as iter_module_children
from linnet.module_core.nnx import iter_modules as iter_modules
from linnet.module_core.nnx import split_state as split_state
from linnet.module_core.nnx import view as view
from linnet.module_core.nnx import view_info as view_info
from linnet.module_core.nnx import with_attributes as with_attributes
