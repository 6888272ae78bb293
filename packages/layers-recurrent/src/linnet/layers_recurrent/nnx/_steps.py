"""Runs a user-defined cell as a loop, step by step: `nnx.scan`, and the checks of a cell's step.

`state_axes` divides the cell's state into values that are carried from step to step (by default,
all of them), values that are the same in each step, and values that have a slice for each step.
Most values that could be carried, such as parameters, never change. `jax.lax.scan` finds them, and
keeps no copy of them for each step of the backward pass.

The loop of a cell is kept with it, so that it is traced once, however often it is called.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from linnet.layers_recurrent._runs import choose
from linnet.layers_recurrent.functional._layout import as_before
from linnet.module_core.errors import ArgumentError, ShapeError
from linnet.module_core.layers import Array
from linnet.module_core.nnx import (
    All,
    Carry,
    GraphDef,
    Module,
    RngState,
    StateAxes,
    Variable,
    graphdef,
    scan,
    split_rngs,
    state,
    to_flat_state,
)
from linnet.module_core.nnx.filters import Filter, Nothing, filters_to_predicates
from linnet.module_core.nnx.structure.states import path_text

_LOOPS: weakref.WeakKeyDictionary[Module, dict[Any, Any]] = weakref.WeakKeyDictionary()
"""The loops of each cell, by their options."""


def run_steps(
    cell: Module,
    carry: object,
    xs: Array,
    lengths: Array | None,
    *,
    state_axes: Mapping[Any, Any] | None,
    broadcast_rngs: Filter,
    unroll: int,
) -> tuple[Any, Any]:
    """Runs a cell over the leading dimension of `xs`, and updates it to its last state.

    Args:
      cell: the module.
      carry: the carry before the first step.
      xs: inputs [T, ...].
      lengths: integers (*batch); if given, the carry of a sequence is that after its last step.
      state_axes: maps filters of the cell's state to an axis whose slices go to the steps, to None
        for values that are the same in each step, or to anything else for values that are carried.
        None as a whole carries the entire state.
      broadcast_rngs: streams that give the same keys in each step.
      unroll: steps in one iteration of the loop.

    Returns:
      The last carry, and the outputs [T, ...].

    Raises:
      ArgumentError: a step changes the cell's structure, the form of its state, or a value that
        must be the same in each step.
      ShapeError: a step changes the shape or dtype of the carry.
    """
    axes = {
        kind: axis if axis is None or isinstance(axis, int) else Carry
        for kind, axis in ({...: Carry} if state_axes is None else state_axes).items()
    }
    forked = All(RngState, broadcast_rngs)
    loops = _LOOPS.setdefault(cell, {})
    key = (tuple(axes.items()), forked, unroll)
    if key not in loops:
        loops[key] = _loop(axes, forked, unroll)
    steps = None if lengths is None else jnp.arange(xs.shape[0], dtype=lengths.dtype)
    last = None if lengths is None else carry
    with split_rngs(cell, splits=1, only=broadcast_rngs, squeeze=True):
        (carry, last), outputs = loops[key](cell, (carry, last), (xs, steps), lengths)
    return (carry if lengths is None else last), outputs


def _loop(axes: Mapping[Any, Any], forked: All, unroll: int) -> Callable[..., Any]:
    filters_to_predicates(tuple(axes))
    chosen = StateAxes(axes)

    def same(cell: Module) -> dict[Any, Any]:
        """The values that must be the same in each step, by path."""
        if None not in chosen.axes:
            return {}
        return {
            path: leaf.get_raw_value() if isinstance(leaf, Variable) else leaf
            for path, leaf in to_flat_state(state(cell))
            if not forked(path, leaf) and chosen.spec_of(path, leaf) is None
        }

    def step(
        cell: Any, carry: tuple[Any, Any], now: tuple[Any, Array], lengths: Array | None
    ) -> tuple[tuple[Any, Any], Any]:
        (before, last), (x, t) = carry, now
        structure, given = graphdef(cell), same(cell)
        after, y = cell(before, x)
        _require_same_form(before, after)
        after = as_before(after, before)
        if (found := graphdef(cell)) != structure:
            raise ArgumentError(
                f"A step changed what {type(cell).__name__} consists of: it"
                f" {_difference(structure, found)}.",
                hint="A loop has one program for all steps: make all variables in the cell's"
                " constructor, and keep what changes in them.",
            )
        for path, value in same(cell).items():
            if value is not given[path]:
                raise ArgumentError(
                    f"A step changed {path_text(path)}, which state_axes says is the same in each.",
                    hint="If each step starts from what the previous one left, let state_axes begin"
                    f" with nnx.PathContains({path[-1]!r}): nnx.Carry.",
                )
        if lengths is not None:  # `last` stays fixed once a sequence has ended
            last = jax.tree.map(lambda new, old: choose(t < lengths, new, old), after, last)
        return (after, last), y

    # Forked streams first. Without any, errors show just what the user wrote.
    is_forked = forked.predicates[1] != Nothing()
    state_axes = StateAxes([(forked, None), *axes.items()]) if is_forked else chosen
    return scan(
        step,
        in_axes=(state_axes, Carry, 0, None),
        out_axes=(Carry, 0),
        unroll=unroll,
        graph=True,
        graph_updates=True,
    )


def _require_same_form(before: object, after: object) -> None:
    forms: list[Any] = [jax.tree.structure(before), jax.tree.structure(after)]
    if forms[0] != forms[1]:
        raise ShapeError(
            f"The carry has a different structure after a step: {forms[1]}, expected {forms[0]}."
        )
    for a, b in zip(jax.tree.leaves(before), jax.tree.leaves(after), strict=True):
        if jnp.shape(a) != jnp.shape(b) or jnp.result_type(a) != jnp.result_type(b):
            raise ShapeError(
                f"The carry has shape {jnp.shape(b)} and dtype {jnp.result_type(b)} after a step,"
                f" expected {jnp.shape(a)} and {jnp.result_type(a)}, as before it.",
                hint="Every step must return a carry of the form that it received: start from a"
                " carry of the cell's computation dtype.",
            )


def _difference(before: GraphDef[Any], after: GraphDef[Any]) -> str:
    old, now = set(before.paths), set(after.paths)
    new, gone = sorted(now - old, key=str), sorted(old - now, key=str)
    found = [f"adds {path_text(p)}" for p in new] + [f"removes {path_text(p)}" for p in gone]
    return ", ".join(found) or "changes a static attribute"
