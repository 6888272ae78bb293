"""Linear, convolution and embedding layers."""

from linnet.initializers import Initializer
from linnet.initializers.defaults import default_embed_init, default_kernel_init
from linnet.layers_linear.functional import canonicalize_padding
from linnet.layers_linear.linen import (
    Conv,
    ConvLocal,
    ConvTranspose,
    Dense,
    DenseGeneral,
    Einsum,
    Embed,
)
from linnet.module_core.dtypes import promote_dtype
from linnet.module_core.linen import Module, compact
from linnet.module_core.typing import (
    Array,
    ConvGeneralDilatedT,
    DotGeneralT,
    Dtype,
    LaxPadding,
    PaddingLike,
    PrecisionLike,
    PRNGKey,
    PromoteDtypeFn,
    Shape,
)

from . import initializers

__all__ = [
    "Array",
    "Conv",
    "ConvGeneralDilatedT",
    "ConvLocal",
    "ConvTranspose",
    "Dense",
    "DenseGeneral",
    "DotGeneralT",
    "Dtype",
    "Einsum",
    "Embed",
    "Initializer",
    "LaxPadding",
    "Module",
    "PRNGKey",
    "PaddingLike",
    "PrecisionLike",
    "PromoteDtypeFn",
    "Shape",
    "canonicalize_padding",
    "compact",
    "default_embed_init",
    "default_kernel_init",
    "initializers",
    "promote_dtype",
]
