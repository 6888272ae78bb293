"""Runs a user-defined cell as a loop, step by step.

The cell is split into its structure and values; each step merges them, calls the cell, and finds
the values that are new. `state_axes` divides the values into three kinds: those that are carried
from step to step (all, by default), those that are the same in each step, and those that have a
slice for each step.

Most values that could be carried never change: parameters. A loop that carried them would keep a
copy of each for every step of the backward pass. One step is therefore traced beforehand to
determine which values it changes; the loop carries only these.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from linnet.module_core.errors import ArgumentError, ShapeError
from linnet.module_core.layers import Array
from linnet.module_core.nnx import (
    Module,
    RngStream,
    Variable,
    capturing,
    from_flat_state,
    graphdef,
    iter_graph,
    iter_modules,
    merge,
    split,
    to_flat_state,
    update,
)
from linnet.module_core.nnx.filters import (
    Filter,
    filters_to_predicates,
    first_passing,
    to_predicate,
)
from linnet.module_core.nnx.structure.states import path_text
from linnet.module_core.typing import Carry, PyTree

Step = Callable[[Any, Any, Any], tuple[Any, Any]]
"""(cell, carry, x) -> (carry, y)."""


def scan(
    cell: Module,
    step: Step,
    carry: Carry,
    xs: PyTree,
    *,
    state_axes: Mapping[Any, Any] | None,
    broadcast_rngs: Filter,
    unroll: int,
) -> tuple[Any, Any]:
    """Runs `step` over the leading dimension of `xs`, and updates the cell to its last state.

    Args:
      cell: the module.
      step: the function that takes one step.
      carry: the carry before the first step.
      xs: arrays [T, ...].
      state_axes: maps filters of the cell's state to an axis whose slices go to the steps, to None
        for values that are the same in each step, or to anything else for values that are carried.
        None as a whole carries the entire state.
      broadcast_rngs: streams that give the same keys in each step.
      unroll: steps in one iteration of the loop.

    Returns:
      The carry after the last step, and the outputs [T, ...].

    Raises:
      ArgumentError: a step changes the cell's structure, or a value that must be the same in each
        step.
      ShapeError: a step changes the shape or dtype of the carry or of the cell's state.
    """
    structure, state = split(cell)
    paths = [path for path, _ in to_flat_state(state)]
    leaves = [leaf for _, leaf in to_flat_state(state)]
    kinds = _kinds(paths, leaves, state_axes)
    values = [_raw(leaf) for leaf in leaves]
    after_draw = _fork(cell, broadcast_rngs, paths, values, kinds)

    def call(values: list[Any], carry: object, x: object) -> tuple[Any, Any, list[Any]]:
        new = [
            leaf.replace(value) if isinstance(leaf, Variable) else value
            for leaf, value in zip(leaves, values, strict=True)
        ]
        made = merge(structure, new)
        before = _sown(made)
        carry, y = step(made, carry, x)
        _refuse_sown(_sown(made) - before)
        if graphdef(made) != structure:
            raise ArgumentError(
                f"A step changed what {type(cell).__name__} consists of: it has"
                f" {_difference(made, paths)}.",
                hint="A loop has one program for all steps: make all variables in the cell's"
                " constructor, and keep what changes in them.",
            )
        return carry, y, [_raw(leaf) for _, leaf in to_flat_state(split(made)[1])]

    carried = _changed_by_a_step(call, values, kinds, carry, xs, paths)
    sliced = [i for i, kind in enumerate(kinds) if isinstance(kind, int)]

    def body(before: Any, now: Any) -> Any:
        carry, moving = before
        x, slices = now
        filled = list(values)
        for i, value in zip((*carried, *sliced), (*moving, *slices), strict=True):
            filled[i] = value
        carry, y, new = call(filled, carry, x)
        return (carry, [new[i] for i in carried]), (y, [new[i] for i in sliced])

    slices = [_move(values[i], kinds[i], 0) for i in sliced]
    (carry, moved), (ys, stacked) = lax.scan(
        body, (carry, [values[i] for i in carried]), (xs, slices), unroll=unroll
    )
    for i, value in zip(carried, moved, strict=True):
        _write(cell, paths[i], leaves[i], value)
    for i, value in zip(sliced, stacked, strict=True):
        _write(cell, paths[i], leaves[i], _move(value, 0, kinds[i]))
    for variable, value in after_draw:
        variable.set_raw_value(value)
    return carry, ys


_CARRIED = "carried"
_FORKED = "forked"


def _kinds(paths: list[Any], leaves: list[Any], state_axes: Any) -> list[Any]:
    """An axis, None, or `_CARRIED` for each leaf."""
    if state_axes is None:
        return [_CARRIED] * len(leaves)
    filters, axes = zip(*state_axes.items(), strict=True)
    predicates = filters_to_predicates(filters)
    kinds = []
    for path, leaf in zip(paths, leaves, strict=True):
        n = first_passing(predicates, path, leaf)
        if n == len(axes):
            raise ArgumentError(
                f"state_axes say nothing of {path_text(path)}, a {type(leaf).__name__}.",
                hint="End them with `...: nnx.Carry`, or `...: None`.",
            )
        axis = axes[n]
        kinds.append(axis if axis is None or isinstance(axis, int) else _CARRIED)
    return kinds


def _fork(
    cell: Module, broadcast_rngs: Filter, paths: list[Any], values: list[Any], kinds: list[Any]
) -> list[tuple[Variable[Any], Any]]:
    """Replaces each stream that must be the same in each step by one started from its next key.

    Returns:
      The count variables of these streams, each with its value after the loop.
    """
    if broadcast_rngs is None:
        return []
    chosen = to_predicate(broadcast_rngs)
    after: list[tuple[Variable[Any], Any]] = []
    for path, node in iter_graph(cell):
        if not isinstance(node, RngStream):
            continue
        keys = {name: (*path, name) for name in ("key", "count")}
        variables = {"key": node.key, "count": node.count}
        if not any(chosen(keys[name], variables[name]) for name in keys):
            continue
        count = node.count.get_value()
        # vmap or scan gives the stream one key: split once, as splitting for n steps would.
        forked = jax.random.split(jax.random.fold_in(node.key.get_value(), count), 1)[0]
        for name, value in (("key", forked), ("count", jnp.zeros_like(count))):
            i = paths.index(keys[name])
            values[i], kinds[i] = value, _FORKED
        after.append((node.count, count + 1))
    return after


def _changed_by_a_step(
    call: Callable[..., Any],
    values: list[Any],
    kinds: list[Any],
    carry: object,
    xs: object,
    paths: list[Any],
) -> list[int]:
    """Which of the carried values a step changes."""
    changed: list[int] = []

    def one(carry: object, xs: object, values: list[Any]) -> object:
        x = jax.tree.map(lambda x: lax.index_in_dim(x, 0, keepdims=False), xs)
        given = [
            jax.tree.map(lambda v, axis=kind: lax.index_in_dim(v, 0, axis, keepdims=False), v)
            if isinstance(kind, int)
            else v
            for v, kind in zip(values, kinds, strict=True)
        ]
        new_carry, _, new = call(given, carry, x)
        changed.extend(
            i for i, (a, b) in enumerate(zip(given, new, strict=True)) if not _is_same(a, b)
        )
        return new_carry, new

    if any(x.shape[0] == 0 for x in jax.tree.leaves(xs)):
        return [i for i, kind in enumerate(kinds) if kind == _CARRIED]
    new_carry, new = jax.eval_shape(one, carry, xs, values)
    _require_same(carry, new_carry, "The carry")
    for i in changed:
        if kinds[i] is None:
            raise ArgumentError(
                f"A step changed {path_text(paths[i])}, which state_axes say is the same in each.",
                hint="If each step begins with what the one before left, let state_axes begin with"
                f" nnx.PathContains({paths[i][-1]!r}): nnx.Carry.",
            )
        if kinds[i] == _CARRIED:
            _require_same(values[i], new[i], path_text(paths[i]))
    return [i for i in changed if kinds[i] == _CARRIED]


def _require_same(before: object, after: object, what: str) -> None:
    forms: list[Any] = [jax.tree.structure(before), jax.tree.structure(after)]
    if forms[0] != forms[1]:
        raise ShapeError(
            f"{what} has another structure after a step: {forms[1]}, expected {forms[0]}."
        )
    for a, b in zip(jax.tree.leaves(before), jax.tree.leaves(after), strict=True):
        if jnp.shape(a) != b.shape or jnp.result_type(a) != b.dtype:
            raise ShapeError(
                f"{what} has shape {b.shape} and dtype {b.dtype} after a step, expected"
                f" {jnp.shape(a)} and {jnp.result_type(a)}, as before it.",
                hint="Every step of a loop leaves what it found, in form: start from a carry of the"
                " type that the cell computes in.",
            )


def _is_same(a: object, b: object) -> bool:
    if a is b:
        return True
    ours, theirs = jax.tree.leaves(a), jax.tree.leaves(b)
    return len(ours) == len(theirs) and all(map(lambda x, y: x is y, ours, theirs))


def _difference(made: object, paths: list[Any]) -> str:
    now = {path for path, _ in to_flat_state(split(made)[1])}
    new, gone = sorted(now.difference(paths), key=str), sorted(set(paths).difference(now), key=str)
    found = [f"a new {path_text(p)}" for p in new] + [f"no more {path_text(p)}" for p in gone]
    return ", ".join(found) or "another static attribute"


def _sown(cell: Module) -> set[tuple[Any, str]]:
    """The paths and names of the cell's values that a capturing call has so far."""
    return {
        (path, name)
        for path, module in iter_modules(cell)
        for name in capturing.names_of(capturing.captures_of(module) or ())
    }


def _refuse_sown(found: set[tuple[Any, str]]) -> None:
    names = sorted({repr(name) for _, name in found})
    if names:
        raise ArgumentError(
            f"A step sowed {', '.join(names)}: what is sown within a loop's step cannot leave it.",
            hint="Return it as a part of the cell's output.",
        )


def _raw(leaf: object) -> Any:
    return leaf.get_raw_value() if isinstance(leaf, Variable) else leaf


def _move(value: object, source: int, target: int) -> Any:
    return jax.tree.map(lambda v: jnp.moveaxis(v, source, target), value)


def _write(cell: Module, path: Any, leaf: object, value: Array) -> None:
    if isinstance(leaf, Variable):
        leaf.set_raw_value(value)
    else:
        update(cell, from_flat_state([(path, value)]))
