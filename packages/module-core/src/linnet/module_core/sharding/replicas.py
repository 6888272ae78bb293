"""`check_replicated`: whether all copies of a value are equal.

JAX assumes that devices with the same part of an array hold the same numbers, and that processes
which pass the same value to a program pass the same numbers. It checks neither: a model whose keys
come from `Rngs(jax.process_index())` trains, but is a different model in each process.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

from ..errors import ArgumentError, counted
from .leaves import by_path, is_array, is_key

_WORDS = 2  # of 32 bits, in a digest
_MOST = 20


def check_replicated(tree: object) -> None:
    """Checks that all copies of each value are equal, bit for bit.

    Copies are the parts of an array that several devices hold, and the values of which each process
    has its own: NumPy arrays, and arrays on its devices alone. In a program of several processes,
    all of them have to call this function, with trees that have the same paths. Each array is read
    once; between processes, only checksums of 64 bits are sent.

    Args:
      tree: linen variables, an nnx module or state, or any tree of arrays.

    Raises:
      ArgumentError: copies differ, or processes have different trees; all paths are named.

    >>> import jax.numpy as jnp
    >>> check_replicated({"params": jnp.ones(3)})
    """
    arrays = {path: x for path, x in by_path(tree).items() if is_array(x)}
    # (array, part of it, device) and a digest, for each part that this process has.
    rows = [
        (i, *_words(part), device, *digest)
        for i, x in enumerate(arrays.values())
        for part, device, digest in _parts(x)
    ]
    own = np.array(rows, np.uint32).reshape(-1, 2 + 2 * _WORDS)
    everywhere = _gathered(own, _words("\n".join(arrays)))
    seen: dict[tuple[int, ...], dict[tuple[int, ...], list[str]]] = {}
    for process, table in enumerate(everywhere):
        for row in table.tolist():
            part, device, digest = tuple(row[: 1 + _WORDS]), row[1 + _WORDS], tuple(row[-_WORDS:])
            holder = f"process {process}" if device == _NONE else f"device {device}"
            seen.setdefault(part, {}).setdefault(digest, []).append(holder)
    names = list(arrays)
    differing = {
        names[part[0]]: list(holders.values()) for part, holders in seen.items() if len(holders) > 1
    }
    if not differing:
        return
    lines = [
        f"{path}: {' differs from '.join(', '.join(group) for group in groups[:4])}"
        for path, groups in list(differing.items())[:_MOST]
    ]
    if len(differing) > _MOST:
        lines.append(f"… and {len(differing) - _MOST} more")
    listed = "".join(f"\n  {line}" for line in lines)
    raise ArgumentError(
        f"Copies of {counted(len(differing), 'value')} differ:{listed}",
        hint="Was a seed or a value made from jax.process_index(), from the time, or from a file of"
        " one process? Make it in one, and pass it on:"
        " jax.experimental.multihost_utils.broadcast_one_to_all(value).",
    )


_NONE = 2**32 - 1  # in place of a device, for a value that belongs to one process


def _parts(x: object) -> Iterator[tuple[str, int, tuple[int, ...]]]:
    """Each part of an array that this process has: its index, its device and its digest."""
    kind = f"{getattr(x, 'dtype', None)}{getattr(x, 'shape', ())}"
    if isinstance(x, jax.Array) and is_key(x):
        x = jax.random.key_data(x)
    if not isinstance(x, jax.Array) or len(x.sharding.device_set) == 1:
        yield "all", _NONE, _digest(x, kind)
        return
    alone = x.is_fully_addressable and jax.process_count() > 1
    for shard in x.addressable_shards:
        holder = _NONE if alone else shard.device.id
        yield str(shard.index), holder, _digest(shard.data, kind)


def _digest(x: object, kind: str) -> tuple[int, ...]:
    return _words(kind.encode() + np.ascontiguousarray(np.asarray(x)).tobytes())


def _words(text: str | bytes) -> tuple[int, ...]:
    encoded = text.encode() if isinstance(text, str) else text
    digest = hashlib.blake2b(encoded, digest_size=4 * _WORDS).digest()
    return tuple(np.frombuffer(digest, np.uint32).tolist())


def _gathered(own: np.ndarray[Any, Any], paths: tuple[int, ...]) -> list[np.ndarray[Any, Any]]:
    """The tables of all processes."""
    if jax.process_count() == 1:
        return [own]
    from jax.experimental import multihost_utils

    heads = multihost_utils.process_allgather(np.array([*paths, len(own)], np.uint32))
    if len({tuple(head[:_WORDS]) for head in heads.tolist()}) > 1:
        raise ArgumentError(
            "The processes check trees that have different arrays.",
            hint="Do all of them build the same model, from the same configuration?",
        )
    most = int(heads[:, -1].max())
    padded = np.zeros((most, own.shape[1]), np.uint32)
    padded[: len(own)] = own
    tables = np.asarray(multihost_utils.process_allgather(padded))
    return [table[:length] for table, length in zip(tables, heads[:, -1], strict=True)]
