"""`scan`: applies one module step by step, tracing it once or twice instead of once per step.

The body runs on one step's slices. Values shared by all steps (broadcast variables, broadcast
outputs) must not depend on a step, and must exist before the loop. A first trace of the body
therefore finds them: initial values of broadcast variables are computed then, outside that
trace (`Frame.concrete`), and the other values are read off the traced program (`tracing`). The
second trace is the loop. Both traces count their draws, like two runs of the body in sequence, so a
scanned parameter is made from the second trace's keys. `check_constancy_invariants=False` skips the
first trace.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import jax
import jax.numpy as jnp

from linnet.struct import FrozenDict

from ...errors import ArgumentError, describe
from ...tracebacks import named_after
from ...typing import Carry, Output, Prefix, PyTree
from ..axes import (
    Axes,
    add_axis,
    as_prefix,
    axis_in,
    axis_sizes,
    broadcast,
    in_axes_of,
    input_name,
    join_streams,
    length_beside,
    map_prefix,
    one_size,
    out_axes_of,
    remove_axis,
    split_streams,
    variable_name,
)
from ..filters import CollectionFilter, subtract_filters, union_filters, union_of
from ..frame import Collections
from ..lift_targets import Methods, Target, lift_target
from ..lifting import Lift, group, merge, ungroup
from ..passages import Loop, Loops
from ..tracing import COMPUTED, DEPENDENT, classify_outputs, compute_outputs


def scan(
    target: Target,
    variable_axes: Axes = FrozenDict({}),
    variable_broadcast: CollectionFilter = False,
    variable_carry: CollectionFilter = False,
    split_rngs: Mapping[Any, bool] = FrozenDict({}),
    in_axes: object = 0,
    out_axes: object = 0,
    length: int | None = None,
    reverse: bool = False,
    unroll: int = 1,
    data_transform: Callable[..., Any] | None = None,
    metadata_params: Mapping[Any, Any] = FrozenDict({}),
    methods: Methods = None,
    _split_transpose: bool = False,
    check_constancy_invariants: bool = True,
) -> Target:
    """Lifted `jax.lax.scan`.

    The method takes (carry, *inputs of one step) and returns (carry, output of one step).
    Collections and random streams that are not listed do not exist inside.

    >>> import jax, jax.numpy as jnp
    >>> from linnet.module_core import linen as nn
    >>> class Layer(nn.Module):
    ...     @nn.compact
    ...     def __call__(self, x, _):
    ...         return x * self.param("s", jax.nn.initializers.normal(), ()), None
    >>> Stack = nn.scan(Layer, variable_axes={"params": 0}, split_rngs={"params": True}, length=3)
    >>> Stack().init(jax.random.key(0), jnp.ones(2), None)["params"]["s"].shape
    (3,)

    Args:
      target: a module class, or a function or method of a module. A function gets the module
        first: `scan(f, ...)(module, carry, *inputs)` calls `f(module, carry, *inputs of a step)`.
      variable_axes: the axis to scan along for each collection (a filter).
      variable_broadcast: collections that all steps share; they may be made, but not changed.
      variable_carry: collections that each step passes to the next.
      split_rngs: for each random stream (a filter), whether each step gets a different key.
      in_axes, out_axes: the axis to scan along for each input and output; `broadcast` for values
        that are the same in all steps.
      length: the number of steps, if it cannot be inferred from the inputs.
      reverse, unroll: as in `jax.lax.scan`.
      data_transform: (variable groups, keys) -> the same, applied inside the loop, for example to
        constrain shardings.
      metadata_params: parameters of the step axis for the boxes around variables.
      methods: for a class, the names of the methods to transform (default `__call__`).
      check_constancy_invariants: trace the body once more to find the values shared by all steps;
        False is faster to trace, but broadcast variables can't be made.

    Raises:
      ArgumentError: no length, or more than one, can be inferred; or a value shared by all steps
        depends on a step.
    """
    options = {
        "variable_axes": variable_axes,
        "variable_broadcast": variable_broadcast,
        "variable_carry": variable_carry,
        "split_rngs": split_rngs,
        "in_axes": in_axes,
        "out_axes": out_axes,
        "length": length,
        "loop": {"reverse": reverse, "unroll": unroll}
        | ({"_split_transpose": True} if _split_transpose else {}),
        "data_transform": data_transform,
        "metadata_params": metadata_params,
        "check_constancy": check_constancy_invariants,
    }
    return lift_target(run_scan, target, "Scan", methods, options)


def run_scan(
    lift: Lift,
    *,
    variable_axes: Axes,
    variable_broadcast: CollectionFilter,
    variable_carry: CollectionFilter,
    split_rngs: Mapping[Any, bool],
    in_axes: Prefix,
    out_axes: Prefix,
    length: int | None,
    loop: Mapping[str, Any],
    data_transform: Callable[..., Any] | None,
    metadata_params: Mapping[Any, Any],
    check_constancy: bool,
) -> Output:
    """The transform itself: runs the lifted call as the body of `jax.lax.scan`."""
    unsliced = [f for f, axis in variable_axes.items() if axis is None or axis is broadcast]
    variable_axes = {f: axis for f, axis in variable_axes.items() if f not in unsliced}
    variable_broadcast = union_of([variable_broadcast, *unsliced])
    enter, leave = in_axes_of(variable_axes), out_axes_of(variable_axes)
    axes = list(enter.values())
    shared_vars, carried, *scanned = group(
        lift.collections(True), [variable_broadcast, variable_carry, *enter]
    )
    # A box is updated while its value has the axis, because it may change the value, too.
    scanned = [remove_axis(g, a, metadata_params) for g, a in zip(scanned, axes, strict=True)]
    if not lift.args:
        raise ArgumentError("A scanned method must take a carry as its first argument.")
    carry, *inputs = lift.args
    in_axes = as_prefix(in_axes)
    split, shared = split_streams(lift.keys(True), split_rngs)
    # The carry is argument 1.
    sizes = [axis_sizes(in_axes, tuple(inputs), lambda path: input_name(path, after=1))]
    sizes += [axis_sizes(a, g, variable_name) for a, g in zip(axes, scanned, strict=True)]
    steps = one_size(sizes, length, "scan lengths", "length")
    split = jax.tree.map(lambda key: jax.random.split(key, steps), split)

    xs, constant = partition(in_axes, tuple(inputs))
    xs = map_axes(to_front, in_axes, xs)
    slices = (xs, [to_front(g, a) for g, a in zip(scanned, axes, strict=True)], split)
    scans_out = union_of(leave)
    out_axes = as_prefix(out_axes)
    splits = any("params" in keys for keys in split)

    def loops_of(collection: str) -> Loops | None:
        axis = axis_in({variable_broadcast: None, variable_carry: None, **leave}, collection)
        return None if axis is None else (Loop(steps, axis, splits),)

    if data_transform is None:
        lift.follow_draws(loops_of)

    def body(
        carry: Carry, slices: Any, shared_vars: object, mutable: CollectionFilter, concrete: bool
    ) -> tuple[Any, Any, Any, Any]:
        carried, carry = carry
        xs, scanned, split = slices
        groups, keys = (shared_vars, carried, *scanned), join_streams(shared, split)
        if data_transform is not None:
            groups, keys = data_transform(groups, keys)
        args = (carry, *join(in_axes, xs, constant))
        output, changed = lift.run(ungroup(groups), keys, mutable, args, concrete=concrete)
        if not isinstance(output, tuple) or len(output) != 2:
            raise ArgumentError(
                "A scanned method must return (carry, output of the step), got"
                f" {describe(output)}.",
                hint="Return (carry, None) if the steps have no output. To repeat a layer, scan a"
                " module whose __call__(carry, x) returns (layer(carry), None).",
            )
        carry, y = output
        new_shared, new_carried, *new_scanned = group(
            changed, [variable_broadcast, variable_carry, *leave]
        )
        _refuse_new(carried, new_carried)
        ys, constants = partition(out_axes, y)
        return (merge(carried, new_carried), carry), (ys, new_scanned), new_shared, constants

    changes = union_filters(scans_out, variable_carry)
    first: Any = None
    if check_constancy:
        mutable = lift.mutable(union_filters(changes, variable_broadcast))
        shared_vars, first = _find_constants(
            lambda c, s: body(c, s, shared_vars, mutable, True)[2:],
            lift.call,
            (carried, carry),
            jax.tree.map(one_slice, slices),
            shared_vars,
        )
    mutable = lift.mutable(subtract_filters(changes, variable_broadcast))

    def step(carry: Carry, slices: object) -> tuple[Carry, Any]:
        new_carry, ys, _, constants = body(carry, slices, shared_vars, mutable, False)
        return new_carry, (ys, constants if not check_constancy else None)

    (carried, carry), ((ys, new_scanned), constants) = jax.lax.scan(
        named_after(lift.call, step),
        (carried, carry),
        slices,
        length=length_beside(slices, steps),
        **loop,
    )
    if not check_constancy:
        first = jax.tree.map(lambda x: x[0], constants)
    boxed = [
        add_axis(from_front(g, a), a, metadata_params)
        for g, a in zip(new_scanned, leave.values(), strict=True)
    ]
    kept = merge(_only_mutable(lift, shared_vars), _only_mutable(lift, carried))
    lift.store(merge(kept, ungroup(boxed)) if boxed else kept, whole=True)
    return carry, join(out_axes, map_axes(from_front, out_axes, ys), first)


def _refuse_new(before: object, after: object) -> None:
    """Checks that a step makes no variables of the collections that are carried."""
    known = {path for path, _ in jax.tree_util.tree_leaves_with_path(before)}
    new = [
        jax.tree_util.keystr(path[1:], simple=True, separator="/")  # without the number of a group
        for path, _ in jax.tree_util.tree_leaves_with_path(after)
        if path not in known
    ]
    if new:
        raise ArgumentError(
            f"The steps of a scan make the variables {', '.join(new[:8])}, which variable_carry"
            " carries from step to step, so that they must exist before the first.",
            hint="Make them in the module that calls scan, self.variable(...), and scan a function"
            " of it: nn.scan(step, variable_carry=...)(self, carry, xs). If each step has its own,"
            " use variable_axes.",
        )


def _find_constants(
    find: Callable[[Any, Any], Any],
    user: Callable[..., Any],
    carry: object,
    slices: object,
    shared_vars: Sequence[Collections],
) -> tuple[list[Collections], Any]:
    """The values shared by all steps: (broadcast variables, broadcast outputs).

    `find` runs a step; `user` is the user's function, which error messages name.
    """
    changed, constants = find_constants(find, user, carry, slices, _output_name)
    return merge(shared_vars, changed), constants


def find_constants(
    find: Callable[[Any, Any], Any],
    user: Callable[..., Any],
    carry: object,
    slices: object,
    name: Callable[[Any], str],
) -> PyTree:
    """The result of `find(carry, slices of one step)`, which is the same for all steps.

    One trace determines it, without running a step.

    Args:
      find: a function that runs a step.
      user: the user's function, which error messages name.
      carry: the first carry.
      slices: the inputs of one step.
      name: the name of a value in messages, from its path in the result of `find`.

    Raises:
      ArgumentError: a value depends on the inputs of a step.
    """
    found: list[Any] = []

    def trace(carry: Carry, slices: object) -> list[Any]:
        found[:] = [find(carry, slices)]
        return jax.tree.leaves(found)

    program = jax.make_jaxpr(named_after(user, trace))(carry, slices)
    paths, treedef = jax.tree_util.tree_flatten_with_path(found)
    values = [value for _, value in paths]
    kinds = classify_outputs(program)
    bad = [name(p) for (p, _), k in zip(paths, kinds, strict=True) if k == DEPENDENT]
    if bad:
        raise ArgumentError(
            f"In a scan, {', '.join(bad)} is broadcast, but depends on the inputs of a step.",
            hint=(
                "Broadcast variables and outputs are the same in all steps. Scan the variable "
                "(variable_axes), carry it (variable_carry) if it exists before the loop, or "
                "give the output an axis. A key is an input of a step if split_rngs splits its "
                "stream: write {'params': False} for parameters that all steps share."
            ),
        )
    wanted = [i for i, kind in enumerate(kinds) if kind == COMPUTED]
    if wanted:
        inputs = jax.tree.leaves((carry, slices))
        for i, value in zip(wanted, compute_outputs(program, wanted, inputs), strict=True):
            values[i] = value
    (constants,) = jax.tree.unflatten(treedef, values)
    return constants


def _output_name(path: tuple[Any, ...]) -> str:
    """The name of a step's variable or output, from its path in the result of `_find_constants`."""
    _, part, *inner = path
    if part.idx == 1:
        return f"the output{jax.tree_util.keystr(tuple(inner))}"
    _, collection, *names = inner  # the first is the number of a root
    return f"{'/'.join(str(n.key) for n in names)!r} of the collection {collection.key!r}"


def _only_mutable(lift: Lift, collections: Sequence[Collections]) -> list[Collections]:
    is_mutable = lift.frame.is_mutable
    return [{c: t for c, t in root.items() if is_mutable(c)} for root in collections]


T = TypeVar("T")


class _Absent:
    """A placeholder for a value in the other part of a partition: a pytree without leaves."""


_absent = _Absent()
jax.tree_util.register_pytree_node(_Absent, lambda _: ((), None), lambda *_: _absent)


def partition(axes: object, tree: object) -> tuple[Any, Any]:
    """Splits `tree` into values sliced along an axis and values that are the same in all steps."""
    sliced = map_prefix(lambda a, t: _absent if _is_shared(a) else t, axes, tree)
    constant = map_prefix(lambda a, t: t if _is_shared(a) else _absent, axes, tree)
    return sliced, constant


def join(axes: object, sliced: object, constant: object) -> Any:
    """Reverses `partition`."""
    return jax.tree.map(
        lambda axis, s, c: c if _is_shared(axis) else s, axes, sliced, constant, is_leaf=_is_shared
    )


def _is_shared(axis: object) -> bool:
    return axis is None or axis is broadcast


def map_axes(move: Callable[[Any, Any], Any], axes: object, sliced: object) -> object:
    return map_prefix(lambda a, t: t if _is_shared(a) else move(t, a), axes, sliced)


def one_slice(x: jax.Array) -> object:
    # For arrays, the shape suffices; a key's kind is not part of its shape, so a real key is used.
    if jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
        return x[0]
    return jax.ShapeDtypeStruct(x.shape[1:], x.dtype)  # type: ignore[no-untyped-call]


def to_front(tree: T, axis: int | None) -> T:
    if not axis:
        return tree
    moved: T = jax.tree.map(lambda x: jnp.moveaxis(x, axis, 0), tree)
    return moved


def from_front(tree: T, axis: int | None) -> T:
    if not axis:
        return tree
    moved: T = jax.tree.map(lambda x: jnp.moveaxis(x, 0, axis), tree)
    return moved
