"""Attention, and masks for it."""

from linnet.layers_attention.nnx import MultiHeadAttention as MultiHeadAttention
from linnet.layers_attention.nnx import combine_masks as combine_masks
from linnet.layers_attention.nnx import dot_product_attention as dot_product_attention
from linnet.layers_attention.nnx import (
    dot_product_attention_weights as dot_product_attention_weights,
)
from linnet.layers_attention.nnx import make_attention_mask as make_attention_mask
from linnet.layers_attention.nnx import make_causal_mask as make_causal_mask
