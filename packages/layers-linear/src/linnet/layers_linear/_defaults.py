"""Defaults of the constructor arguments that both styles share."""

from __future__ import annotations

from linnet.initializers import Initializer, lecun_normal, variance_scaling, zeros_init
from linnet.layers_linear.functional._checks import integer, integers, shape_of, vector_features
from linnet.layers_linear.functional._types import (
    Array,
    ConvGeneralDilated,
    DotGeneral,
    DTypeLike,
    PaddingLike,
    PrecisionLike,
    PromoteDtype,
    Shape,
)

default_kernel_init: Initializer = lecun_normal()
"""The default initializer of kernels."""

default_bias_init: Initializer = zeros_init()
"""The default initializer of biases."""

# The table is [rows, features]: a row is one unit's weights, so the fan is counted over rows.
default_embed_init: Initializer = variance_scaling(1.0, "fan_in", "normal", out_axis=0)
"""The default initializer of the table of `Embed`."""

__all__ = [
    "Array",
    "ConvGeneralDilated",
    "DTypeLike",
    "DotGeneral",
    "Initializer",
    "PaddingLike",
    "PrecisionLike",
    "PromoteDtype",
    "Shape",
    "default_bias_init",
    "default_embed_init",
    "default_kernel_init",
    "integer",
    "integers",
    "shape_of",
    "vector_features",
]
