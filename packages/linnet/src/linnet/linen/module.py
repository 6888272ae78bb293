"""`Module` and related names."""

from linnet.module_core.linen import (
    CollectionFilter,
    DenyList,
    InterceptorContext,
    Module,
    Scope,
    Variable,
    apply,
    compact,
    compact_name_scope,
    disable_named_call,
    enable_named_call,
    init,
    init_with_output,
    intercept_methods,
    merge_param,
    nowrap,
    override_named_call,
    share_scope,
)
from linnet.module_core.linen.context import Interceptor
from linnet.module_core.linen.context import context as _context  # noqa: F401  (module_stack)
from linnet.module_core.linen.filters import union_filters
from linnet.module_core.linen.methods import wrap_method_once
from linnet.module_core.typing import FrozenVariableDict, PRNGKey, RNGSequences, VariableDict
from linnet.struct import FrozenDict

__all__ = [
    "CollectionFilter",
    "DenyList",
    "FrozenDict",
    "FrozenVariableDict",
    "Interceptor",
    "InterceptorContext",
    "Module",
    "PRNGKey",
    "RNGSequences",
    "Scope",
    "Variable",
    "VariableDict",
    "apply",
    "compact",
    "compact_name_scope",
    "disable_named_call",
    "enable_named_call",
    "init",
    "init_with_output",
    "intercept_methods",
    "merge_param",
    "nowrap",
    "override_named_call",
    "share_scope",
    "union_filters",
    "wrap_method_once",
]
