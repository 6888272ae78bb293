"""The layers as nnx modules: each makes its parameters when constructed and calls `functional`.

>>> import jax.numpy as jnp
>>> from linnet.layers_linear import nnx
>>> from linnet.module_core.nnx import Rngs
>>> layer = nnx.Linear(3, 4, rngs=Rngs(0))
>>> layer(jnp.ones((2, 3))).shape
(2, 4)
"""

from linnet.module_core.nnx import LoRAParam as LoRAParam

from .conv import Conv as Conv
from .conv_transpose import ConvTranspose as ConvTranspose
from .dense import Linear as Linear
from .dense_general import LinearGeneral as LinearGeneral
from .dropout import Dropout as Dropout
from .einsum import Einsum as Einsum
from .embed import Embed as Embed
from .feed_forward import GLU as GLU
from .feed_forward import MLP as MLP
from .lora import LoRA as LoRA
from .lora import LoRALinear as LoRALinear
from .pooling import avg_pool as avg_pool
from .pooling import max_pool as max_pool
from .pooling import min_pool as min_pool
from .pooling import pool as pool
from .prelu import PReLU as PReLU
