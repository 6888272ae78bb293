"""The bridge between linen and nnx: wraps modules of one style in the other, converts variables."""

from linnet.module_core.bridge import AttrPriority as AttrPriority
from linnet.module_core.bridge import ConversionError as ConversionError
from linnet.module_core.bridge import Functional as Functional
from linnet.module_core.bridge import Module as Module
from linnet.module_core.bridge import NNXMeta as NNXMeta
from linnet.module_core.bridge import Scope as Scope
from linnet.module_core.bridge import ToLinen as ToLinen
from linnet.module_core.bridge import ToNNX as ToNNX
from linnet.module_core.bridge import compact as compact
from linnet.module_core.bridge import current_context as current_context
from linnet.module_core.bridge import current_module as current_module
from linnet.module_core.bridge import functional as functional
from linnet.module_core.bridge import lazy_init as lazy_init
from linnet.module_core.bridge import linen_in_bridge_mdl as linen_in_bridge_mdl
from linnet.module_core.bridge import linen_to_nnx as linen_to_nnx
from linnet.module_core.bridge import linen_vars_to_nnx_attrs as linen_vars_to_nnx_attrs
from linnet.module_core.bridge import nnx_attrs_to_linen_vars as nnx_attrs_to_linen_vars
from linnet.module_core.bridge import nnx_in_bridge_mdl as nnx_in_bridge_mdl
from linnet.module_core.bridge import nnx_to_linen as nnx_to_linen
from linnet.module_core.bridge import sort_variable_types as sort_variable_types
from linnet.module_core.bridge import to_linen as to_linen
from linnet.module_core.bridge import to_linen_class as to_linen_class
from linnet.module_core.bridge import to_linen_var as to_linen_var
from linnet.module_core.bridge import to_nnx_var as to_nnx_var
from linnet.module_core.bridge import with_partitioning as with_partitioning

from ..nn import initializers as initializers
from . import conversion as conversion
from . import interop as interop
from . import module as module
from . import variables as variables
from . import wrappers as wrappers
