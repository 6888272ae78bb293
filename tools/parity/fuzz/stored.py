"""State dicts and bytes of random trees: the same bytes, read by the other library as well."""

from __future__ import annotations

import collections
import functools
import random
from collections.abc import Iterator, Mapping
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from .libraries import FLAX, LINNET, Library
from .program import Event, Program

Pair = collections.namedtuple("Pair", ["left", "right"])

DTYPES = (
    "float32", "float64", "float16", "bfloat16", "int8", "int32", "int64", "uint8", "uint32",
    "bool", "complex64", "complex128", "float8_e4m3fn", "float8_e5m2", "int4",
)  # fmt: skip
SHAPES: tuple[list[int], ...] = ([], [0], [1], [3], [2, 2], [2, 0, 3], [1, 1, 1])
LEAVES = (
    "int",
    "float",
    "complex",
    "str",
    "bytes",
    "bool",
    "none",
    "numpy",
    "numpy",
    "jax",
    "scalar",
    "key",
)
KEYS = ("a", "b", "c", "0", "1", "ä", "", "a/b")


class Stored:
    """The arm; a program is a tree, and a second one that is restored into the first."""

    name = "stored"
    lenient = True
    follows = False

    def generate(self, random: random.Random) -> Program:
        tree = _tree(random, 3)
        other = tree if random.random() < 0.6 else _changed(random, tree)
        return {"of": tree, "other": other, "order": random.choice(["C", "C", "F"])}

    def peers(self, program: Program) -> tuple[Library, ...]:
        return (FLAX,)

    def run(self, program: Program, library: Library) -> Iterator[Event]:
        store = library.struct.serialization
        other = (LINNET if library is FLAX else FLAX).struct.serialization
        tree = _make(program["of"], library, program.get("order", "C"))
        source = _make(program["other"], library, program.get("order", "C"))
        state = store.to_state_dict(source)
        yield Event("state dict", _plain(state))
        yield from _attempt("bytes of a state dict", lambda: store.msgpack_serialize(state))
        data = store.to_bytes(source)
        yield Event("bytes", data.hex())
        yield Event("read", _plain(store.msgpack_restore(data)))
        yield Event("read by the other", _plain(other.msgpack_restore(data)))
        yield from _attempt("restored", lambda: store.from_state_dict(tree, state))
        yield from _attempt("from bytes", lambda: store.from_bytes(tree, data))
        yield from _attempt("from nothing", lambda: store.from_bytes(None, data))


def _attempt(label: str, do: Any) -> Iterator[Event]:
    """An event, whether or not an error is raised: the next events don't depend on it."""
    try:
        value = do()
    except Exception:
        value = "refused"
    yield Event(label, value.hex() if isinstance(value, bytes) else _plain(value))


def _tree(random: random.Random, depth: int) -> Program:
    if depth == 0 or random.random() < 0.3:
        do = random.choice(LEAVES)
        made: Program = {"do": do, "n": random.choice([0, 1, 5, 127, 128, 255, 256, 65536, 2**40])}
        if do in ("numpy", "jax", "scalar"):
            made |= {"dtype": random.choice(DTYPES), "shape": random.choice(SHAPES)}
        return made
    do = random.choice(
        ["dict", "dict", "dict", "list", "tuple", "pair", "frozen", "dataclass", "numbers"]
    )
    count = 2 if do in ("pair", "dataclass") else random.randrange(4)
    keys = random.sample(KEYS, count)
    return {"do": do, "keys": keys, "of": [_tree(random, depth - 1) for _ in range(count)]}


def _changed(random: random.Random, tree: Program) -> Program:
    """A tree that is nearly the same."""
    if "of" not in tree or random.random() < 0.3:
        return _tree(random, 1)
    parts = list(tree["of"])
    keys = list(tree["keys"])
    if parts and tree["do"] not in ("pair", "dataclass") and random.random() < 0.4:
        i = random.randrange(len(parts))
        del parts[i], keys[i]
    elif parts:
        i = random.randrange(len(parts))
        parts[i] = _changed(random, parts[i])
    return {**tree, "of": parts, "keys": keys}


@functools.cache
def _record(library: Library) -> Any:
    class Record:
        left: Any
        right: Any
        note: str = library.struct.field(pytree_node=False, default="note")

    return library.struct.dataclass(Record)


def _make(tree: Program, library: Library, order: Literal["C", "F"]) -> Any:
    do, n = tree["do"], tree.get("n", 0)
    if "of" in tree:
        parts = [_make(part, library, order) for part in tree["of"]]
        if do in ("list", "tuple"):
            return parts if do == "list" else tuple(parts)
        if do in ("pair", "dataclass"):
            left, right = parts
            return Pair(left, right) if do == "pair" else _record(library)(left, right)
        if do == "numbers":
            return dict(enumerate(parts))
        made = dict(zip(tree["keys"], parts, strict=True))
        return made if do == "dict" else library.struct.freeze(made)
    if do in ("numpy", "jax", "scalar"):
        dtype = jnp.dtype(tree["dtype"])
        if do == "scalar":
            return np.asarray(n % 100).astype(dtype)[()]
        size = int(np.prod(tree["shape"]))
        array = (np.arange(size) + n % 7).reshape(tree["shape"]).astype(dtype)
        return jnp.asarray(array) if do == "jax" else np.asarray(array, order=order)
    return {
        "int": n,
        "float": n / 3,
        "complex": complex(n, 1),
        "str": "é" * (n % 300),
        "bytes": b"\0" * (n % 300),
        "bool": n > 5,
        "none": None,
        "key": jax.random.key(n % 100),
    }[do]


def _plain(value: Any) -> Any:
    """The value, with names in place of types that differ between libraries or versions of jax."""
    if isinstance(value, Mapping):
        name = "dict" if type(value) is dict else type(value).__name__
        return {"type": name} | {f"{k!r}": _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [type(value).__name__, *map(_plain, value)]
    if hasattr(value, "left"):
        return ["record", _plain(value.left), _plain(value.right), value.note]
    return [type(value).__name__, value] if isinstance(value, (np.ndarray, jax.Array)) else value
