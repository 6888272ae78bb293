"""The norms as linen modules: each declares its parameters from its input and calls `functional`.

>>> import jax, jax.numpy as jnp
>>> from linnet.layers_norm import linen
>>> norm = linen.GroupNorm(num_groups=2)
>>> y, variables = norm.init_with_output(jax.random.key(0), jnp.ones((2, 6, 6, 4)))
>>> jax.tree.map(jnp.shape, variables)
{'params': {'bias': (4,), 'scale': (4,)}}
"""

from .batch import BatchNorm as BatchNorm
from .group import GroupNorm as GroupNorm
from .instance import InstanceNorm as InstanceNorm
from .layer import LayerNorm as LayerNorm
from .rms import RMSNorm as RMSNorm
from .spectral import SpectralNorm as SpectralNorm
from .weight import WeightNorm as WeightNorm
