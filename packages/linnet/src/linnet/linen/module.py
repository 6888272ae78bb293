"""`Module` and what belongs to it."""

from linnet.module_core.linen import (
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

__all__ = [
    "InterceptorContext",
    "Module",
    "Scope",
    "Variable",
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
]
