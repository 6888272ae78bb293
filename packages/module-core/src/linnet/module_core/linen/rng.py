"""Random keys of scopes: one `fold_in` per key, however deep the path.

A scope holds a root key for each stream, and the path of names from the root. The n-th draw
(n = 1, 2, …) from a stream in a scope is

    key = fold_in(root, first 4 bytes of SHA-1(name_1 ‖ name_2 ‖ … ‖ n), big-endian)

with names encoded as UTF-8 and n as the shortest big-endian number. The hash of the names is
computed once per scope, as a running SHA-1 that each child continues and each draw copies.

The draws are counted in a separate tree (`Draws`), with one node per path, which outlives the
scopes: a second scope for the same path (a compact method that runs twice, a transform's body that
is traced again) continues counting where the first one stopped.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from linnet.struct import dataclass, field

from ..config import config
from ..errors import InvalidRngError, describe
from ..typing import PRNGKey, RNGSequences

Names = tuple[int | str, ...]
"""Names of a path, and numbers of draws, that are folded into a key."""


class Draws:
    """The number of draws from each stream at one path, and below it."""

    __slots__ = ("children", "counts")

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        self.children: dict[str, Draws] = {}

    def child(self, name: str) -> Draws:
        """The node of the path extended by `name`."""
        node = self.children.get(name)
        if node is None:
            node = self.children[name] = Draws()
        return node

    def next(self, stream: str) -> int:
        """Counts one more draw from `stream`; the first is 1."""
        n = self.counts[stream] = self.counts.get(stream, 0) + 1
        return n

    def snapshot(self) -> dict[tuple[str, ...], dict[str, int]]:
        """All counts here and below, by path."""
        found: dict[tuple[str, ...], dict[str, int]] = {(): dict(self.counts)}
        for name, node in self.children.items():
            found.update({(name, *path): counts for path, counts in node.snapshot().items()})
        return found

    def reset(self, snapshot: dict[tuple[str, ...], dict[str, int]]) -> None:
        """Sets the counts to a snapshot; at paths that aren't in it, nothing has been drawn."""
        for path in self.snapshot():
            node = self
            for name in path:
                node = node.child(name)
            node.counts = dict(snapshot.get(path, {}))

    def restore(self, snapshot: dict[tuple[str, ...], dict[str, int]]) -> None:
        """Sets the counts to a value that `snapshot` returned."""
        for path, counts in snapshot.items():
            node = self
            for name in path:
                node = node.child(name)
            node.counts = dict(counts)


class PathHash:
    """The running SHA-1 of a path of names.

    Args:
      separate: hash a NUL byte before each name and number (`flax_fix_rng_separator`).
    """

    __slots__ = ("_hash", "names", "separate")

    def __init__(
        self, separate: bool, _hash: hashlib._Hash | None = None, names: Names = ()
    ) -> None:
        self.separate = separate
        self._hash = hashlib.sha1() if _hash is None else _hash
        self.names = names

    def child(self, name: str) -> PathHash:
        """The hash of the path extended by `name`."""
        longer = self._hash.copy()
        longer.update(b"\0" + name.encode() if self.separate else name.encode())
        return PathHash(self.separate, longer, (*self.names, name))

    def extended(self, suffix: Iterable[int | str]) -> PathHash:
        """The hash of the path extended by several names, or numbers of draws."""
        longer = self._hash.copy()
        for part in suffix:
            data = part.encode() if isinstance(part, str) else _shortest(part)
            longer.update(b"\0" + data if self.separate else data)
        return PathHash(self.separate, longer, (*self.names, *suffix))

    def fold(self, root: PRNGKey) -> PRNGKey:
        """`root` with the hash folded in; unchanged if the path is empty."""
        return fold_in(root, self.digest()) if self.names else root

    def number(self, n: int) -> np.uint32 | jax.Array:
        """The number that is folded into the root key for the n-th draw."""
        return _first_bytes(self._after(n))

    def numbers(self, n: int) -> np.uint32 | np.ndarray[Any, Any]:
        """The same number; in a loop over layers with paths of their own, one for each layer.

        Returns:
          uint32 [length of each such loop, from the outermost].
        """
        return _first_bytes(self._after(n))

    def digest(self) -> np.uint32 | jax.Array:
        """The number of the path itself."""
        return _first_bytes(self._hash)

    def _after(self, n: int) -> hashlib._Hash:
        last = self._hash.copy()
        count = _shortest(n)
        last.update(b"\0" + count if self.separate else count)
        return last

    def key(self, root: PRNGKey, n: int) -> PRNGKey:
        """The key of the n-th draw below `root`."""
        return fold_in(root, self.number(n))


def _first_bytes(digested: hashlib._Hash) -> np.uint32:
    return np.uint32(int.from_bytes(digested.digest()[:4], "big"))


def _shortest(n: int) -> bytes:
    return n.to_bytes((n.bit_length() + 7) // 8, "big")


@dataclass
class LazyRng:
    """A random key that has names folded in once it is needed.

    Args:
      rng: the root key.
      suffix: names, and numbers of draws.

    >>> import jax
    >>> lazy = LazyRng.create(jax.random.key(0), "Dense_0", 1)
    >>> lazy.suffix
    ('Dense_0', 1)
    >>> jax.random.key_data(lazy.clear_suffix().rng)
    Array([0, 0], dtype=uint32)
    """

    rng: PRNGKey
    suffix: Names = field(pytree_node=False)

    @classmethod
    def create(cls, rng: LazyRng | PRNGKey, *suffix: int | str) -> LazyRng:
        """`rng` with more names."""
        if isinstance(rng, LazyRng):
            return cls(rng.rng, (*rng.suffix, *suffix))
        return cls(rng, suffix)

    def as_jax_rng(self) -> PRNGKey:
        """The key: one `fold_in` of the hash of all names."""
        return PathHash(config.flax_fix_rng_separator).extended(self.suffix).fold(self.rng)

    def clear_suffix(self) -> LazyRng:
        """The root key, without names."""
        return LazyRng(self.rng, ())


# Jitted: an eager call takes a tenth of the time, and a second trace finds the first one's result.
# Integer arithmetic, so the bits are the same.
fold_in: Callable[[PRNGKey, np.uint32 | jax.Array], PRNGKey] = jax.jit(jax.random.fold_in)


def is_key(value: object) -> bool:
    """Whether `value` is a single random key: a typed one, or raw data of the default kind.

    Raw data is recognized by shape and dtype (uint32 of shape (2,) for threefry).
    """
    if not isinstance(value, jax.Array | np.ndarray):
        return False
    if jnp.issubdtype(value.dtype, jax.dtypes.prng_key):
        return value.shape == ()
    data = _raw_key(str(jax.config.jax_default_prng_impl))  # type: ignore[attr-defined]
    return bool(value.shape == data.shape and value.dtype == data.dtype)


@functools.cache
def _raw_key(impl: str) -> jax.ShapeDtypeStruct:
    return jax.eval_shape(lambda: jax.random.key_data(jax.random.key(0, impl=impl)))  # type: ignore[no-any-return]


@functools.cache
def abstract_key() -> jax.ShapeDtypeStruct:
    """Shape and dtype of a random key."""
    return jax.eval_shape(lambda: jax.random.key(0))  # type: ignore[no-any-return]


def as_streams(
    rngs: Any, caller: str, *, owner: str = "Module ", required: bool = False
) -> RNGSequences:
    """Converts the user's `rngs` to streams by name (None: no streams, unless `required`).

    Errors name the `caller`, and what it is (`owner`).

    Raises:
      InvalidRngError: `rngs`, or one of its entries, is not a key.
    """
    if rngs is None and not required:
        return {}
    if not isinstance(rngs, dict):
        if not is_key(rngs):
            raise InvalidRngError(
                f"{caller} needs a random key, or a dict of keys by stream; got {describe(rngs)}.",
                hint="Pass jax.random.key(seed), or a dict of streams: "
                "{'params': key1, 'dropout': key2}.",
            )
        return {"params": rngs}
    for stream, key in rngs.items():
        if not isinstance(stream, str) or not is_key(key):
            raise BadStreamError(
                f"The random stream {stream!r} passed to {owner}{caller} should be a "
                f"jax.random.key, but is {describe(key)}.",
                hint=(
                    "Pass one key per stream: {'params': key1, 'dropout': key2}; split a "
                    "batch of keys with jax.vmap."
                ),
            )
    return dict(rngs)


def roots_of(rngs: Mapping[str, PRNGKey | LazyRng]) -> tuple[Names, RNGSequences]:
    """The names folded into all keys, and the root keys, of streams that may be lazy."""
    suffixes = {k.suffix if isinstance(k, LazyRng) else () for k in rngs.values()}
    if len(suffixes) == 1:
        plain = {s: k.rng if isinstance(k, LazyRng) else k for s, k in rngs.items()}
        return suffixes.pop(), as_streams(plain, "Scope", owner="")
    # A scope has one path for all streams, so different ones are folded in now.
    folded = {s: k.as_jax_rng() if isinstance(k, LazyRng) else k for s, k in rngs.items()}
    return (), as_streams(folded, "Scope", owner="")


class BadStreamError(InvalidRngError, ValueError):
    """An entry of a dict of random streams is not a key."""
