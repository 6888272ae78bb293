"""Bridges linen and nnx: wraps modules of one as modules of the other, and converts variables."""

from .as_linen import ToLinen as ToLinen
from .as_linen import to_linen as to_linen
from .as_linen import to_linen_class as to_linen_class
from .as_nnx import ToNNX as ToNNX
from .as_nnx import lazy_init as lazy_init
from .conversion import ConversionError as ConversionError
from .conversion import linen_to_nnx as linen_to_nnx
from .conversion import nnx_to_linen as nnx_to_linen
from .functional_form import Functional as Functional
from .functional_form import functional as functional
from .interop import linen_in_bridge_mdl as linen_in_bridge_mdl
from .interop import nnx_in_bridge_mdl as nnx_in_bridge_mdl
from .module import AttrPriority as AttrPriority
from .module import Module as Module
from .module import compact as compact
from .scopes import Scope as Scope
from .scopes import current_context as current_context
from .scopes import current_module as current_module
from .variables import NNXMeta as NNXMeta
from .variables import linen_vars_to_nnx_attrs as linen_vars_to_nnx_attrs
from .variables import nnx_attrs_to_linen_vars as nnx_attrs_to_linen_vars
from .variables import sort_variable_types as sort_variable_types
from .variables import to_linen_var as to_linen_var
from .variables import to_nnx_var as to_nnx_var
from .variables import with_partitioning as with_partitioning
