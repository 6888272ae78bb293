"""Initializers: functions that draw the initial values of a model's parameters.

`factory(...)` returns an initializer, `initializer(key, shape, dtype)` an array. The values are
those of `jax.nn.initializers`. In addition, initializers can be compared, printed, hashed and
pickled, errors name the bad argument, and identical layers are traced once.

>>> import jax
>>> from linnet import initializers
>>> kernel_init = initializers.lecun_normal()
>>> kernel_init
lecun_normal()
>>> kernel_init == initializers.lecun_normal()
True
>>> kernel_init(jax.random.key(0), (784, 128)).shape
(784, 128)
"""

from ._constant import constant, ones, ones_init, zeros, zeros_init
from ._distributions import normal, truncated_normal, uniform
from ._orthogonal import delta_orthogonal, orthogonal
from ._recipe import Initializer
from ._scaled import (
    glorot_normal,
    glorot_uniform,
    he_normal,
    he_uniform,
    kaiming_normal,
    kaiming_uniform,
    lecun_normal,
    lecun_uniform,
    variance_scaling,
    xavier_normal,
    xavier_uniform,
)

__all__ = [
    "Initializer",
    "constant",
    "delta_orthogonal",
    "glorot_normal",
    "glorot_uniform",
    "he_normal",
    "he_uniform",
    "kaiming_normal",
    "kaiming_uniform",
    "lecun_normal",
    "lecun_uniform",
    "normal",
    "ones",
    "ones_init",
    "orthogonal",
    "truncated_normal",
    "uniform",
    "variance_scaling",
    "xavier_normal",
    "xavier_uniform",
    "zeros",
    "zeros_init",
]
