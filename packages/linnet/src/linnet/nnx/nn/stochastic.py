"""Layers that draw random numbers."""

from linnet.layers_linear.nnx import Dropout as Dropout
from linnet.module_core.nnx import Module as Module
from linnet.module_core.nnx import first_from as first_from
