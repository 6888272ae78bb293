"""The stack of jax transforms that code runs in, for code that checks it explicitly."""

from __future__ import annotations

from .nodes.edits import trace_state


def current_jax_trace() -> object:
    """The current stack of transforms; equal values mean the same stack."""
    return trace_state()


class TraceState:
    """The stack of transforms at the time of construction."""

    __slots__ = ("_jax_trace",)

    def __init__(self) -> None:
        self._jax_trace = trace_state()

    @property
    def jax_trace(self) -> object:
        """See `current_jax_trace`."""
        return self._jax_trace

    def is_valid(self) -> bool:
        """Whether the stack is still the same, so that objects from that time may be changed."""
        return bool(self._jax_trace == trace_state())

    def __setstate__(self, state: object) -> None:
        self._jax_trace = trace_state()  # an unpickled object is made where it is loaded

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TraceState) and bool(self._jax_trace == other._jax_trace)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"TraceState(jax_trace={self._jax_trace!r})"
