"""Linen variables as nnx variables, and back."""

from linnet.module_core.bridge import NNXMeta as NNXMeta
from linnet.module_core.bridge import linen_vars_to_nnx_attrs as linen_vars_to_nnx_attrs
from linnet.module_core.bridge import nnx_attrs_to_linen_vars as nnx_attrs_to_linen_vars
from linnet.module_core.bridge import sort_variable_types as sort_variable_types
from linnet.module_core.bridge import to_linen_var as to_linen_var
from linnet.module_core.bridge import to_nnx_var as to_nnx_var
from linnet.module_core.bridge import with_partitioning as with_partitioning
from linnet.module_core.bridge.variables import get_col_name as get_col_name
from linnet.module_core.bridge.variables import is_vanilla_variable as is_vanilla_variable
