"""What the layers' constructor arguments have in common, in both styles."""

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
"""What kernels are made with unless told otherwise."""

default_bias_init: Initializer = zeros_init()
"""What biases are made with unless told otherwise."""

# The table is [rows, features]: a row is one unit's weights, so the fan is counted over rows.
default_embed_init: Initializer = variance_scaling(1.0, "fan_in", "normal", out_axis=0)
"""What the table of `Embed` is made with unless told otherwise."""

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
