"""The layers as linen modules: each declares its parameters from its input and calls `functional`.

>>> import jax, jax.numpy as jnp
>>> from linnet.layers_linear import linen
>>> dense = linen.Dense(8)
>>> _, variables = dense.init_with_output(jax.random.key(0), jnp.ones((5, 2)))
>>> jax.tree.map(jnp.shape, variables)
{'params': {'bias': (8,), 'kernel': (2, 8)}}
"""

from .conv import Conv as Conv
from .conv_local import ConvLocal as ConvLocal
from .conv_transpose import ConvTranspose as ConvTranspose
from .dense import Dense as Dense
from .dense_general import DenseGeneral as DenseGeneral
from .dropout import Dropout as Dropout
from .einsum import Einsum as Einsum
from .embed import Embed as Embed
from .feed_forward import GLU as GLU
from .feed_forward import MLP as MLP
from .fp8 import Fp8DirectDotGeneralOp as Fp8DirectDotGeneralOp
from .fp8 import Fp8DotGeneral as Fp8DotGeneral
from .fp8 import Fp8DotGeneralOp as Fp8DotGeneralOp
from .fp8 import Fp8Einsum as Fp8Einsum
from .fp8 import NANOOFp8DotGeneralOp as NANOOFp8DotGeneralOp
from .pooling import avg_pool as avg_pool
from .pooling import max_pool as max_pool
from .pooling import min_pool as min_pool
from .pooling import pool as pool
from .prelu import PReLU as PReLU
