"""Normalization as pure functions of arrays: no module, no state.

They work with plain JAX, e.g. under `jax.grad` with respect to parameters that you keep yourself:

>>> import jax, jax.numpy as jnp
>>> from linnet.layers_norm import functional
>>> def loss(scale, x):
...     return jnp.sum(functional.rms_norm(x, scale) ** 2)
>>> jax.grad(loss)(jnp.ones(3), jnp.ones((4, 3))).shape
(3,)
"""

from ._checks import feature_shape as feature_shape
from ._moments import Moments as Moments
from .batch import batch_moments as batch_moments
from .batch import batch_norm as batch_norm
from .batch import running_average as running_average
from .group import group_norm as group_norm
from .instance import instance_norm as instance_norm
from .layer import layer_norm as layer_norm
from .rms import rms_norm as rms_norm
from .spectral import SpectralNormed as SpectralNormed
from .spectral import spectral_norm as spectral_norm
from .weight import weight_norm as weight_norm
