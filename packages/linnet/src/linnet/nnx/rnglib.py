"""Streams of random keys."""

from linnet.module_core.nnx import RngCount as RngCount
from linnet.module_core.nnx import RngKey as RngKey
from linnet.module_core.nnx import Rngs as Rngs
from linnet.module_core.nnx import RngState as RngState
from linnet.module_core.nnx import RngStream as RngStream
