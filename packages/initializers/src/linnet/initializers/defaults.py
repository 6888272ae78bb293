"""The default initializers of the layers' parameters."""

from __future__ import annotations

from ._constant import ones_init, zeros_init
from ._orthogonal import orthogonal
from ._recipe import Initializer
from ._scaled import lecun_normal, variance_scaling

default_kernel_init: Initializer = lecun_normal()
default_bias_init: Initializer = zeros_init()
default_scale_init: Initializer = ones_init()

# The table is [rows, features]: a row is one unit's weights, so the fan is counted over rows.
default_embed_init: Initializer = variance_scaling(1.0, "fan_in", "normal", out_axis=0)

# For recurrent cells.
default_recurrent_kernel_init: Initializer = orthogonal()
default_forget_bias_init: Initializer = ones_init()
default_carry_init: Initializer = zeros_init()

__all__ = [
    "default_bias_init",
    "default_carry_init",
    "default_embed_init",
    "default_forget_bias_init",
    "default_kernel_init",
    "default_recurrent_kernel_init",
    "default_scale_init",
]
