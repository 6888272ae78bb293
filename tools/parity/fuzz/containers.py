"""Containers against Python's own: both get the same calls, and then the contents are compared.

Linnet must do what the list or dict does, or what Flax does where Flax differs from Python. A
method that raises is an event like any other; exceptions are compared by their built-in class.
"""

from __future__ import annotations

import operator
import pickle
import random
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax

from .libraries import FLAX, LINNET, PYTHON, Library
from .program import Event, Program

ERRORS = (IndexError, KeyError, AttributeError, ValueError, TypeError)
EVERY_OTHER = slice(None, None, 2)
KEYS = ("a", "b", "c", "d_e")

# Methods of a list, with the number of integer arguments.
LIST: dict[str, tuple[int, Callable[..., Any]]] = {
    "append": (1, lambda m, x, v: x.append(v(m))),
    "insert": (2, lambda m, x, v, i: x.insert(i - 2, v(m))),
    "pop": (1, lambda m, x, v: x.pop(m - 3)),
    "pop last": (0, lambda x, v: x.pop()),
    "extend": (2, lambda m, x, v, n: x.extend([v(m), v(n)])),
    "extend by itself": (0, lambda x, v: x.extend(x)),
    "extend by an iterator": (1, lambda m, x, v: x.extend(v(i) for i in range(m))),
    "get": (1, lambda m, x, v: x[m - 4]),
    "set": (2, lambda m, x, v, i: operator.setitem(x, i - 2, v(m))),
    "delete": (1, lambda m, x, v: operator.delitem(x, m - 3)),
    "get slice": (3, lambda m, x, v, n, k: x[m - 3 : n : (k or None)]),
    "set slice": (3, lambda m, x, v, n, k: operator.setitem(x, slice(m - 2, n), [v(k), v(n)])),
    "set wide slice": (2, lambda m, x, v, n: operator.setitem(x, EVERY_OTHER, [v(m), v(n)])),
    "delete slice": (2, lambda m, x, v, n: operator.delitem(x, slice(m - 2, n))),
    "delete wide slice": (1, lambda m, x, v: operator.delitem(x, slice(None, None, m))),
    "index": (1, lambda m, x, v: x.index(m)),
    "count": (1, lambda m, x, v: x.count(m)),
    "contains": (1, lambda m, x, v: m in x),
    "remove": (1, lambda m, x, v: x.remove(m)),
    "reverse": (0, lambda x, v: x.reverse()),
    "sort": (0, lambda x, v: x.sort()),
    "clear": (0, lambda x, v: x.clear()),
    "copy": (0, lambda x, v: x.copy()),
    "reversed": (0, lambda x, v: list(reversed(x))),
    "iterate": (0, lambda x, v: list(x)),
    "unpack": (0, lambda x, v: (lambda *a: a)(*x)),
    "add": (1, lambda m, x, v: operator.add(x, [v(m)])),
    "add in place": (1, lambda m, x, v: operator.iadd(x, [v(m)])),
    "times": (1, lambda m, x, v: x * m),
    "truth": (0, lambda x, v: bool(x)),
    "equals its copy": (0, lambda x, v: x == type(x)(list(x))),
    "of a name": (0, lambda x, v: x["a"]),
    "of a float": (0, lambda x, v: x[1.0]),
    "of True": (0, lambda x, v: x[True]),
    "while it grows": (0, lambda x, v: [x.append(v(7)) for _, y in zip(range(2), x, strict=False)]),
}  # fmt: skip

# Methods of a mapping, with the number of keys and of numbers.
MAPPING: dict[str, tuple[int, int, Callable[..., Any]]] = {
    "get item": (1, 0, lambda x, v, k: x[k]),
    "get": (1, 0, lambda x, v, k: x.get(k)),
    "get with default": (1, 1, lambda x, v, k, n: x.get(k, n)),
    "contains": (1, 0, lambda x, v, k: k in x),
    "length": (0, 0, lambda x, v: len(x)),
    "iterate": (0, 0, lambda x, v: sorted(x)),
    "keys": (0, 0, lambda x, v: sorted(x.keys())),
    "values": (0, 0, lambda x, v: len(list(x.values()))),
    "items": (0, 0, lambda x, v: sorted(k for k, _ in x.items())),
    "truth": (0, 0, lambda x, v: bool(x)),
    "unpack": (0, 0, lambda x, v: dict(**x)),
    "dict": (0, 0, lambda x, v: dict(x)),
}
MUTABLE_MAPPING: dict[str, tuple[int, int, Callable[..., Any]]] = {
    "set": (1, 1, lambda x, v, k, n: operator.setitem(x, k, v(n))),
    "set nested": (2, 1, lambda x, v, k, j, n: operator.setitem(x[k], j, v(n))),
    "set dict": (2, 1, lambda x, v, k, j, n: operator.setitem(x, k, {j: v(n)})),
    "delete": (1, 0, lambda x, v, k: operator.delitem(x, k)),
    "pop": (1, 0, lambda x, v, k: x.pop(k)),
    "pop with default": (1, 1, lambda x, v, k, n: x.pop(k, n)),
    "setdefault": (1, 1, lambda x, v, k, n: x.setdefault(k, v(n))),
    "update": (1, 1, lambda x, v, k, n: x.update({k: v(n)})),
    "update by names": (0, 1, lambda x, v, n: x.update(a=v(n), z=v(n))),
    "update by pairs": (1, 1, lambda x, v, k, n: x.update([(k, v(n))])),
    "clear": (0, 0, lambda x, v: x.clear()),
    "or in place": (1, 1, lambda x, v, k, n: operator.ior(x, {k: v(n)})),
}
STATE: dict[str, tuple[int, int, Callable[..., Any]]] = {
    **MAPPING,
    **MUTABLE_MAPPING,
    "equals dict": (0, 0, lambda x, v: x == _dict(x)),
    "equals other": (1, 1, lambda x, v, k, n: x == {k: n}),
    "leaves": (0, 0, lambda x, v: [_plain(y) for y in jax.tree.leaves(x)]),
    "mapped": (0, 0, lambda x, v: jax.tree.map(lambda y: y + 1, x)),
}
FROZEN: dict[str, tuple[int, int, Callable[..., Any]]] = {
    **MAPPING,
    "set": (1, 1, lambda x, v, k, n: operator.setitem(x, k, n)),
    "delete": (1, 0, lambda x, v, k: operator.delitem(x, k)),
    "equals dict": (0, 0, lambda x, v: x == _dict(x)),
    "equals other": (1, 1, lambda x, v, k, n: x == {k: n}),
    "leaves": (0, 0, lambda x, v: jax.tree.leaves(x)),
    "mapped": (0, 0, lambda x, v: jax.tree.map(lambda y: y + 1, x)),
    "pickled": (0, 0, lambda x, v: pickle.loads(pickle.dumps(x))),
}
FROZEN_ALONE: dict[str, tuple[int, int, Callable[..., Any]]] = {
    "copy": (1, 1, lambda x, v, k, n: x.copy({k: n})),
    "copy nested": (2, 1, lambda x, v, k, j, n: x.copy({k: {j: n}})),
    "pop": (1, 0, lambda x, v, k: list(x.pop(k))),
    "unfreeze": (0, 0, lambda x, v: x.unfreeze()),
    "hash": (0, 0, lambda x, v: hash(x) == hash(type(x)(_dict(x)))),
    "repr": (0, 0, lambda x, v: repr(x)),
    "pretty": (0, 0, lambda x, v: x.pretty_repr()),
    "paths": (
        0,
        0,
        lambda x, v: [jax.tree_util.keystr(p) for p, _ in jax.tree.leaves_with_path(x)],
    ),
    "or": (1, 1, lambda x, v, k, n: x | {k: n}),
}


class Containers:
    """The arm; a program is a kind of container, its initial contents, and the methods to call."""

    name = "containers"
    lenient = True
    follows = True

    def generate(self, random: random.Random) -> Program:
        of = random.choice(
            ["list", "list", "variables", "dict", "state", "frozen", "frozen", "paths"]
        )
        steps = []
        if of in ("list", "variables"):
            start: Any = [random.randrange(5) for _ in range(random.randrange(5))]
        else:
            start = _nested(random, 0 if of == "dict" else 3)
        if of == "paths":
            sep = random.choice([None, "/", "_", ""])
            return {"of": of, "start": start, "sep": sep, "keep": random.random() < 0.5}
        for _ in range(random.randint(1, 10)):
            if of in ("list", "variables"):
                do = random.choice(list(LIST))
                steps.append({"do": do, "n": [random.randrange(7) for _ in range(LIST[do][0])]})
            else:
                methods = _methods(of)
                do = random.choice(list(methods))
                keys, numbers, _ = methods[do]
                steps.append(
                    {
                        "do": do,
                        "k": [random.choice(KEYS) for _ in range(keys)],
                        "n": [random.randrange(7) for _ in range(numbers)],
                    }
                )
        return {"of": of, "start": start, "steps": steps}

    def peers(self, program: Program) -> tuple[Library, ...]:
        return (FLAX,) if program.get("of") == "paths" else (FLAX, PYTHON)

    def run(self, program: Program, library: Library) -> Iterator[Event]:
        of = program["of"]
        if of == "paths":
            yield from _paths(program, library)
            return
        box = _make(of, program["start"], library)
        # A peer that differs continues with the contents of Linnet's container.
        lead = _make(of, program["start"], LINNET)
        for step in program["steps"]:
            box, result = _called(step, of, box, library)
            yield Event(f"{of}: {step['do']}", result)
            yield Event(f"{of}: content after {step['do']}", content := _plain(box))
            lead, _ = _called(step, of, lead, LINNET)
            if content != (wanted := _plain(lead)):
                box = _make(of, wanted, library)


def _called(step: Program, of: str, box: Any, library: Library) -> tuple[Any, Any]:
    """The container after a step, and the method's result or exception."""
    do, numbers, keys = step["do"], step.get("n", []), step.get("k", [])
    value = _element(of, library)
    try:
        if of in ("list", "variables"):
            count, method = LIST[do]
            given = [*numbers[:1], box, value, *numbers[1:]] if count else [box, value]
        else:
            *_, method = _methods(of)[do]
            given = [box, value, *keys, *numbers]
        return box, _plain(method(*given))
    except Exception as error:
        return box, _raised(error)


def _methods(of: str) -> dict[str, tuple[int, int, Callable[..., Any]]]:
    if of == "frozen":
        return FROZEN | FROZEN_ALONE
    return STATE if of == "state" else MAPPING | MUTABLE_MAPPING


def _make(of: str, start: Any, library: Library) -> Any:
    value = _element(of, library)
    if of in ("list", "variables"):
        items = [value(n) for n in start]
        return items if library is PYTHON else library.nnx.List(items)
    if library is PYTHON:
        return start
    if of == "dict":
        return library.nnx.Dict(start)
    return library.nnx.State(start) if of == "state" else library.struct.freeze(start)


def _element(of: str, library: Library) -> Callable[[int], Any]:
    if of != "variables" or library is PYTHON:
        return lambda n: n
    return lambda n: library.nnx.Param(n)


def _paths(program: Program, library: Library) -> Iterator[Event]:
    """`flatten_dict` and back."""
    util = library.struct.traverse_util
    flat = util.flatten_dict(program["start"], keep_empty_nodes=program["keep"], sep=program["sep"])
    # An empty node is an object of the library.
    yield Event("paths: flat", {k: v if isinstance(v, int) else "empty" for k, v in flat.items()})
    yield Event("paths: nested again", util.unflatten_dict(flat, sep=program["sep"]))


def _nested(random: random.Random, depth: int) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for key in KEYS:
        if (chance := random.random()) < 0.4:
            made[key] = random.randrange(5)
        elif chance < 0.7 and depth:
            made[key] = _nested(random, depth - 1)
    return made


def _raised(error: Exception) -> list[str]:
    return ["raises", next((c.__name__ for c in ERRORS if isinstance(error, c)), "other")]


def _plain(value: Any) -> Any:
    """The contents without the libraries' classes."""
    if isinstance(value, Mapping) or hasattr(value, "items"):
        return {k: _plain(value[k]) for k in sorted(value)}
    if isinstance(value, (str, int, float, bool)) or value is None:
        return value
    if hasattr(value, "get_value"):
        return _plain(value.get_value())
    if isinstance(value, jax.Array):
        return value.tolist()
    return [_plain(x) for x in value]


def _dict(value: Any) -> Any:
    return {k: _dict(v) for k, v in value.items()} if hasattr(value, "items") else value
