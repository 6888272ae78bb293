"""What differs between the supported versions of jax; each entry says when it can go."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any


@functools.cache
def _trace_state_function() -> Callable[[], Any]:
    # jax.extend.core has it from 0.7 on; jax.core, which has it in 0.6, warns from then on.
    # `import jax.extend` takes 35 ms, hence at first use. Can go with jax 0.6.
    try:
        from jax.extend.core import get_opaque_trace_state
    except ImportError:
        from jax.core import get_opaque_trace_state
    return functools.partial(get_opaque_trace_state, convention="flax")


def trace_state() -> Any:
    """A value that is equal for two moments under the same stack of jax traces."""
    return _trace_state_function()()


def reshard(x: Any, sharding: Any) -> Any:
    """Moves an array to a sharding on a mesh whose axes are all explicit."""
    # jax.sharding has it from 0.7 on. Can go with jax 0.6.
    try:
        from jax.sharding import reshard
    except ImportError:
        from jax.experimental.shard import reshard
    return reshard(x, sharding)
