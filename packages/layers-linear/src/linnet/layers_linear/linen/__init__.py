"""The layers as linen modules: each declares its parameters from its input and calls `functional`.

>>> import jax, jax.numpy as jnp
>>> from linnet.layers_linear import linen
>>> layer = linen.Dense(features=4)
>>> variables = layer.init(jax.random.key(0), jnp.ones((1, 3)))
>>> jax.tree.map(jnp.shape, variables)
{'params': {'bias': (4,), 'kernel': (3, 4)}}
"""

from linnet.initializers.defaults import default_embed_init as default_embed_init
from linnet.initializers.defaults import default_kernel_init as default_kernel_init

from .conv import Conv as Conv
from .conv_local import ConvLocal as ConvLocal
from .conv_transpose import ConvTranspose as ConvTranspose
from .dense import Dense as Dense
from .dense_general import DenseGeneral as DenseGeneral
from .dropout import Dropout as Dropout
from .einsum import Einsum as Einsum
from .embed import Embed as Embed
from .pooling import avg_pool as avg_pool
from .pooling import max_pool as max_pool
from .pooling import min_pool as min_pool
from .pooling import pool as pool
from .prelu import PReLU as PReLU
