"""The layers' arithmetic as pure functions of arrays: no modules, state or implicit random keys.

They work with plain JAX, e.g. under `jax.grad` over kernels that you keep yourself:

>>> import jax, jax.numpy as jnp
>>> from linnet.layers_linear import functional
>>> def loss(kernel, x):
...     return jnp.sum(functional.dense(x, kernel) ** 2)
>>> jax.grad(loss)(jnp.ones((3, 2)), jnp.ones((4, 3))).shape
(3, 2)
"""

from linnet.module_core.layers import check_rate as check_rate

from ._padding import TRANSPOSE_PADDINGS as TRANSPOSE_PADDINGS
from ._padding import canonicalize_padding as canonicalize_padding
from .activation import gelu as gelu
from .activation import logsumexp as logsumexp
from .activation import relu as relu
from .activation import relu6 as relu6
from .activation import silu as silu
from .activation import softmax as softmax
from .conv import conv as conv
from .conv import conv_kernel_shape as conv_kernel_shape
from .conv_local import ConvLocalShapes as ConvLocalShapes
from .conv_local import conv_local as conv_local
from .conv_local import conv_local_shapes as conv_local_shapes
from .conv_transpose import conv_transpose as conv_transpose
from .conv_transpose import conv_transpose_kernel_shape as conv_transpose_kernel_shape
from .dense import dense as dense
from .dense_general import DenseGeneralShapes as DenseGeneralShapes
from .dense_general import dense_general as dense_general
from .dense_general import dense_general_shapes as dense_general_shapes
from .dropout import dropout as dropout
from .einsum import EinsumShapes as EinsumShapes
from .einsum import einsum as einsum
from .einsum import einsum_shapes as einsum_shapes
from .einsum import einsum_terms as einsum_terms
from .embed import attend as attend
from .embed import embed as embed
from .feed_forward import gated as gated
from .feed_forward import gated_halves as gated_halves
from .fp8 import fp8_rounded_dot_general as fp8_rounded_dot_general
from .fp8 import fp8_scaled_dot_general as fp8_scaled_dot_general
from .lora import lora as lora
from .pooling import avg_pool as avg_pool
from .pooling import max_pool as max_pool
from .pooling import min_pool as min_pool
from .pooling import pool as pool
from .prelu import prelu as prelu
