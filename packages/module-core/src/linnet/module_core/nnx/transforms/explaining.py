"""Says why `nnx.jit` traces a function again, in terms of the user's modules.

With `jax_explain_cache_misses`, jax says which of its arguments differs from earlier calls. For
`nnx.jit`, these are a structure and a flat list of arrays. The function here therefore remembers
what each trace was made for, as a mapping from places, written as the user would write them, to
what was found there; each new trace is compared with the earlier one that differs least:

    nnx.jit traces train_step again (trace 2):
      model.dropout.deterministic is True, was False before

Nothing is remembered, or done at all, while the option is off.
"""

from __future__ import annotations

import inspect
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax

from ..containers import List
from ..nodes.contents import path_name
from ..nodes.kinds import ARRAY, DICT, LIST, OBJECT, REFERENCE, STATIC, TREE, VARIABLE
from ..nodes.statics import static_key
from ..structure.bundle import Hole
from ..structure.graphdef import GraphDef
from .prefixes import attribute_text, place_text

_log = logging.getLogger("linnet.nnx.jit")

_MOST_REMEMBERED = 32  # traces of a function
_MOST_SHOWN = 6  # differences

_NO_DIFFERENCE = (
    "Structure, static values and types are those of an earlier trace. Either the cache was "
    "cleared, or an option of jax, the mesh, or the sharding of an argument has changed."
)

_times_made: Counter[object] = Counter()
"""How often functions of the same code were given to `nnx.jit` and traced."""


class Found(NamedTuple):
    """What was at a place: a key that is equal for equal contents, and a description."""

    key: Any
    text: str


class Explainer:
    """Explains why one function is traced, while `jax_explain_cache_misses` is on.

    Args:
      fun: the function.
      names: the names of its parameters.
    """

    def __init__(self, fun: Callable[..., Any], names: Sequence[str]) -> None:
        self._fun = fun
        self._names = names
        self._traces: list[Mapping[str, Found]] = []

    def traced(
        self,
        graphdef: GraphDef,
        values: Sequence[Any],
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        static: Iterable[tuple[int | str, Any]],
    ) -> None:
        """Logs why the function is traced, unless it is the first time.

        Args:
          graphdef: the structure of the objects of the call.
          values: the values of their leaves.
          args, kwargs: the arguments by position and by name, with holes for the objects.
          static: the static ones among them, by position or by name.
        """
        options: Any = jax.config  # whose type lacks the options
        if not options.jax_explain_cache_misses:
            return
        found = {
            **self._of_arguments(args, kwargs, dict(static)),
            **_of_objects(graphdef, values, self._holes(args, kwargs)),
        }
        shown = inspect.unwrap(self._fun)
        name = getattr(shown, "__qualname__", type(shown).__name__)
        code = getattr(shown, "__code__", None)
        if self._traces:
            found_before = reversed(self._traces)  # the last of those that differ least
            lines = min((_differences(old, found) for old in found_before), key=len)
            more = [f"and {len(lines) - _MOST_SHOWN} more"] if len(lines) > _MOST_SHOWN else []
            _log.warning(
                "nnx.jit traces %s again (trace %d):\n  %s",
                name,
                len(self._traces) + 1,
                "\n  ".join([*lines[:_MOST_SHOWN], *more]) or _NO_DIFFERENCE,
            )
        elif code is not None:
            if _times_made[code]:
                _log.warning(
                    "nnx.jit traces %s again: it was passed to nnx.jit %d times, and each result"
                    " has programs of its own. Call nnx.jit once, outside the loop or function"
                    " that calls the result.",
                    name,
                    _times_made[code] + 1,
                )
            _times_made[code] += 1
        self._traces = [*self._traces[1 - _MOST_REMEMBERED :], found]

    def _named(
        self, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> Iterator[tuple[int | str, str, Any]]:
        """The key, name and value of each argument."""
        for i, argument in enumerate(args):
            yield i, self._names[i] if i < len(self._names) else f"argument {i}", argument
        for name, argument in kwargs.items():
            yield name, name, argument

    def _of_arguments(
        self, args: Sequence[Any], kwargs: Mapping[str, Any], static: Mapping[Any, Any]
    ) -> dict[str, Found]:
        """The arguments outside the objects, by place."""
        found: dict[str, Found] = {}
        for key, name, argument in self._named(args, kwargs):
            if key in static:
                found[name] = _static(argument, static_key(argument))
                continue
            leaves = _with_places(name, argument)
            if not leaves:
                text = _tree_text(argument)
                found[name] = Found(text, text)
            found.update({p: _array(x) for p, x in leaves if type(x) is not Hole})
        return found

    def _holes(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[int, str]:
        """The first place of each object."""
        found: dict[int, str] = {}
        for _, name, argument in self._named(args, kwargs):
            for place, leaf in _with_places(name, argument):
                if type(leaf) is Hole:
                    found.setdefault(leaf.index, place)
        return found


def _with_places(name: str, argument: object) -> list[tuple[str, Any]]:
    found = jax.tree_util.tree_flatten_with_path(argument, is_leaf=lambda x: type(x) is Hole)
    return [(name + place_text(path), leaf) for path, leaf in found[0]]


def _of_objects(
    graphdef: GraphDef, values: Sequence[Any], places: Mapping[int, str]
) -> dict[str, Found]:
    """The structure and the leaves of objects, by place."""
    reader = _Reader(graphdef, values)
    for i in range(graphdef.num_roots):
        reader.read(places[i], ())
    return reader.found


class _Reader:
    """Reads the tokens of a structure in order; `found` has what they describe, by place."""

    def __init__(self, graphdef: GraphDef, values: Sequence[Any]) -> None:
        self.found: dict[str, Found] = {}
        self._tokens = iter(graphdef.tokens)
        self._statics = iter(graphdef.statics)
        self._values = iter(values)
        self._nodes: list[str] = []

    def read(self, root: str, path: tuple[Any, ...]) -> None:
        """Reads the value at a path of the object at `root`."""
        token = next(self._tokens)
        kind = token[0]
        place = root + attribute_text(path)
        if kind in (OBJECT, VARIABLE, LIST, DICT):
            self._nodes.append(place)
        names: Iterable[Any] = ()
        if kind == STATIC:
            here = _static(next(self._statics), token[1])
        elif kind == REFERENCE:
            text = f"shared with {self._nodes[token[1]]}"
            here = Found(text, text)
        elif kind == ARRAY:
            here = _array(next(self._values))
        elif kind == VARIABLE:
            array = _array(next(self._values))
            here = Found((token[1], array.key), f"{token[1].__name__} of {array.text}")
            for name, value in token[2].items.items():
                self.found[f"{place}.{name} (metadata)"] = _static(value, static_key(value))
        elif kind == OBJECT:
            names = [path_name(token[1], name) for name in token[2]]
            here = Found((token[1], token[3]), f"a {token[1].__name__}")
        elif kind == TREE:
            names = token[2]
            here = Found(token[1], str(token[1]))
        elif kind == LIST:
            names = range(token[1])
            here = Found(("list", token[1]), f"a list of {token[1]}")
        else:
            names = token[1]
            here = Found(("dict", token[2]), f"a dict of {', '.join(map(repr, token[2]))}")
        self.found[place] = here
        for name in names:
            self.read(root, (*path, name))
        if here.key == (List, ()):
            self.found.pop(f"{place}._length", None)  # its items show it


def _static(value: object, key: Any) -> Found:
    text = repr(value) if not callable(value) else getattr(value, "__qualname__", repr(value))
    return Found(key, text if len(text) <= 80 else text[:77] + "...")


def _array(value: object) -> Found:
    arrays = jax.tree_util.tree_leaves(value)
    if len(arrays) != 1 or arrays[0] is not value:
        return Found(
            (jax.tree_util.tree_structure(value), *[_array(x).key for x in arrays]),
            f"({', '.join([_array(x).text for x in arrays])})",
        )
    aval = jax.typeof(value)
    text = aval.str_short(short_dtypes=True)
    weak = getattr(aval, "weak_type", False)
    return Found(aval, f"{text}, weakly typed (a Python number)" if weak else text)


def _tree_text(tree: object) -> str:
    text = str(jax.tree_util.tree_structure(tree, is_leaf=lambda x: type(x) is Hole))
    return "a tree of a different structure" if len(text) > 80 else text


def _differences(old: Mapping[str, Found], new: Mapping[str, Found]) -> list[str]:
    """A line for each place where the two differ; none for the inside of a new or lost place."""
    lines: list[str] = []
    added: list[str] = []
    other: list[str] = []
    for place, now in new.items():
        before = old.get(place)
        if before is None and not _is_within(place, added):
            lines.append(f"{place} is new: {now.text}")
            added.append(place)
        elif before is not None and before.key != now.key:
            lines.append(f"{place} is {now.text}, was {before.text} before")
            other.append(place)
    for place, before in old.items():
        if place not in new and not _is_within(place, other):
            lines.append(f"{place} is gone, was {before.text} before")
            other.append(place)
    return lines


def _is_within(place: str, places: Iterable[str]) -> bool:
    return any(place.startswith(p) and place[len(p) :][:1] in (".", "[") for p in places)
