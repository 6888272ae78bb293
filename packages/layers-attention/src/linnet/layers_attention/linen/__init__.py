"""Attention as linen modules: they declare projections, and call `functional`.

>>> import jax, jax.numpy as jnp
>>> from linnet.layers_attention import linen
>>> layer = linen.MultiHeadAttention(num_heads=2)
>>> variables = layer.init(jax.random.key(0), jnp.ones((1, 5, 8)))
>>> jax.tree.map(jnp.shape, variables["params"]["query"])
{'bias': (2, 4), 'kernel': (8, 2, 4)}
"""

from ..functional import ALiBi as ALiBi
from ..functional import CacheOptions as CacheOptions
from ..functional import LinearScaling as LinearScaling
from ..functional import Llama3Scaling as Llama3Scaling
from ..functional import LongRoPEScaling as LongRoPEScaling
from ..functional import NTKScaling as NTKScaling
from ..functional import RelativeBuckets as RelativeBuckets
from ..functional import Rotary as Rotary
from ..functional import YaRNScaling as YaRNScaling
from ..functional import alibi as alibi
from ..functional import combine_masks as combine_masks
from ..functional import make_attention_mask as make_attention_mask
from ..functional import make_causal_mask as make_causal_mask
from ..functional import rotary_from_config as rotary_from_config
from .dot_product import dot_product_attention as dot_product_attention
from .dot_product import dot_product_attention_weights as dot_product_attention_weights
from .multi_head import MultiHeadAttention as MultiHeadAttention
from .multi_head import MultiHeadDotProductAttention as MultiHeadDotProductAttention
from .position_bias import RelativePositionBias as RelativePositionBias
from .self_attention import SelfAttention as SelfAttention
