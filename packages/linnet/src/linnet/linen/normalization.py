"""Normalization; see `linnet.layers_norm`."""

from linnet.initializers import Initializer
from linnet.layers_norm.linen import (
    BatchNorm,
    GroupNorm,
    InstanceNorm,
    LayerNorm,
    RMSNorm,
    SpectralNorm,
    WeightNorm,
)
from linnet.module_core.dtypes import canonicalize_dtype
from linnet.module_core.linen import Module, compact, map_variables, merge_param
from linnet.module_core.typing import Array, Axes, Dtype, PRNGKey, Shape

from . import initializers

__all__ = [
    "Array",
    "Axes",
    "BatchNorm",
    "Dtype",
    "GroupNorm",
    "Initializer",
    "InstanceNorm",
    "LayerNorm",
    "Module",
    "PRNGKey",
    "RMSNorm",
    "Shape",
    "SpectralNorm",
    "WeightNorm",
    "canonicalize_dtype",
    "compact",
    "initializers",
    "map_variables",
    "merge_param",
]
