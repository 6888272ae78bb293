"""The placement of values that go into and come out of a transform.

Inside a traced function, a sharding is a constraint. Two things can only be done outside it. First,
the caller's variables are moved once, before the call, to where the transform needs them, and keep
the new arrays; otherwise each call would move them again. Second, the order of an array's axes in
memory (`jax.experimental.layout.Format`) can't be a constraint: `jax.jit` accepts it only for
outputs with a structure known in advance. So a run stores the formats with its output (`Placed`,
with static formats), and `settled` moves the values to them after the call.

On a mesh with explicit axes, the sharding is part of an array's type, and arrays made in the
function are sharded over the mesh that is set. So each call runs under `on_mesh`, which sets the
mesh of the output's shardings unless the program has set one.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import jax
from jax.experimental.layout import Format
from jax.sharding import AxisType, NamedSharding, get_abstract_mesh

from ..._compat import is_tracing, set_mesh
from ...typing import Output, Prefix, PyTree
from ..nodes import edits
from ..structure.bundle import Bundle
from ..structure.effect import After, Outcome
from ..variable.layout import lay_out
from ..variable.variable import Variable, set_raw_value
from .prefixes import FilterMapping, is_spec_leaf, leaf_keys, part_of, spread


def moved(bundle: Bundle, shardings: Sequence[Any]) -> list[Any]:
    """The values of a bundle, moved to their shardings; the caller's variables keep the new arrays.

    At a different trace level the variables keep their arrays, and moving is part of the program.

    Args:
      bundle: the bundle of the caller's objects.
      shardings: the `Sharding` or `Format` of each leaf; for anything else, a leaf isn't moved.
    """
    values = bundle.values()
    kept = bundle.is_of_level(edits.trace_state())
    for i, (leaf, sharding) in enumerate(zip(bundle.leaves(), shardings, strict=True)):
        value = values[i]
        if leaf is None or isinstance(value, jax.core.Tracer) or not isinstance(value, jax.Array):
            continue
        if not _is_place(sharding) or _lies(value, sharding):
            continue
        values[i] = jax.device_put(value, sharding)
        if kept:
            set_raw_value(leaf, values[i])
    return values


def _is_place(x: object) -> bool:
    return isinstance(x, (jax.sharding.Sharding, Format))


def _lies(value: Any, place: object) -> bool:
    if isinstance(place, Format):
        return bool(getattr(value, "format", None) == place)
    fits = len(getattr(place, "spec", ())) <= value.ndim  # on one device, specs aren't compared
    return fits and bool(value.sharding.is_equivalent_to(place, value.ndim))


def has_formats(prefix: Prefix) -> bool:
    """Whether a prefix of shardings contains a `Format`."""
    return any(isinstance(spec, Format) for spec in _specs_in(prefix))


def explicit_mesh(prefix: Prefix) -> jax.sharding.Mesh | None:
    """The mesh of the first sharding of a prefix, if its axes are explicit."""
    for spec in _specs_in(prefix):
        sharding = getattr(spec, "sharding", spec)  # of a Format
        if isinstance(sharding, NamedSharding) and isinstance(sharding.mesh, jax.sharding.Mesh):
            mesh = sharding.mesh
            return mesh if all(t == AxisType.Explicit for t in mesh.axis_types) else None
    return None


def _specs_in(prefix: Prefix) -> Iterator[object]:
    for spec in jax.tree_util.tree_leaves(prefix, is_leaf=is_spec_leaf):
        yield from spec._specs if isinstance(spec, FilterMapping) else (spec,)


def on_mesh(mesh: jax.sharding.Mesh | None) -> contextlib.AbstractContextManager[object]:
    """A context in which `mesh` is set, unless the program has set one or is being traced."""
    if mesh is None or is_tracing() or get_abstract_mesh().axis_names:
        return contextlib.nullcontext()
    return set_mesh(mesh)


class Placed:
    """An output, with the formats (or None) of its arrays and of the values sent with it."""

    __slots__ = ("formats", "of_values", "output")

    def __init__(
        self, output: Output, formats: tuple[Any, ...], of_values: tuple[Any, ...]
    ) -> None:
        self.output = output
        self.formats = formats
        self.of_values = of_values


jax.tree_util.register_pytree_node(
    Placed,
    lambda p: ((p.output,), (p.formats, p.of_values)),
    lambda static, children: Placed(children[0], *static),
)


def with_formats(outcome: Outcome, prefix: Prefix, of_values: Sequence[Any]) -> None:
    """Stores the formats of an outcome with its output.

    Args:
      outcome: the outcome, changed in place.
      prefix: the prefix of shardings for the output.
      of_values: the sharding of each sent value.
    """
    specs, subtrees, _ = spread(prefix, outcome.output, "out_shardings")
    formats: list[Any] = []
    for spec, subtree in zip(specs, subtrees, strict=True):
        formats.extend([_format(spec)] * len(jax.tree_util.tree_leaves(subtree)))
    outcome.output = Placed(outcome.output, tuple(formats), tuple(map(_format, of_values)))


def _format(spec: object) -> object:
    return spec if isinstance(spec, Format) else None


def settled(outcome: Outcome) -> Outcome:
    """The outcome with its values moved to the stored formats."""
    placed = outcome.output
    if type(placed) is not Placed:
        return outcome
    leaves, structure = jax.tree_util.tree_flatten(placed.output)
    output = jax.tree_util.tree_unflatten(structure, map(_put, leaves, placed.formats))
    return Outcome(output, list(map(_put, outcome.values, placed.of_values)), outcome.effect)


def _put(value: object, format: object) -> object:
    if format is None or not isinstance(value, jax.Array) or _lies(value, format):
        return value
    return jax.device_put(value, format)


def output_laid_out(prefix: Prefix, tree: PyTree) -> Any:
    """A traced output with the shardings of a prefix applied."""
    specs, subtrees, structure = spread(prefix, tree, "out_shardings")
    laid = [
        jax.tree_util.tree_map(lambda x, s=spec: lay_out(x, s), subtree)
        for spec, subtree in zip(specs, subtrees, strict=True)
    ]
    return jax.tree_util.tree_unflatten(structure, laid)


def shardings_after(
    after: After,
    constraints: Any,
    given: Sequence[tuple[int, Any, Any]],
    occurrences: Iterable[Any],
    before: Sequence[Any],
    roots: Sequence[Any],
) -> tuple[list[Any], set[int]]:
    """The sharding of each leaf after the run, or None, and the leaves that out_shardings cover.

    The latter are sent even if the function left them alone.

    Args:
      after: the objects after the run.
      constraints: in_shardings of the leaves before the run, which they keep.
      given: in_shardings of objects, as (root, spec, path), which also apply to new leaves there.
      occurrences: the occurrences of objects in the output, with their out_shardings.
      before: the objects among the arguments.
      roots: the objects among the arguments and the new ones in the output.
    """
    found = [
        None if constraints is None or source is None else constraints[source]
        for source in after.sources
    ]
    specs = {root: (spec, at) for root, spec, at in reversed(given)}
    several = after.walk.graphdef.num_roots != 1
    for i, (source, place) in enumerate(
        zip(after.sources, after.walk.graphdef.paths, strict=True) if specs else ()
    ):
        root, path = (place[0], place[1:]) if several else (0, place)
        if source is None and root < len(before) and root in specs:
            spec, at = specs[root]
            leaf = after.walk.leaves[i]
            found[i] = spec.find((*at, *path), leaf) if isinstance(spec, FilterMapping) else spec
    keys = {key: i for i, key in enumerate(leaf_keys(_WalkLeaves(after)))}
    of_output = set()
    for o in occurrences:
        part = part_of(roots[o.root])
        for key, path, leaf in zip(leaf_keys(part), part.graphdef.paths, part.leaves, strict=True):
            spec = o.spec
            if isinstance(spec, FilterMapping):
                spec = spec.spec_of((*o.path, *path), leaf)
            if spec is not None and key in keys:
                found[keys[key]] = spec
                of_output.add(keys[key])
    return found, of_output


class _WalkLeaves:
    """A walk with the part of a snapshot's interface that `leaf_keys` needs."""

    def __init__(self, after: After) -> None:
        self.leaves = [x if isinstance(x, Variable) else None for x in after.walk.leaves]
        self.slots = after.walk.slots
        self._walked = after.walk.leaves

    def values(self) -> list[Any]:
        return self._walked
