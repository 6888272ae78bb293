"""The stack of jax's transforms that code runs in."""

from linnet.module_core.nnx.tracers import TraceState as TraceState
from linnet.module_core.nnx.tracers import current_jax_trace as current_jax_trace
