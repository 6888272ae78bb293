"""The default initializers of a norm's parameters, in both styles."""

from __future__ import annotations

from linnet.initializers import Initializer, ones_init, zeros_init

default_scale_init: Initializer = ones_init()
default_bias_init: Initializer = zeros_init()

__all__ = ["Initializer", "default_bias_init", "default_scale_init"]
