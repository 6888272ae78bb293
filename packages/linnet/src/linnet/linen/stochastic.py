"""Layers that draw random numbers."""

from linnet.layers_linear.linen import Dropout
from linnet.module_core.linen import Module, compact, merge_param
from linnet.module_core.typing import PRNGKey

__all__ = [
    "Dropout",
    "Module",
    "PRNGKey",
    "compact",
    "merge_param",
]
