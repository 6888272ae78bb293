"""Attention; see `linnet.layers_attention`."""

from linnet.initializers import Initializer, zeros
from linnet.initializers.defaults import default_kernel_init
from linnet.layers_attention.linen import (
    MultiHeadAttention,
    MultiHeadDotProductAttention,
    SelfAttention,
    combine_masks,
    dot_product_attention,
    dot_product_attention_weights,
    make_attention_mask,
    make_causal_mask,
)
from linnet.layers_linear.linen import DenseGeneral
from linnet.layers_norm.linen import LayerNorm
from linnet.module_core.dtypes import promote_dtype
from linnet.module_core.linen import Module, compact, merge_param
from linnet.module_core.typing import Array, DotGeneralT, Dtype, PrecisionLike, PRNGKey, Shape

from . import initializers

__all__ = [
    "Array",
    "DenseGeneral",
    "DotGeneralT",
    "Dtype",
    "Initializer",
    "LayerNorm",
    "Module",
    "MultiHeadAttention",
    "MultiHeadDotProductAttention",
    "PRNGKey",
    "PrecisionLike",
    "SelfAttention",
    "Shape",
    "combine_masks",
    "compact",
    "default_kernel_init",
    "dot_product_attention",
    "dot_product_attention_weights",
    "initializers",
    "make_attention_mask",
    "make_causal_mask",
    "merge_param",
    "promote_dtype",
    "zeros",
]
