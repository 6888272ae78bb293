"""`flax.core.tracers`: which trace of jax a program is in."""

from linnet.module_core._compat import trace_state
from linnet.module_core.errors import JaxTransformError

__all__ = ["check_trace_level", "current_trace"]


def current_trace() -> object:
    """A value that stays equal as long as no transform of jax begins or ends."""
    return trace_state()


def check_trace_level(base_level: object) -> None:
    """Checks that the program is still where `current_trace` returned `base_level`.

    Raises:
      JaxTransformError: a transform of jax has begun or ended.
    """
    if trace_state() != base_level:
        raise JaxTransformError(
            "A transform of jax has begun or ended since this object was made.",
            hint="Use the lifted transforms of `linnet.linen`, or make the object inside.",
        )
