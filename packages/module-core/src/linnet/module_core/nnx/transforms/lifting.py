"""Passes objects through a jax transform that requires a spec for every array, such as an axis.

`Lifted` is a call's objects with the spec of each leaf. `Run` is the function's run inside of the
transform. What a run sends out is sorted by spec into groups, one for each that may occur, so that
the transform can be told what to do with outputs before it is known which there will be. How to
put the groups together again (`Layout`) is static, and travels as the structure of the output.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax

from ...errors import ArgumentError
from ...typing import Output, Prefix
from ..structure.bundle import Bundle
from ..structure.effect import After, Effect, Inside, Outcome
from ..structure.graphdef import GraphDef
from ..variable.sharding_metadata import PARTITION_NAME, add_axis_name, remove_axis_name
from ..variable.variable import Variable
from .prefixes import (
    FilterMapping,
    Occurrence,
    attribute_text,
    detach_with_specs,
    join_text,
    part_of,
    spec_of_each_leaf,
)
from .tree_mode import Modes


class Static:
    """A static value as a pytree without leaves."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value


jax.tree_util.register_pytree_node(Static, lambda s: ((), s.value), lambda v, _: Static(v))

Layout = tuple[int, ...]
"""For each value that is sent, the group that it is in."""


class Form:
    """The objects among arguments without their values: static, and a key to remember programs by.

    Attributes:
      graphdef: their structure.
      specs: of each leaf.
      occurrences: where each object occurs.
      of_root: for each root, the first place where it occurs.
    """

    __slots__ = ("_key", "graphdef", "occurrences", "of_root", "specs")

    def __init__(
        self, graphdef: GraphDef, specs: Sequence[Any], occurrences: Sequence[Occurrence]
    ) -> None:
        self.graphdef = graphdef
        self.specs = tuple(specs)
        self.occurrences = tuple(occurrences)
        self.of_root: dict[int, Occurrence] = {}
        for o in occurrences:
            self.of_root.setdefault(o.root, o)
        self._key = (graphdef, self.specs, self.occurrences)

    def where(self, i: int) -> str:
        """The place of a leaf, as the user would write it."""
        path = self.graphdef.paths[i]
        root, path = (path[0], path[1:]) if self.graphdef.num_roots != 1 else (0, path)
        return join_text(self.of_root[root].where, path)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Form) and self._key == other._key

    def __hash__(self) -> int:
        return hash(self._key)


class Lifted:
    """The objects among the arguments of a call, with the spec of each of their leaves.

    Args:
      prefix: of specs, for the arguments.
      args: the arguments.
      what: what the prefix is called in errors.
      names: of the arguments.
      modes: see `Modes`.
      transform: its name.

    Attributes:
      args: with holes.
      bundle: of the objects.
      specs: of each leaf.
      form: the objects without their values.
    """

    def __init__(
        self,
        prefix: Prefix,
        args: tuple[Any, ...],
        what: str,
        names: Sequence[str],
        modes: Modes,
        transform: str,
    ) -> None:
        roots: list[Any] = []
        self.args, occurrences = detach_with_specs(prefix, args, roots, what, names)
        modes.check(args, transform)
        self.bundle = Bundle(roots)
        self.specs = spec_of_each_leaf(self.bundle, occurrences)
        self.form = Form(self.bundle.graphdef, self.specs, occurrences)
        self.modes = modes
        self.transform = transform

    def apply(self, output: Output, values: list[Any], effect: Effect) -> Any:
        """Hands the caller what a run did; returns its output."""
        return self.modes.apply(self.bundle, Outcome(output, values, effect), self.transform)


class Run:
    """One run of the function inside of a transform.

    Args:
      form: the caller's objects.
      values: of the leaves, in here.
      metadata: what the user says of the axes that come and go, see `AxisMetadata`.
      tree: see `Inside`.
    """

    def __init__(
        self, form: Form, values: Sequence[Any], metadata: AxisMetadata, tree: bool
    ) -> None:
        self.form = form
        self.inside = Inside(form.graphdef, values, tree)
        self.metadata = metadata
        if metadata:
            for i, variable in self.inside.variables.items():
                metadata.remove(variable, form.specs[i])

    def call(self, f: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Output:
        """Calls the function on arguments whose holes are filled."""
        return self.inside.call(f, args, kwargs)

    def detach(self, prefix: Prefix, output: Output, what: str) -> Any:
        """The output with holes; remembers what reaches its objects."""
        self.roots = list(self.inside.roots)
        output, self.out = detach_with_specs(prefix, output, self.roots, what)
        return output

    def finish(self) -> After:
        """Walks the objects and works out the spec of each leaf."""
        after = After(self.inside, self.roots)
        self.specs = self._specs_of(after)
        if self.metadata:
            for leaf, spec in zip(after.walk.leaves, self.specs, strict=True):
                if isinstance(leaf, Variable):
                    self.metadata.add(leaf, spec)
            after = After(self.inside, self.roots)
        return after

    def where(self, after: After, i: int) -> str:
        """The place of a leaf after the run, as the user would write it."""
        source = after.sources[i]
        if source is not None:
            return self.form.where(source)
        path = after.walk.graphdef.paths[i]
        root, path = (path[0], path[1:]) if after.walk.graphdef.num_roots != 1 else (0, path)
        if root < self.form.graphdef.num_roots:
            return join_text(self.form.of_root[root].where, path)
        where = next(o.where for o in self.out if o.root == root)
        return f"the output{where}{attribute_text(path)}"

    def _specs_of(self, after: After) -> list[Any]:
        form = self.form
        out_of_root: dict[int, Occurrence] = {}
        for o in self.out:
            out_of_root.setdefault(o.root, o)
        paths = after.walk.graphdef.paths
        several = after.walk.graphdef.num_roots != 1
        specs: list[Any] = []
        for i, source in enumerate(after.sources):
            if source is not None:
                specs.append(form.specs[source])
                continue
            root, path = (paths[i][0], paths[i][1:]) if several else (0, paths[i])
            o = (form.of_root if root < form.graphdef.num_roots else out_of_root)[root]
            leaf = after.walk.leaves[i]
            spec = o.spec
            if isinstance(spec, FilterMapping):
                spec = spec.spec_of((*o.path, *path), leaf)
            specs.append(spec)
        self._check_outputs(after, specs)
        return specs

    def _check_outputs(self, after: After, specs: Sequence[Any]) -> None:
        """What was passed in and comes out again must have the same spec both times."""
        if not self.out:
            return
        spec_of = {
            id(leaf): spec
            for leaf, spec in zip(after.walk.leaves, specs, strict=True)
            if isinstance(leaf, Variable)
        }
        for o in self.out:
            part = part_of(self.roots[o.root])
            for leaf, path in zip(part.leaves, part.graphdef.paths, strict=True):
                if leaf is None or id(leaf) not in spec_of:
                    continue
                spec = o.spec
                if isinstance(spec, FilterMapping):
                    spec = spec.spec_of((*o.path, *path), leaf)
                if spec != spec_of[id(leaf)]:
                    raise ArgumentError(
                        f"A shared {type(leaf).__name__} has two different prefixes:\n"
                        f"  among the arguments: {spec_of[id(leaf)]}\n"
                        f"  output {join_text(o.where, path)}: {spec}",
                        hint="What is passed in and returned is one and the same variable: give"
                        " both the same, or return a copy (nnx.clone).",
                    )

    def sorted_into(
        self, groups: Sequence[Any], after: After, outcome: Outcome
    ) -> tuple[tuple[list[Any], ...], Static]:
        """The values that are sent, by spec, and the effect with their layout."""
        index_of = {spec: i for i, spec in enumerate(groups)}
        sorted_values: tuple[list[Any], ...] = tuple([[] for _ in groups])
        layout: list[int] = []
        for i, value in zip(outcome.effect.changed, outcome.values, strict=True):
            group = index_of[self.specs[i]]
            layout.append(group)
            sorted_values[group].append(value)
        return sorted_values, Static((outcome.effect, tuple(layout)))


def put_together(groups: Sequence[Sequence[Any]], layout: Layout) -> list[Any]:
    """The values in the order in which they were sorted."""
    next_of = [iter(g) for g in groups]
    return [next(next_of[i]) for i in layout]


def groups_of(specs: Sequence[Any], *prefixes: object) -> list[Any]:
    """All specs that may occur, each once."""
    found: dict[Any, None] = dict.fromkeys(specs)
    for prefix in prefixes:
        for spec in jax.tree_util.tree_leaves(
            prefix, is_leaf=lambda x: x is None or isinstance(x, FilterMapping)
        ):
            if isinstance(spec, FilterMapping):
                found.update(dict.fromkeys(spec._specs))
            else:
                found[spec] = None
    return list(found)


class AxisMetadata:
    """Keeps the names of a variable's axes in step with axes that transforms take and give.

    Args:
      options: the user's `transform_metadata`. Its one key is `nnx.PARTITION_NAME`, the name of the
        axis, or None for an axis without one; left out, metadata stay as they are.
    """

    def __init__(self, options: Mapping[str, Any] | None) -> None:
        self.options = dict(options or {})

    def __bool__(self) -> bool:
        return PARTITION_NAME in self.options

    def remove(self, variable: Variable[Any], axis: Any) -> None:
        """Takes the name of an axis out, where the value has lost it."""
        if isinstance(axis, int):
            remove_axis_name(variable, axis, self.options.get(PARTITION_NAME))

    def add(self, variable: Variable[Any], axis: Any) -> None:
        """Puts the name of an axis in, where the value gets it."""
        if isinstance(axis, int):
            add_axis_name(variable, axis, self.options.get(PARTITION_NAME))
