"""Modules that are written as in linen."""

from linnet.module_core.nnx import Pytree as Pytree
from linnet.module_core.nnx import register_data_type as register_data_type
from linnet.module_core.nnx.bridge import AttrPriority as AttrPriority
from linnet.module_core.nnx.bridge import Module as Module
from linnet.module_core.nnx.bridge import Scope as Scope
from linnet.module_core.nnx.bridge import compact as compact
from linnet.module_core.nnx.bridge import current_context as current_context
from linnet.module_core.nnx.bridge import current_module as current_module
