"""`reseed`: gives the streams of a module new keys by tag.

Streams with the same tag get different keys from one seed, in the order of traversal:
`fold_in(key, 0)`, `fold_in(key, 1)` ....
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Literal

import jax

from ...errors import ArgumentError, describe
from ..structure.states import Path, path_text
from .rng_splitting import iter_streams, replace_key
from .rngs import RngStream, as_key

Array = jax.Array
Policy = Callable[[Path, Array, tuple[int, ...]], Array]


def reseed(
    node: object,
    /,
    *,
    graph: bool | None = None,
    policy: Literal["scalars_only", "match_shape"] | Policy = "scalars_only",
    **stream_keys: object,
) -> None:
    """Restarts streams from new seeds, in place.

    A tag that no stream has reseeds nothing. If the object has streams of other tags, a warning
    says so: a layer that found no stream of its own name in its `Rngs` draws from "default", and
    has that tag. An object without streams is left as it is, so that a program can reseed
    whatever model it trains.

    Args:
      node: an object with streams.
      graph: False raises an error for shared references.
      policy: how to handle streams that hold an array of keys. 'scalars_only' raises an error,
        'match_shape' splits the new key to the same shape; a function of the path, the new key and
        the shape of the old keys returns the replacement, for every stream.
      **stream_keys: a seed, key or stream for each tag.

    Raises:
      ArgumentError: a value is not a seed, key or stream; or a stream is split and the policy
        doesn't allow it. No stream is changed in this case.

    Warns:
      UserWarning: no stream has one of the tags.

    >>> from linnet.module_core import nnx
    >>> rngs = nnx.Rngs(params=0, dropout=1)
    >>> first = rngs.dropout()
    >>> nnx.reseed(rngs, dropout=42)
    >>> int(rngs.dropout.count.value), int(rngs.params.count.value)
    (0, 0)
    """
    choose = _POLICIES.get(policy) if isinstance(policy, str) else policy
    if not callable(choose):
        raise ArgumentError(
            f"policy must be 'scalars_only', 'match_shape' or a function, got {describe(policy)}."
        )
    keys = {
        tag: value.key.get_value() if isinstance(value, RngStream) else as_key(value)
        for tag, value in stream_keys.items()
    }
    met = dict.fromkeys(keys, 0)
    tags: set[str] = set()
    chosen: list[tuple[RngStream, Array]] = []
    for path, stream in iter_streams(node, graph=graph):
        tag = stream.tag
        tags.add(str(tag))
        if tag in keys:
            key = jax.random.fold_in(keys[tag], met[tag])
            met[tag] += 1
            chosen.append((stream, choose(path, key, stream.key.shape)))
    for stream, key in chosen:
        replace_key(stream, key)
    unknown = [tag for tag, times in met.items() if times == 0]
    if unknown and tags:
        warnings.warn(
            f"nnx.reseed: no stream has the tag {' or '.join(map(repr, unknown))}; the tags are"
            f" {', '.join(map(repr, sorted(tags)))}. Layers that were made from an Rngs without"
            " such a stream draw from 'default'.",
            stacklevel=2,
        )


def _scalars_only(path: Path, key: Array, shape: tuple[int, ...]) -> Array:
    if shape != ():
        raise ArgumentError(
            f"The stream at {path_text(path)} holds an array of keys of shape {shape}; one new "
            "key can't replace all of them.",
            hint="Pass policy='match_shape' if its keys should all differ, or a function.",
        )
    return key


def _match_shape(path: Path, key: Array, shape: tuple[int, ...]) -> Array:
    return key if shape == () else jax.random.split(key, shape)


_POLICIES: dict[str, Policy] = {"scalars_only": _scalars_only, "match_shape": _match_shape}
