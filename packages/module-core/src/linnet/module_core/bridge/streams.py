"""Streams of an nnx module that runs where its caller gives the keys, or gives none.

The module's own streams were made from a placeholder seed. A stream for which a key was given is
seeded with it; one for which there is none must not be drawn from: its numbers would be the same
at every call.
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
            f"The stream {self.tag!r} is drawn from, and apply was given no key for it.",
            hint="Pass keys for the streams that the nnx module uses,"
            " rngs={'dropout': jax.random.key(0)}, or make the layers that use them"
            " deterministic.",
        )


def forbid_streams(module: object, *, but: Collection[str] = ()) -> None:
    """Makes an error of each draw from a stream of `module` whose tag is not in `but`."""
    for _, stream in iter_graph(module):
        if isinstance(stream, RngStream) and stream.tag not in but:
            object.__setattr__(stream, "__class__", _Forbidden)
