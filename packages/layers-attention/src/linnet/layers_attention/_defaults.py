"""The default initializers of attention, in both styles."""

from __future__ import annotations

from linnet.initializers import Initializer, lecun_normal, zeros_init

default_kernel_init: Initializer = lecun_normal()
default_bias_init: Initializer = zeros_init()

__all__ = ["Initializer", "default_bias_init", "default_kernel_init"]
