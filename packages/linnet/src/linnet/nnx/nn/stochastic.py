"""Layers that draw random numbers."""

from linnet.layers_linear.nnx import Dropout as Dropout
