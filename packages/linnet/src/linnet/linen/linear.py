"""Linear, convolution and embedding layers."""

from linnet.layers_linear.functional import canonicalize_padding
from linnet.layers_linear.linen import (
    Conv,
    ConvLocal,
    ConvTranspose,
    Dense,
    DenseGeneral,
    Einsum,
    Embed,
    default_embed_init,
    default_kernel_init,
)

__all__ = [
    "Conv",
    "ConvLocal",
    "ConvTranspose",
    "Dense",
    "DenseGeneral",
    "Einsum",
    "Embed",
    "canonicalize_padding",
    "default_embed_init",
    "default_kernel_init",
]
