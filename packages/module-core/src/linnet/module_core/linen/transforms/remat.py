"""`remat`: trades computation time for memory.

A rematerialized module stores only its inputs and recomputes its intermediate results in the
backward pass.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import jax

from linnet.struct import FrozenDict

from ...errors import ArgumentError
from ...tracebacks import named_after
from ...typing import Output
from ..axes import Axes
from ..filters import CollectionFilter
from ..lift_targets import Methods, Target, lift_target
from ..lifting import Inputs, Lift
from ..passages import unchanged
from .scan import scan
from .static_arguments import StaticArguments


def checkpoint(
    target: Target,
    variables: CollectionFilter = True,
    rngs: CollectionFilter = True,
    concrete: bool = False,
    prevent_cse: bool = True,
    static_argnums: int | Sequence[int] = (),
    policy: Callable[..., bool] | None = None,
    methods: Methods = None,
    *,
    static_argnames: str | Iterable[str] = (),
) -> Target:
    """Lifted `jax.checkpoint`.

    Args:
      target: a module class, or a function or method of a module.
      variables, rngs: the collections and random streams that exist inside.
      concrete: kept for older programs; use `static_argnums` instead.
      prevent_cse: as in `jax.checkpoint`; False inside a `scan`.
      static_argnums, static_argnames: the numbers (0 is the module) or names of arguments that are
        not traced, such as flags, whether a call passes them by position or by keyword.
      policy: which intermediate results to keep; see `jax.checkpoint_policies`.
      methods: for a class: names of the methods to transform (default `__call__`).
    """
    refuse_concrete(concrete)
    options = {
        "variables": variables,
        "rngs": rngs,
        "prevent_cse": prevent_cse,
        "static": StaticArguments.of(static_argnums, static_argnames),
        "policy": policy,
    }
    return lift_target(run_checkpoint, target, "Checkpoint", methods, options)


remat = checkpoint


def refuse_concrete(concrete: bool) -> None:
    """Checks that `concrete`, an option that jax no longer has, is not set.

    Raises:
      ArgumentError: it is set.
    """
    if concrete:
        raise ArgumentError(
            "remat(concrete=True) is no longer supported by jax.",
            hint="In static_argnums, name the arguments that Python's control flow depends on.",
        )


def run_checkpoint(
    lift: Lift,
    *,
    variables: CollectionFilter,
    rngs: CollectionFilter,
    prevent_cse: bool,
    static: StaticArguments,
    policy: Callable[..., bool] | None,
) -> object:
    """The transform itself: runs the lifted call under `jax.checkpoint`."""
    lift.follow_draws(unchanged)
    body = lift.plain(variables, rngs)
    positions, names = static.resolve(lift)
    # jax's static_argnums does not cover keywords, so static arguments do not pass through jax.
    fixed = {i: lift.args[i] for i in positions}
    fixed_named = {k: v for k, v in lift.kwargs.items() if k in names}
    moving = [x for i, x in enumerate(lift.args) if i not in fixed]
    moving_named = {k: v for k, v in lift.kwargs.items() if k not in names}

    def checkpointed(inputs: Inputs, args: Sequence[Any], kwargs: Mapping[str, Any]) -> object:
        rest = iter(args)
        filled = [fixed[i] if i in fixed else next(rest) for i in range(len(lift.args))]
        return body(inputs, *filled, kwargs={**kwargs, **fixed_named})

    named = named_after(lift.call, checkpointed)
    with static.explained(lift, positions, names):
        output, changed = jax.checkpoint(named, prevent_cse=prevent_cse, policy=policy)(
            body.inputs, moving, moving_named
        )
    lift.store(changed)
    return output


def remat_scan(
    target: Target,
    lengths: Sequence[int] | None = (),
    policy: Callable[..., bool] | None = None,
    variable_broadcast: CollectionFilter = False,
    variable_carry: CollectionFilter = False,
    variable_axes: Axes = FrozenDict({True: 0}),
    split_rngs: Mapping[Any, bool] = FrozenDict({True: True}),
) -> Target:
    """A memory-efficient deep stack of one module: nested scans with the inner ones rematerialized.

    With `lengths=(a, b)`, the module is applied a · b times in sequence; memory for intermediate
    results grows with a + b (Chen et al. 2016, arXiv:1604.06174).

    Args:
      target: a module class, or a function of a module, with one input and an output like it.
      lengths: the number of steps at each level of nesting.
      policy: which intermediate results to keep; see `jax.checkpoint_policies`.
      variable_broadcast, variable_carry, variable_axes, split_rngs: as in `scan`.
    """
    if not lengths:
        raise ArgumentError(
            "remat_scan needs lengths, one for each level of nesting.",
            hint="lengths=(10, 10) applies the module 100 times.",
        )
    options = {
        "lengths": tuple(lengths),
        "policy": policy,
        "scan_options": {
            "variable_broadcast": variable_broadcast,
            "variable_carry": variable_carry,
            "variable_axes": variable_axes,
            "split_rngs": split_rngs,
        },
    }
    return lift_target(run_remat_scan, target, "Remat_scan", None, options)


def run_remat_scan(
    lift: Lift,
    *,
    lengths: tuple[int, ...],
    policy: Callable[..., bool] | None,
    scan_options: Mapping[str, Any],
) -> Output:
    """The transform itself: runs the lifted call in nested loops."""
    return lift.directly(_remat_levels(lift.call, lengths, policy, scan_options))


def _remat_levels(
    fn: Callable[..., Any],
    lengths: tuple[int, ...],
    policy: Callable[..., bool] | None,
    scan_options: Mapping[str, Any],
) -> Callable[..., Any]:
    """`fn` in nested loops of `lengths` steps, the inner ones recomputed in the backward pass."""
    inner = fn
    if len(lengths) > 1:
        inner = checkpoint(
            _remat_levels(fn, lengths[1:], policy, scan_options), policy=policy, prevent_cse=False
        )

    def step(module: object, carry: object) -> tuple[Any, None]:
        return inner(module, carry), None

    scanned = scan(step, length=lengths[0], **scan_options)
    return lambda module, carry: scanned(module, carry)[0]
