"""Passes objects through a jax transform that requires a spec, such as an axis, for every array.

`Lifted` holds the objects of a call with the spec of each leaf. `Run` is the function's run inside
the transform. The values that a run sends are sorted by spec into groups, one for each spec that
may occur, so that the output specs can be given to the transform before the outputs are known. The
order of the values across groups (`Layout`) is static, and is part of the structure of the output.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
from jax.sharding import get_abstract_mesh

from ...errors import ArgumentError
from ...typing import Output, Prefix
from ..structure.bundle import Bundle, is_node
from ..structure.effect import After, Effect, Inside, Outcome
from ..structure.graph import flat_leaves
from ..structure.graphdef import GraphDef
from ..variable.layout import laid_out, loaded
from ..variable.sharding_metadata import PARTITION_NAME, add_axis_name, remove_axis_name
from ..variable.variable import Variable, set_raw_value
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

    def __init__(self, value: object) -> None:
        self.value = value


jax.tree_util.register_pytree_node(Static, lambda s: ((), s.value), lambda v, _: Static(v))

Layout = tuple[int, ...]
"""The group of each sent value."""


class Form:
    """The objects among arguments without their values; static, and a key for cached programs.

    Attributes:
      graphdef: the structure of the objects.
      specs: the spec of each leaf.
      occurrences: the occurrences of the objects.
      of_root: the first occurrence of each root.
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
        """The location of a leaf, as the user would write it."""
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
      prefix: the prefix of specs for the arguments.
      args: the arguments.
      what: the name of the prefix in errors.
      names: the names of the arguments.
      modes: see `Modes`.
      transform: the name of the transform.

    Attributes:
      args: the arguments, with holes.
      bundle: the bundle of the objects.
      specs: the spec of each leaf.
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
        """Applies the effect of a run to the caller's objects; returns the output."""
        return self.modes.apply(self.bundle, Outcome(output, values, effect), self.transform)


class Run:
    """One run of the function inside a transform.

    Args:
      form: the caller's objects.
      values: the values of the leaves inside the transform.
      metadata: the handling of axis names; see `AxisMetadata`.
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

    def call(self, f: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> object:
        """Calls the function on arguments whose holes are filled."""
        return self.inside.call(f, args, kwargs)

    def detach(self, prefix: Prefix, output: Output, what: str) -> Any:
        """The output with holes; stores the specs and places of its objects."""
        self.roots = list(self.inside.roots)
        output, self.out = detach_with_specs(prefix, output, self.roots, what)
        return output

    def finish(self) -> After:
        """Walks the objects and determines the spec of each leaf."""
        after = After(self.inside, self.roots)
        self.specs = self._specs_of(after)
        if self.metadata:
            for leaf, spec in zip(after.walk.leaves, self.specs, strict=True):
                if isinstance(leaf, Variable):
                    self.metadata.add(leaf, spec)
            after = After(self.inside, self.roots)
        return after

    def where(self, after: After, i: int) -> str:
        """The location of a leaf after the run, as the user would write it."""
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
        """Checks that variables that are passed in and returned have the same spec both times."""
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
                        f"Inconsistent aliasing: a shared {type(leaf).__name__} has two prefixes:\n"
                        f"  among the arguments: {spec_of[id(leaf)]}\n"
                        f"  output {join_text(o.where, path)}: {spec}",
                        hint=(
                            "The same variable is passed in and returned: give it the same "
                            "prefix in both places, or return a copy (nnx.clone)."
                        ),
                    )

    def sorted_into(
        self, groups: Sequence[Any], after: After, outcome: Outcome
    ) -> tuple[tuple[list[Any], ...], Static]:
        """The sent values, grouped by spec, and the effect with their layout."""
        index_of = {spec: i for i, spec in enumerate(groups)}
        sorted_values: tuple[list[Any], ...] = tuple([[] for _ in groups])
        layout: list[int] = []
        for i, value in zip(outcome.effect.changed, outcome.values, strict=True):
            group = index_of[self.specs[i]]
            layout.append(group)
            sorted_values[group].append(value)
        return sorted_values, Static((outcome.effect, tuple(layout)))


def put_together(groups: Sequence[Sequence[Any]], layout: Layout) -> list[Any]:
    """The values of all groups, in their original order."""
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
    """Keeps the names of a variable's axes in step with axes that transforms remove and add.

    Args:
      options: the user's `transform_metadata`. Its only key is `nnx.PARTITION_NAME`: the name of
        the axis, or None for an unnamed axis. Without the key, metadata doesn't change.
    """

    def __init__(self, options: Mapping[str, Any] | None) -> None:
        self.options = dict(options or {})

    def __bool__(self) -> bool:
        return PARTITION_NAME in self.options

    def remove(self, variable: Variable[Any], axis: object) -> None:
        """Removes the name of an axis that the value has lost."""
        if isinstance(axis, int):
            remove_axis_name(variable, axis, self.options.get(PARTITION_NAME))

    def add(self, variable: Variable[Any], axis: object) -> None:
        """Inserts the name of an axis that the value gains."""
        if isinstance(axis, int):
            add_axis_name(variable, axis, self.options.get(PARTITION_NAME))

    def laid_out(self, output: Output) -> Output:
        """The output, with stacked variables laid out as their new names specify.

        Inside the transform, only a part of each was laid out, without the new axis.
        """
        if self and get_abstract_mesh().axis_names:
            for part in jax.tree_util.tree_leaves(output, is_leaf=is_node):
                for leaf in flat_leaves(part)[1] if is_node(part) else ():
                    if isinstance(leaf, Variable):
                        value = leaf.raw_value
                        traced = isinstance(value, jax.core.Tracer)
                        place = laid_out if traced else loaded
                        set_raw_value(leaf, place(leaf, value))
        return output
