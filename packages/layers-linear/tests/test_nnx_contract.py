"""The contract of every nnx layer, over the table of layers."""

from linnet.layers_linear import nnx as MODULES
from nnx_contracts import *  # noqa: F403  (the tests)

from .nnx_layer_table import LAYERS

__all__ = ["LAYERS", "MODULES"]
