"""The contract of every nnx layer, over the table of layers."""

from types import SimpleNamespace

from linnet.layers_attention import nnx as layers
from nnx_contracts import *  # noqa: F403  (the tests)

from .nnx_layer_table import LAYERS

# The result of a RelativePositionBias is a function: test_decoding.py has its tests.
MODULES = SimpleNamespace(
    **{name: value for name, value in vars(layers).items() if name != "RelativePositionBias"}
)

__all__ = ["LAYERS", "MODULES"]
