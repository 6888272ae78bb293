"""Layers that draw random numbers."""

from linnet.layers_linear.linen import Dropout

__all__ = ["Dropout"]
