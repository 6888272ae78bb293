"""The contract of every layer, over the table of layers."""

from contracts import *  # noqa: F403  (the tests)
from linnet.layers_linear import linen

from .layer_table import LAYERS

MODULES = linen

# Products inside layers, which round on purpose; see test_fp8.py.
TESTED_APART = [
    linen.Fp8DirectDotGeneralOp,
    linen.Fp8DotGeneralOp,
    linen.Fp8Einsum,
    linen.NANOOFp8DotGeneralOp,
]

__all__ = ["LAYERS", "MODULES", "TESTED_APART"]
