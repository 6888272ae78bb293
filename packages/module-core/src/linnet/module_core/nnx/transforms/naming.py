"""Rewrites jax's errors about the arrays of a call in terms of the user's program.

A transform passes jax flat lists of values, so jax's messages, such as "argument values[3]", name
nothing that the user wrote. After jax has raised an error, the functions here check the arrays of
the call again. Each array is named by its argument and the path from there, written as the user
would write it (`states[0]['bn'].mean`, `model.blocks[0].kernel`). This runs only after an error, so
successful calls cost nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding

from ...errors import ArgumentError, counted
from ..structure.bundle import Bundle, is_node
from ..structure.effect import After, Outcome
from ..structure.graph import flat_leaves
from ..variable.variable import Variable
from ..variable.variable_types import RngState
from .lifting import Form, Lifted
from .prefixes import Occurrence, join_text, place_text, plain, spread, with_path


class Place(NamedTuple):
    """An array of a call, with its location and spec."""

    where: str
    spec: Any
    value: Any
    variable: Variable[Any] | None = None

    def __str__(self) -> str:
        return f"{self.where}, of shape {jnp.shape(self.value)}"


def places_of_objects(form: Form, bundle: Bundle) -> list[Place]:
    """The arrays of the objects of a call."""
    return [
        Place(form.where(i) + place_text(path), spec, part, leaf)
        for i, (spec, value, leaf) in enumerate(
            zip(form.specs, bundle.values(), bundle.leaves(), strict=True)
        )
        for path, part in jax.tree_util.tree_flatten_with_path(value)[0]
    ]


def places_of(lifted: Lifted, prefix: object, names: Sequence[str], what: str) -> list[Place]:
    """All arrays among the arguments of a call, inside and outside its objects.

    Args:
      lifted: the call.
      prefix: the prefix of specs for the arguments.
      names: the names of the arguments.
      what: the name of the prefix in errors.
    """
    found = places_of_objects(lifted.form, lifted.bundle)
    for path, spec, value in _with_specs(prefix, lifted.args, what):
        found.append(Place(place_text(path, names), spec, value))
    return found


def places_of_argument(prefix: object, detached: object, name: str, what: str) -> list[Place]:
    """The arrays of one argument outside its objects."""
    return [
        Place(name + place_text(path), spec, value)
        for path, spec, value in _with_specs(prefix, detached, what)
    ]


def places_of_results(
    after: After, outcome: Outcome, specs: Sequence[Any], occurrences: Sequence[Occurrence]
) -> list[Place]:
    """The values that a run sends back, with their specs.

    Args:
      after: the objects after the run.
      outcome: its outcome, before values are laid out.
      specs: the spec of each value that is sent.
      occurrences: the occurrences of objects in the output.
    """
    graphdef = after.walk.graphdef
    names = {o.root: f"the result{o.where}" for o in reversed(occurrences)}
    found: list[Place] = []
    for i, spec, value in zip(outcome.effect.changed, specs, outcome.values, strict=True):
        path, leaf = graphdef.paths[i], after.walk.leaves[i]
        root, path = (path[0], path[1:]) if graphdef.num_roots != 1 else (0, path)
        where = join_text(names.get(root, ""), path)
        variable = leaf if isinstance(leaf, Variable) else None
        for inner, part in jax.tree_util.tree_flatten_with_path(value)[0]:
            found.append(Place(where + place_text(inner), spec, part, variable))
    return found


def _with_specs(
    prefix: object, tree: object, what: str
) -> Iterator[tuple[tuple[Any, ...], Any, Any]]:
    specs, subtrees, structure = spread(plain(prefix), tree, what)
    for (start, spec), subtree in zip(with_path(structure, specs), subtrees, strict=True):
        for path, value in jax.tree_util.tree_flatten_with_path(subtree)[0]:
            yield (*start, *path), spec, value


def arrays_of_call(
    args: Sequence[Any], kwargs: Mapping[str, Any], names: Sequence[str]
) -> list[Place]:
    """All arrays of a call, inside and outside its objects, found without a bundle."""
    found: list[Place] = []
    named = [(names[i] if i < len(names) else f"argument {i}", a) for i, a in enumerate(args)]
    for name, argument in [*named, *kwargs.items()]:
        for path, part in jax.tree_util.tree_flatten_with_path(argument, is_leaf=is_node)[0]:
            where = name + place_text(path)
            if not is_node(part):
                found.append(Place(where, None, part))
                continue
            graphdef, leaves = flat_leaves(part)
            for at, leaf in zip(graphdef.paths, leaves, strict=True):
                variable = leaf if isinstance(leaf, Variable) else None
                value = leaf if variable is None else variable.raw_value
                for inner, x in jax.tree_util.tree_flatten_with_path(value)[0]:
                    text = join_text(where, at) + place_text(inner)
                    found.append(Place(text, None, x, variable))
    return [p for p in found if isinstance(p.value, jax.Array)]


def donation_misfit(places: Sequence[Place], donates: bool) -> str | None:
    """The note about arrays that were donated before, or that two variables of a call share.

    Args:
      places: the arrays of the call.
      donates: whether the call donates arrays, which two variables must not share.
    """
    tracers = jax.core.Tracer
    gone = [p for p in places if not isinstance(p.value, tracers) and p.value.is_deleted()]
    remedy = "nnx.clone(model, arrays=True) of a module or state, jnp.copy(x) of an array"
    if gone:
        more = f" and {len(gone) - 4} more" if len(gone) > 4 else ""
        return (
            f"Donated to an earlier call: {', '.join(p.where for p in gone[:4])}{more}. The call "
            "consumes what is donated (donate_argnums, donate_argnames), and only the variables "
            "of the module that was passed get new arrays. If you need the rest later, copy it "
            f"before that call: {remedy}."
        )
    first: dict[int, Place] = {}
    for p in places if donates else ():
        before = first.setdefault(id(p.value), p)
        if before is not p and (p.variable is None or p.variable is not before.variable):
            return (
                f"{before.where} and {p.where} hold the same array, and it is donated: the "
                "function would overwrite what it still reads. Give one of them its own arrays "
                f"before the call: {remedy}."
            )
    return None


def axis_misfit(
    places: Sequence[Place], name: str, size: int | None, size_name: str
) -> ArgumentError | None:
    """The error about an axis that an array lacks, or about sizes that differ; None if all fit.

    Args:
      places: the arrays; an array with an integer spec is mapped along that axis.
      name: the name of the transform.
      size: the size of the axis, if the user gives it.
      size_name: the name of the argument that gives the size.
    """
    mapped = [p for p in places if isinstance(p.spec, int)]
    for p in mapped:
        ndim = jnp.ndim(p.value)
        if not -ndim <= p.spec < ndim:
            return _no_such_axis(p, places, name, size, size_name)
    sizes: dict[int, list[Place]] = {}
    for p in mapped:
        sizes.setdefault(jnp.shape(p.value)[p.spec], []).append(p)
    if len({*sizes, *(() if size is None else (size,))}) < 2:
        return None
    lines = [] if size is None else [f"  {size}: {size_name}"]
    for length, group in sizes.items():
        listed = [f"axis {p.spec} of {p}" for p in group[:4]]
        more = f", and {len(group) - 4} more" if len(group) > 4 else ""
        lines.append(f"  {length}: {'; '.join(listed)}{more}")
    whole = "the axis None, so that every step sees it whole"
    return ArgumentError(
        f"nnx.{name} maps over axes of different sizes:\n" + "\n".join(lines),
        hint=(
            f"Give what isn't stacked {whole}; for a module, nnx.StateAxes({{filter: axis, ...: "
            "None}) says which variables have the axis."
        )
        if any(p.variable is not None for p in mapped)
        else f"Give what isn't stacked {whole}.",
    )


def _no_such_axis(
    p: Place, places: Sequence[Place], name: str, size: int | None, size_name: str
) -> ArgumentError:
    text = f"nnx.{name} cannot map over axis {p.spec} of {p}, which has no such axis."
    if not isinstance(p.variable, RngState):
        return ArgumentError(
            text,
            hint="Give it the axis None, so that every step sees it whole"
            + (": nnx.StateAxes({filter: axis, ...: None})." if p.variable is not None else "."),
        )
    if size is None:
        size = next(
            (
                jnp.shape(q.value)[q.spec]
                for q in places
                if isinstance(q.spec, int) and -jnp.ndim(q.value) <= q.spec < jnp.ndim(q.value)
            ),
            None,
        )
    splits = size_name if size is None else size
    return ArgumentError(
        f"{text} It belongs to a random stream, which holds a single key.",
        hint=(
            "Split the streams, so that each step has its own key: "
            f"nnx.split_rngs(splits={splits})(nnx.{name}(f, ...))(...), or "
            f"@nnx.split_rngs(splits={splits}) above @nnx.{name}. With the axis None, all steps "
            "would draw the same numbers."
        ),
    )


def sharding_misfit(places: Sequence[Place], name: str) -> ArgumentError | None:
    """The error about the first array that its sharding doesn't fit; None if all do."""
    for p in places:
        sharding = getattr(p.spec, "sharding", p.spec)  # a Format has a sharding
        if not isinstance(sharding, NamedSharding):
            continue
        shape = jnp.shape(p.value)
        mesh, spec = sharding.mesh, sharding.spec
        if len(spec) > len(shape):
            return ArgumentError(
                f"nnx.{name} cannot lay out {p} by {tuple(spec)}, which is for"
                f" {counted(len(spec), 'axis', 'axes')}.",
                hint="Pass one name, or None, for each axis."
                + (
                    " nnx.StateSharding({filter: sharding, ...: None}) gives each kind of variable"
                    " its own."
                    if p.variable is not None
                    else ""
                ),
            )
        for axis, (length, entry) in enumerate(zip(shape, spec, strict=False)):
            entries = entry if isinstance(entry, tuple) else (entry,)
            parts = math.prod(mesh.shape[n] for n in entries if n in mesh.shape)
            if length % parts:
                return ArgumentError(
                    f"nnx.{name} cannot lay out {p} by {tuple(spec)}: the {parts} devices of "
                    f"{entry!r} don't divide its axis {axis}, of size {length}.",
                    hint=(
                        "Choose a size that they divide, or None for that axis, which leaves "
                        "it unsplit."
                    ),
                )
    return None
