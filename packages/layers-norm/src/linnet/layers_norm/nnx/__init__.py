"""The norms as nnx modules: each owns its variables and calls `functional`.

>>> import jax.numpy as jnp
>>> from linnet.layers_norm import nnx
>>> from linnet.module_core.nnx import Rngs
>>> layer = nnx.GroupNorm(4, num_groups=2, rngs=Rngs(0))
>>> layer(jnp.ones((1, 8, 8, 4))).shape
(1, 8, 8, 4)
"""

from .batch import BatchNorm as BatchNorm
from .group import GroupNorm as GroupNorm
from .instance import InstanceNorm as InstanceNorm
from .layer import LayerNorm as LayerNorm
from .rms import RMSNorm as RMSNorm
from .spectral import SpectralNorm as SpectralNorm
from .weight import WeightNorm as WeightNorm
