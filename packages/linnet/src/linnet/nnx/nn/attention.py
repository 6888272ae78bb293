"""Attention, and masks for it."""

from linnet.initializers import Initializer as Initializer
from linnet.initializers.defaults import default_kernel_init as default_kernel_init
from linnet.layers_attention.nnx import MultiHeadAttention as MultiHeadAttention
from linnet.layers_attention.nnx import combine_masks as combine_masks
from linnet.layers_attention.nnx import dot_product_attention as dot_product_attention
from linnet.layers_attention.nnx import (
    dot_product_attention_weights as dot_product_attention_weights,
)
from linnet.layers_attention.nnx import make_attention_mask as make_attention_mask
from linnet.layers_attention.nnx import make_causal_mask as make_causal_mask
from linnet.layers_linear.nnx import LinearGeneral as LinearGeneral
from linnet.layers_norm.nnx import LayerNorm as LayerNorm
from linnet.module_core.nnx import Module as Module
from linnet.module_core.nnx import first_from as first_from
from linnet.module_core.typing import Array as Array
from linnet.module_core.typing import DotGeneralT as DotGeneralT
from linnet.module_core.typing import Dtype as Dtype
from linnet.module_core.typing import PrecisionLike as PrecisionLike
from linnet.module_core.typing import PromoteDtypeFn as PromoteDtypeFn
from linnet.module_core.typing import Shape as Shape
