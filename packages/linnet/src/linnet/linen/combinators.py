"""`Sequential`, under the name of its module in Flax."""

from linnet.module_core.linen import Module, Sequential, compact

__all__ = [
    "Module",
    "Sequential",
    "compact",
]
