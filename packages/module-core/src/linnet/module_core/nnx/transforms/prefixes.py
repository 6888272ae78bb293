"""Specs of a transform's arguments: an axis, a sharding, whether to differentiate.

These *specs* are given as a prefix of the arguments: one spec for a whole argument, or a tree of
them. The spec of a module applies to all of its leaves, unless it is a mapping from filters to
specs (`StateAxes`, `StateSharding`), which gives each leaf a spec. A state of specs is such a
mapping, too, with its paths as the filters. A shared variable has one path, as in `nnx.split`: the
first one.

The functions here turn prefixes into one spec for each leaf of a bundle: `detach_with_specs` finds
the objects and their specs, and `spec_of_each_leaf` looks up the leaves and raises an error for a
leaf with two different specs.
"""

# Recursive inner functions are deleted when they are done, so ruff reports undefined names.
from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax

from ...errors import ArgumentError
from ..filters import Filter, first_passing, to_predicate
from ..nodes.contents import key_of
from ..nodes.kinds import OBJECT, REFERENCE, VARIABLE, kind_of
from ..nodes.pytree import Pytree
from ..structure.bundle import Bundle, Hole, Loose, is_node
from ..structure.graph import flat_leaves
from ..structure.iteration import items_of
from ..structure.snapshot import snapshot_of
from ..structure.states import (
    Path,
    State,
    create_path_filters,
    from_flat_state,
    map_state,
    path_text,
)
from ..variable.variable import Variable
from .wording import tree_text


class FilterMapping:
    """A spec for each filter; a leaf has the spec of the first filter that it passes.

    Args:
      filters: a mapping from filters to specs, or pairs of them; or a `State` (or nested dicts)
        with the spec for each leaf at the leaf's path.
    """

    _what = "spec"

    every_path = False
    """Whether filters see every path of a shared variable, instead of only the first."""

    def __init__(self, filters: Mapping[Any, Any] | Iterable[tuple[Any, Any]], /) -> None:
        pairs: Iterable[tuple[Any, Any]]
        if is_by_path(filters):
            pairs = create_path_filters(_bare(filters)).items()  # type: ignore[arg-type]
        else:
            pairs = filters.items() if isinstance(filters, Mapping) else filters
        pairs = tuple(pairs)
        self._filters = tuple(f for f, _ in pairs)
        self._specs = tuple(s for _, s in pairs)
        self._predicates = tuple(map(to_predicate, self._filters))

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        # A pickle that Flax wrote has no predicates, and a different name for the specs.
        names = ("_specs", "_axes", "_shardings")
        self._filters = state["_filters"]
        self._specs = next(state[name] for name in names if name in state)
        self._predicates = tuple(map(to_predicate, self._filters))

    @property
    def filters(self) -> tuple[Filter, ...]:
        """The filters, in order."""
        return self._filters

    def spec_of(self, path: Path, leaf: object) -> Any:
        """The spec of a leaf.

        Raises:
          ArgumentError: the leaf passes no filter.
        """
        index = first_passing(self._predicates, path, leaf)
        if index == len(self._predicates):
            raise ArgumentError(
                f"No {self._what} found for {path_text(path)}, {type(leaf).__name__}, in {self!r}.",
                hint=f"End with the filter ... for the rest: {{..., ...: {self._what}}}.",
            )
        return self._specs[index]

    def map_prefix(self, path: Path, variable: object) -> Any:
        """The spec of a variable at a path of its module.

        Raises:
          ArgumentError: the variable passes no filter.
        """
        return self.spec_of(path, variable)

    def find(self, path: Path, leaf: object) -> Any:
        """The spec of a leaf, or None if it passes no filter."""
        index = first_passing(self._predicates, path, leaf)
        return self._specs[index] if index < len(self._specs) else None

    def spec_below(self, at: Path, path: Path, leaf: object) -> Any:
        """The spec of a leaf at `path` in an object that is at the path `at`."""
        return self.spec_of((*at, *path), leaf)

    def __eq__(self, other: object) -> bool:
        return (
            type(other) is type(self)
            and other._filters == self._filters
            and other._specs == self._specs
        )

    def __hash__(self) -> int:
        return hash((self._filters, self._specs))

    def __repr__(self) -> str:
        inside = ", ".join(
            [f"{f!r}: {s!r}" for f, s in zip(self._filters, self._specs, strict=True)]
        )
        return f"{type(self).__name__}({{{inside}}})"


def is_by_path(filters: object) -> bool:
    """Whether specs are given by path, as a state or nested dicts."""
    if isinstance(filters, State):
        return True
    return isinstance(filters, Mapping) and any(
        isinstance(s, Mapping) and not isinstance(s, FilterMapping) for s in filters.values()
    )


def _bare(state: Mapping[Any, Any]) -> State:
    """The state with specs in place of variables that hold them (`get_named_sharding`)."""
    return map_state(lambda _, x: x.raw_value if isinstance(x, Variable) else x, state)


class Occurrence(NamedTuple):
    """The place of an object among the arguments."""

    root: int  # the object's index among the roots
    spec: Any
    path: Path  # from the place of the spec to the object
    where: str  # the argument's name and the path in it


def is_spec_leaf(x: object) -> bool:
    """Whether a value in a prefix is a spec that jax wouldn't treat as a leaf."""
    return x is None or isinstance(x, FilterMapping)


def bare_specs(prefix: object, of_paths: type[FilterMapping]) -> Any:
    """The user's prefix, reduced to specs.

    A module or state of specs (from `nnx.get_named_sharding`) is accepted as a prefix of the module
    or state that it describes: variables are replaced by their specs, modules by mappings.

    Args:
      prefix: the prefix of specs.
      of_paths: the class of mappings for modules.
    """

    def bare(spec: object) -> object:
        if isinstance(spec, Variable):
            return spec.raw_value
        if not is_node(spec):
            return spec
        graphdef, leaves = flat_leaves(spec)
        return of_paths(from_flat_state(zip(graphdef.paths, leaves, strict=True)))

    return jax.tree_util.tree_map(bare, prefix, is_leaf=lambda x: is_spec_leaf(x) or is_node(x))


def spread(prefix: object, tree: object, what: str) -> tuple[list[Any], list[Any], Any]:
    """The specs of a prefix, the subtree of `tree` for each spec, and the prefix's structure.

    Raises:
      ArgumentError: the prefix, called `what` in the error, is not a prefix of the tree.
    """
    specs: list[Any]
    structure: Any
    specs, structure = jax.tree_util.tree_flatten(prefix, is_leaf=is_spec_leaf)
    try:
        subtrees = structure.flatten_up_to(tree)
    except (ValueError, TypeError):
        raise ArgumentError(
            f"{what} must be a tree prefix of its values, but {tree_text(prefix)} is not a "
            f"prefix of {tree_text(tree)}.",
            hint=(
                "Pass one entry for each of them, or a single one for all. For the variables "
                "of a module, pass a mapping: nnx.StateAxes or nnx.StateSharding."
            ),
        ) from None
    return specs, subtrees, structure


def detach_with_specs(
    prefix: object, tree: object, roots: list[Any], what: str, names: Sequence[str] | None = None
) -> tuple[Any, list[Occurrence]]:
    """The tree with holes for its objects, which are appended to `roots`, and their occurrences.

    Args:
      prefix: the prefix of specs.
      tree: arguments or outputs.
      roots: the objects so far.
      what: the name of the prefix in errors.
      names: the names of the arguments, if the tree is a tuple of them.
    """
    index_of = {id(r): i for i, r in enumerate(roots)}
    occurrences: list[Occurrence] = []
    specs, subtrees, structure = spread(prefix, tree, what)
    starts = [p for p, _ in with_path(structure, specs)]
    detached: list[Any] = []
    for spec, subtree, start in zip(specs, subtrees, starts, strict=True):
        found, shape = jax.tree_util.tree_flatten_with_path(subtree, is_leaf=is_node)
        leaves: list[Any] = []
        for path, leaf in found:
            if not is_node(leaf):
                leaves.append(leaf)
                continue
            index = index_of.setdefault(id(leaf), len(roots))
            if index == len(roots):
                roots.append(leaf)
            where = place_text((*start, *path), names)
            occurrences.append(Occurrence(index, spec, _keys(path), where))
            leaves.append(Hole(index))
        detached.append(jax.tree_util.tree_unflatten(shape, leaves))
    return jax.tree_util.tree_unflatten(structure, detached), occurrences


def with_path(structure: object, specs: Sequence[Any]) -> list[tuple[Any, Any]]:
    """The specs of a prefix, with their paths."""
    numbered = jax.tree_util.tree_unflatten(structure, list(range(len(specs))))
    found = jax.tree_util.tree_flatten_with_path(numbered)[0]
    return [(path, spec) for (path, _), spec in zip(found, specs, strict=True)]


def _keys(path: Sequence[Any]) -> Path:
    return tuple([key_of(k) for k in path])


def place_text(path: Sequence[Any], names: Sequence[str] | None = None) -> str:
    """A jax key path as one would write it in Python: `states[0]['bn'].mean`.

    Args:
      path: a path into the arguments.
      names: the names of the arguments, if the path starts with the index or name of one.
    """
    text = ""
    if names is not None and path:
        first, *path = path
        index = key_of(first)
        named = isinstance(index, int) and index < len(names)
        text = names[index] if named else index if isinstance(index, str) else f"argument {index}"
    for entry in path:
        key = key_of(entry)
        text += f".{key}" if isinstance(entry, jax.tree_util.GetAttrKey) else f"[{key!r}]"
    return text


def attribute_text(path: Path) -> str:
    """A path within an object as one would write it after the object: `.blocks[0].kernel`."""
    return "".join(
        [f".{k}" if isinstance(k, str) and k.isidentifier() else f"[{k!r}]" for k in path]
    )


def plain(prefix: object, instead: object = None) -> Any:
    """The prefix for jax, with `instead` in place of mappings, which only concern objects."""
    return jax.tree_util.tree_map(
        lambda s: instead if isinstance(s, FilterMapping) else s, prefix, is_leaf=is_spec_leaf
    )


def part_of(root: object) -> Any:
    """The structure of one root: a cached snapshot, or a fresh walk."""
    return snapshot_of(root) if isinstance(root, Pytree) else Loose([root])


def leaf_keys(part: Any) -> list[Any]:
    """A key for each leaf of a part: from its variable, or from the place of a raw array."""
    values: list[Any] | None = None
    keys: list[Any] = []
    for i, (leaf, slot) in enumerate(zip(part.leaves, part.slots, strict=True)):
        if leaf is not None:
            keys.append(id(leaf))
        elif slot is not None:
            keys.append((id(slot[0]), slot[1]))
        else:  # a raw array inside an immutable container
            values = part.values() if values is None else values
            keys.append(("array", id(values[i])))
    return keys


class _Same:
    """A spec with its origin."""

    __slots__ = ("of", "path", "spec")

    def __init__(self, spec: object, of: Occurrence, path: Path) -> None:
        self.spec = spec
        self.of = of
        self.path = path


def spec_of_each_leaf(
    bundle: Bundle, occurrences: Sequence[Occurrence], either: bool = False
) -> list[Any]:
    """The spec of each leaf of a bundle.

    Args:
      bundle: the bundle of the objects.
      occurrences: the occurrences of the objects, with specs.
      either: whether a leaf may have two specs; the one that is true as a boolean is used.

    Raises:
      ArgumentError: a leaf has two different specs; the message names both paths.
    """
    known: dict[Any, _Same] = {}
    parts: dict[int, Any] = {}
    for o in occurrences:
        part = parts.get(o.root)
        if part is None:
            part = parts[o.root] = part_of(bundle.roots[o.root])
        for key, path, leaf in _leaves_of(bundle.roots[o.root], part, o.spec):
            spec = o.spec
            if isinstance(spec, FilterMapping):
                spec = spec.spec_below(o.path, path, leaf)
            before = known.get(key)
            if before is None:
                known[key] = _Same(spec, o, path)
            elif either or before.of is o:  # within one object, any path that passes suffices
                before.spec = before.spec or spec
            elif before.spec != spec:
                _refuse_aliasing(leaf, before, spec, join_text(o.where, path))
    keys = [k for part in bundle.parts for k in leaf_keys(part)]
    return [known[k].spec if k in known else None for k in keys]


def join_text(where: str, path: Path) -> str:
    """The location of a leaf at `path` in an object that is at `where`."""
    return (where + attribute_text(path)).lstrip(".") or "the root"


def _refuse_aliasing(leaf: object, before: _Same, spec: object, where: str) -> None:
    kind = type(leaf).__name__ if isinstance(leaf, Variable) else "array"
    first = join_text(before.of.where, before.path)
    raise ArgumentError(
        f"Inconsistent aliasing: a shared {kind} has two prefixes:\n"
        f"  {first}: {before.spec}\n  {where}: {spec}",
        hint=(
            "It is the same value: give it the same prefix in all places, or pass a copy "
            "(nnx.clone)."
        ),
    )


def _leaves_of(root: object, part: Any, spec: object) -> Iterator[tuple[Any, Path, Any]]:
    """Yields (key, path, leaf) for the leaves below a root, for every path if the spec needs it."""
    every_path = isinstance(spec, FilterMapping) and spec.every_path
    if every_path and any(t[0] == REFERENCE for t in part.graphdef.tokens):
        yield from _every_path(root)
        return
    leaves = part.leaves
    for i, (key, path) in enumerate(zip(leaf_keys(part), part.graphdef.paths, strict=True)):
        yield key, path, leaves[i]


def _every_path(
    value: object, path: Path = (), above: frozenset[int] = frozenset()
) -> Iterator[tuple[Any, Path, Any]]:
    """Yields (key, path, variable) for every path to a variable below a root."""
    if kind_of(value) == VARIABLE:
        yield id(value), path, value
    elif id(value) not in above:
        inner = above | {id(value)} if kind_of(value) == OBJECT else above
        for name, _, child in items_of(value):
            yield from _every_path(child, (*path, name), inner)
