"""nnx modules that are written in the style of linen."""

from linnet.module_core.bridge import AttrPriority as AttrPriority
from linnet.module_core.bridge import Module as Module
from linnet.module_core.bridge import Scope as Scope
from linnet.module_core.bridge import compact as compact
from linnet.module_core.bridge import current_context as current_context
from linnet.module_core.bridge import current_module as current_module
from linnet.module_core.nnx import Pytree as Pytree
from linnet.module_core.nnx import register_data_type as register_data_type
