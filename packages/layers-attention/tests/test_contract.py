"""The contract of every layer, over the table of layers."""

from types import SimpleNamespace

import pytest

from contracts import *  # noqa: F403  (the tests)
from linnet.layers_attention import linen

from .layer_table import LAYERS

# The result of a RelativePositionBias is a function: test_decoding.py has its tests.
MODULES = SimpleNamespace(
    **{name: value for name, value in vars(linen).items() if name != "RelativePositionBias"}
)

pytestmark = pytest.mark.filterwarnings("ignore:SelfAttention is deprecated:DeprecationWarning")

__all__ = ["LAYERS", "MODULES"]
