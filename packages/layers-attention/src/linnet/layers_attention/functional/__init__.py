"""Attention as pure functions of arrays: no modules, no state, no implicit random keys.

They work with plain JAX, for example under `jax.grad`:

>>> import jax, jax.numpy as jnp
>>> from linnet.layers_attention import functional
>>> def loss(query, key, value):
...     return jnp.sum(functional.dot_product_attention(query, key, value, is_causal=True) ** 2)
>>> q = k = v = jnp.ones((2, 16, 4, 8))
>>> jax.grad(loss)(q, k, v).shape
(2, 16, 4, 8)
"""

from ._choice import record_implementations as record_implementations
from .cache import Cache as Cache
from .cache import CacheOptions as CacheOptions
from .cache import Extended as Extended
from .cache import append_to_cache as append_to_cache
from .cache import extend_cache as extend_cache
from .cache import init_cache as init_cache
from .cache import overflowed as overflowed
from .dot_product import dot_product_attention as dot_product_attention
from .dot_product import dot_product_attention_weights as dot_product_attention_weights
from .masks import combine_masks as combine_masks
from .masks import make_attention_mask as make_attention_mask
from .masks import make_causal_mask as make_causal_mask
from .position_bias import ALiBi as ALiBi
from .position_bias import RelativeBuckets as RelativeBuckets
from .position_bias import alibi as alibi
from .rotary import LinearScaling as LinearScaling
from .rotary import Llama3Scaling as Llama3Scaling
from .rotary import LongRoPEScaling as LongRoPEScaling
from .rotary import NTKScaling as NTKScaling
from .rotary import Rotary as Rotary
from .rotary import YaRNScaling as YaRNScaling
from .rotary import rotary as rotary
from .rotary_config import rotary_from_config as rotary_from_config
