"""The contract of every layer, over the table of layers."""

from contracts import *  # noqa: F403  (the tests)
from linnet.layers_recurrent import linen

from .layer_table import LAYERS

MODULES = linen

__all__ = ["LAYERS", "MODULES"]
