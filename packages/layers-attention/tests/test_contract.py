"""What every layer promises, over the table of layers."""

import pytest

from contracts import *  # noqa: F403  (the tests)
from linnet.layers_attention import linen

from .layer_table import LAYERS

MODULES = linen

pytestmark = pytest.mark.filterwarnings("ignore:SelfAttention is deprecated:DeprecationWarning")

__all__ = ["LAYERS", "MODULES"]
