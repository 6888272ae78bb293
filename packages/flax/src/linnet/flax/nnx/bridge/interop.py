"""The names of `flax.nnx.bridge.interop`."""

from linnet.nnx import eval_shape as nnx_eval_shape  # noqa: F401
from linnet.nnx import jit as nnx_jit  # noqa: F401
from linnet.nnx.bridge.interop import *  # noqa: F403
