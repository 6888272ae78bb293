"""Differences between the versions of JAX that this package supports."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable

import jax

HAS_OUT_SHARDING = "out_sharding" in inspect.signature(jax.nn.initializers.zeros).parameters
"""Initializers take `out_sharding`. Remove once the oldest supported jax is 0.7."""


@functools.cache
def _trace_state_function() -> Callable[[], object]:
    # In jax.extend.core since 0.7. In 0.6, it is in jax.core, which warns about it from 0.7 on.
    # `import jax.extend` takes 35 ms, so it waits for the first use. Remove once the oldest is 0.7.
    try:
        from jax.extend.core import get_opaque_trace_state
    except ImportError:
        from jax.core import get_opaque_trace_state
    return functools.partial(get_opaque_trace_state, convention="flax")


def trace_state() -> object:
    """A value that identifies the current stack of jax traces, and can be compared."""
    return _trace_state_function()()
