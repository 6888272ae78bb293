"""Defaults that depend on other arguments, for both styles."""

from __future__ import annotations

from linnet.initializers import Initializer, zeros
from linnet.initializers.defaults import default_scale_init


def scale_init_of(init: Initializer, *, zero_centered: bool) -> Initializer:
    """The initializer of an `RMSNorm`'s scale: zeros in place of ones if the layer adds 1 to it."""
    return zeros if zero_centered and init is default_scale_init else init
