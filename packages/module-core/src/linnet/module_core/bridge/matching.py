"""Matches the values of a linen variable tree to the variables of an nnx module.

Both are traversed together from the top. A name in the linen tree is matched to a child in the nnx
module by the first of these rules that applies:

1. the names that the caller passed;
2. the same name, or that name followed by an underscore (`if` is `if_` in Python);
3. the translation of the nnx class: cells whose gates are separate in linen and joined in nnx
   (`gates`);
4. `layers_0`: item 0 of the list, tuple or dict `layers`, as linen names items in `setup`;
5. `Dense_0`: the first submodule of the class that is called Dense in linen, in the order of
   assignment, including lists and dicts.

Values without a match are collected, so that an error can list all of them at once.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ..boxes import AxisMetadata
from ..nnx.containers import Dict, List
from ..nnx.nodes.contents import path_name
from ..nnx.nodes.pytree import Pytree
from ..nnx.structure.states import Path
from ..nnx.variable.variable import Variable
from .gates import GATES, Join
from .variables import collection_of

_NNX_NAMES = {
    "Dense": ("Linear",),
    "DenseGeneral": ("LinearGeneral",),
    "MultiHeadDotProductAttention": ("MultiHeadAttention",),
    "SelfAttention": ("MultiHeadAttention",),
}


@dataclasses.dataclass
class Link:
    """A variable of the nnx module, and the location of its value in the linen tree.

    Attributes:
      path: path of the variable.
      variable: the variable.
      sources: paths in the linen tree, collection first.
      join: how several linen values are joined into one; None for a single value.
    """

    path: Path
    variable: Variable[Any]
    sources: list[Path]
    join: Join | None = None


@dataclasses.dataclass
class Level:
    """One level of a linen tree, for all collections together.

    Attributes:
      leaves: values by name, then by collection.
      children: the next levels by name.
    """

    leaves: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict)
    children: dict[str, Level] = dataclasses.field(default_factory=dict)


def level_of(variables: Mapping[str, Any]) -> Level:
    """Converts a linen tree to one with the collections at the leaves."""
    top = Level()

    for col, tree in variables.items():
        _put_leaves(top, col, tree)
    return top


def _put_leaves(level: Level, col: str, tree: Mapping[Any, Any]) -> None:
    for name, value in tree.items():
        if isinstance(value, Mapping):
            _put_leaves(level.children.setdefault(str(name), Level()), col, value)
        else:
            level.leaves.setdefault(str(name), {})[col] = value


def leaf_paths(level: Level, path: Path = ()) -> Iterator[Path]:
    """The paths of all values, collection first."""
    for name, by_col in level.leaves.items():
        for col in by_col:
            yield (col, *path, name)
    for name, child in level.children.items():
        yield from leaf_paths(child, (*path, name))


class Matching:
    """The pairs of corresponding values and variables.

    Args:
      variables: the linen tree.
      module: the nnx module.
      names: paths in the linen tree (without collection) to paths in the nnx module.

    Attributes:
      links: the pairs.
      linen_only: paths of values without a counterpart.
      dropped: paths of zero values that the nnx class has no counterpart for.
    """

    def __init__(
        self, variables: Mapping[str, Any], module: object, names: Mapping[Path, Path]
    ) -> None:
        self.links: list[Link] = []
        self.linen_only: list[Path] = []
        self.dropped: list[Path] = []
        self._names = names
        self._root = module
        self._match(level_of(variables), module, (), ())

    def _match(self, level: Level, node: object, linen_path: Path, path: Path) -> None:
        taken: set[int] = set()
        level = self._gates(level, node, linen_path, path, taken)
        for name, by_col in level.leaves.items():
            here = (*linen_path, name)
            found = self._named(here) or _same_name(node, name, path)
            for col in by_col:
                variable = None if found is None else found[1]
                if isinstance(variable, Variable) and collection_of(variable) == col:
                    assert found is not None
                    self.links.append(Link(found[0], variable, [(col, *here)]))
                else:
                    self.linen_only.append((col, *here))
        later: list[tuple[str, Level]] = []
        for name, child in level.children.items():
            found = (
                self._named((*linen_path, name))
                or _same_name(node, name, path)
                or _in_container(node, name, path)
            )
            if found is None:
                later.append((name, child))
            else:
                taken.add(id(found[1]))
                self._match(child, found[1], (*linen_path, name), found[0])
        # Children without an explicit name, by class and number.
        for name, child in later:
            found = _by_class(node, name, path, taken)
            if found is None:
                self.linen_only.extend(leaf_paths(child, (*linen_path, name)))
            else:
                self._match(child, found[1], (*linen_path, name), found[0])

    def _named(self, linen_path: Path) -> tuple[Path, Any] | None:
        path = self._names.get(linen_path)
        if path is None:
            return None
        node = self._root
        for key in path:
            found = [c for k, c in items(node) if k == key or str(k) == str(key)]
            if not found:
                return None
            node = found[0]
        return path, node

    def _gates(
        self, level: Level, node: object, linen_path: Path, path: Path, taken: set[int]
    ) -> Level:
        """Links the values that the class of the node translates; returns the rest of the level."""
        cell = next((GATES[c.__name__] for c in type(node).__mro__ if c.__name__ in GATES), None)
        if cell is None:
            return level
        rest = Level(
            dict(level.leaves), {n: Level(dict(c.leaves)) for n, c in level.children.items()}
        )
        for (child, leaf), sources in cell.joined.items():
            variable = getattr(getattr(node, child, None), leaf, None)
            there = [s for s in sources if leaf in rest.children.get(s, Level()).leaves]
            if not isinstance(variable, Variable) or there != list(sources):
                continue
            col = collection_of(variable)
            paths: list[Path] = []
            for source in sources:
                del rest.children[source].leaves[leaf]
                paths.append((col, *linen_path, source, leaf))
            self.links.append(Link((*path, child, leaf), variable, paths, Join(len(paths))))
        for source, leaf in cell.without_place:
            by_col = rest.children.get(source, Level()).leaves.pop(leaf, {})
            self.dropped.extend((col, *linen_path, source, leaf) for col in by_col)
        return rest


def items(node: object) -> list[tuple[Any, Any]]:
    """The children of an object, list, tuple or dict, in insertion order."""
    if isinstance(node, Pytree):
        return [(path_name(type(node), k), v) for k, v in node.__dict__.items()]
    if isinstance(node, dict):
        return list(node.items())
    if isinstance(node, (list, tuple)):
        return list(enumerate(node))
    return []


def _same_name(node: object, name: str, path: Path) -> tuple[Path, Any] | None:
    for key, value in items(node):
        if str(key) in (name, f"{name}_"):
            return (*path, key), value
    return None


def _in_container(node: object, name: str, path: Path) -> tuple[Path, Any] | None:
    for key, value in items(node):
        if _is_container(value) and name.startswith(f"{key}_"):
            found = _same_name(value, name.removeprefix(f"{key}_"), (*path, key))
            found = found or _in_container(value, name.removeprefix(f"{key}_"), (*path, key))
            if found is not None:
                return found
    return None


def _is_container(value: object) -> bool:
    return isinstance(value, (list, tuple, dict, List, Dict))


def _by_class(node: object, name: str, path: Path, taken: set[int]) -> tuple[Path, Any] | None:
    parsed = re.fullmatch(r"(.+)_(\d+)", name)
    if parsed is None:
        return None
    class_name, number = parsed[1], int(parsed[2])
    wanted = (class_name, *_NNX_NAMES.get(class_name, ()))
    candidates = [x for x in _submodules(node, path, taken) if type(x[1]).__name__ in wanted]
    names = [str(p[-1]) for p, _ in candidates]
    numbers = [re.search(r"\d+$", n) for n in names]
    stems = {re.sub(r"\d+$", "", n) for n in names}
    if len(stems) == 1 and all(numbers) and names == sorted(names):
        # A merged module has its attributes sorted by name, with linear10 before linear2.
        candidates.sort(key=lambda x: int(re.search(r"\d+$", str(x[0][-1]))[0]))  # type: ignore[index]
    return candidates[number] if number < len(candidates) else None


def _submodules(node: object, path: Path, taken: set[int]) -> Iterator[tuple[Path, Any]]:
    for key, value in items(node):
        if _is_container(value):
            yield from _submodules(value, (*path, key), taken)
        elif isinstance(value, Pytree) and id(value) not in taken:
            yield (*path, key), value


def value_at(variables: Mapping[str, Any], path: Sequence[Any]) -> Any:
    """The unboxed value at a path of names, which may be numbers in the tree."""
    value: Any = variables
    for name in path:
        value = value[name] if name in value else value[int(name)]
    while isinstance(value, AxisMetadata):
        value = value._contents()
    return value
