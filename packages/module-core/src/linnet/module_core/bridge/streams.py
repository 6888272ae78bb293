"""Streams of an nnx module whose caller provides the random keys, or none.

The module's streams were created from a placeholder seed. A stream is seeded with the key that was
given for it. Without a key, it must not be drawn from: its numbers would be the same in every call.
"""

from __future__ import annotations

from collections.abc import Collection

from ..errors import InvalidRngError
from ..nnx.streams.rngs import RngStream
from ..nnx.structure.iteration import iter_graph
from ..typing import Output


class _Forbidden(RngStream):
    """A stream without a key: drawing from it is an error."""

    def __call__(self) -> Output:
        raise InvalidRngError(
            f"A layer draws from the stream {self.tag!r}, but apply got no key for it.",
            hint="Pass keys for the streams that the nnx module uses,"
            " rngs={'dropout': jax.random.key(0)}, or make the layers that use them"
            " deterministic.",
        )


def forbid_streams(module: object, *, but: Collection[str] = ()) -> None:
    """Makes draws from streams of `module` raise an error, except those whose tag is in `but`."""
    for _, stream in iter_graph(module):
        if isinstance(stream, RngStream) and stream.tag not in but:
            object.__setattr__(stream, "__class__", _Forbidden)
