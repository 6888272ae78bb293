"""`cond`, `switch` and `while_loop`: jax's control flow over methods of modules."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from linnet.struct import FrozenDict

from ...tracebacks import named_after
from ..axes import join_streams, split_streams
from ..filters import CollectionFilter
from ..lift_targets import function_call
from ..lifting import Inputs, Lift, group, merge, ungroup
from .static_arguments import LOOKS_INSIDE, is_setting

M = TypeVar("M")  # a module, or a tree of modules
C = TypeVar("C")  # a carry
R = TypeVar("R")


@contextmanager
def _explained(operands: Sequence[Any]) -> Iterator[None]:
    """Explains jax's errors in terms of modules: flags among operands, unequal variables."""
    try:
        yield
    except TypeError as error:
        flags = [repr(x) for x in operands if is_setting(x)]
        if flags and isinstance(error, LOOKS_INSIDE):
            error.add_note(
                f"Operands are traced, including {', '.join(flags)}, so Python can't branch on "
                "the value. Leave it out of the operands and let the functions take it from the "
                "enclosing scope: nn.cond(pred, lambda m, x: m(x, train), ...)."
            )
        elif "structure" in str(error):
            error.add_note(
                "The results, and the variables that are created or set, must have the same "
                "structure in all branches and steps. Create submodules and variables "
                "beforehand, and in init call each branch's submodules outside the branches: "
                "if self.is_initializing(): ..."
            )
        raise


def cond(
    pred: ArrayLike,
    true_fun: Callable[..., R],
    false_fun: Callable[..., R],
    mdl: object,
    *operands: object,
    variables: CollectionFilter = True,
    rngs: CollectionFilter = True,
) -> R:
    """Lifted `jax.lax.cond`.

    The branches are called as `fun(mdl, *operands)`. Both must end with the same variables, so make
    the submodules of both beforehand, or outside the branches during `init`.

    >>> import jax, jax.numpy as jnp
    >>> from linnet.module_core import linen as nn
    >>> class Maybe(nn.Module):
    ...     @nn.compact
    ...     def __call__(self, x, flip):
    ...         w = self.param("w", jax.nn.initializers.ones, ())
    ...         return nn.cond(flip, lambda m, x: -w * x, lambda m, x: w * x, self, x)
    >>> Maybe().init_with_output(jax.random.key(0), jnp.ones(2), True)[0]
    Array([-1., -1.], dtype=float32)

    Args:
      pred: which branch to take: scalar, bool.
      true_fun, false_fun: the branches.
      mdl: a module, or a tree of modules.
      *operands: arrays for the branches.
      variables, rngs: the collections and random streams that exist in the branches.
    """

    def branch(fun: Callable[..., Any]) -> Callable[..., Any]:
        call = function_call(fun)

        def run(inputs: Inputs, *operands: object) -> object:
            return body(inputs, *operands, call=call, whole=True)

        return named_after(fun, run)

    lift = Lift(function_call(true_fun), mdl, operands)
    body = lift.plain(variables, rngs)
    with _explained(operands):
        output, changed = jax.lax.cond(
            pred, branch(true_fun), branch(false_fun), body.inputs, *lift.args
        )
    lift.store(changed, whole=True)
    chosen: R = output
    return chosen


def switch(
    index: ArrayLike,
    branches: Sequence[Callable[..., R]],
    mdl: object,
    *operands: object,
    variables: CollectionFilter = True,
    rngs: CollectionFilter = True,
) -> R:
    """Lifted `jax.lax.switch`.

    The branches are called as `branch(mdl, *operands)`, and all must end with the same variables.

    Args:
      index: which branch to take: scalar, integer; clamped to the valid range.
      branches: functions of a module.
      mdl: a module, or a tree of modules.
      *operands: arrays for the branches.
      variables, rngs: the collections and random streams that exist in the branches.
    """

    def branch(fun: Callable[..., Any]) -> Callable[..., Any]:
        call = function_call(fun)

        def run(inputs: Inputs, *operands: object) -> object:
            return body(inputs, *operands, call=call, whole=True)

        return named_after(fun, run)

    lift = Lift(function_call(branches[0]), mdl, operands)
    body = lift.plain(variables, rngs)
    with _explained(operands):
        output, changed = jax.lax.switch(
            index, [branch(fun) for fun in branches], body.inputs, *lift.args
        )
    lift.store(changed, whole=True)
    chosen: R = output
    return chosen


def while_loop(
    cond_fn: Callable[[M, C], ArrayLike],
    body_fn: Callable[[M, C], C],
    mdl: M,
    init: C,
    carry_variables: CollectionFilter = False,
    broadcast_variables: CollectionFilter = True,
    split_rngs: Mapping[Any, bool] = FrozenDict({}),
) -> C:
    """Lifted `jax.lax.while_loop`.

    Args:
      cond_fn: (module, carry) -> whether to continue; may not change variables.
      body_fn: (module, carry) -> carry.
      mdl: a module, or a tree of modules.
      init: the first carry.
      carry_variables: collections that each step passes to the next; they must exist before the
        loop.
      broadcast_variables: collections that all steps read.
      split_rngs: for each random stream (a filter), whether each step gets a different key.

    Returns:
      The last carry.
    """
    lift = Lift(function_call(body_fn), mdl, (init,))
    carried, shared_vars = group(lift.collections(True), [carry_variables, broadcast_variables])
    split, shared = split_streams(lift.keys(True), split_rngs)
    mutable = lift.mutable(carry_variables)
    call_cond = function_call(cond_fn)

    def keys(step: jax.Array) -> list[dict[str, jax.Array]]:
        return join_streams(shared, jax.tree.map(lambda k: jax.random.fold_in(k, step), split))

    def go_on(state: tuple[Any, ...]) -> object:
        step, carried, carry = state
        # The condition counts down and the body counts up, so that their keys differ.
        go, _ = lift.run(
            ungroup([carried, shared_vars]), keys(-step), False, (carry,), call=call_cond
        )
        return go

    def do(state: tuple[Any, ...]) -> tuple[Any, ...]:
        step, carried, carry = state
        carry, changed = lift.run(ungroup([carried, shared_vars]), keys(step), mutable, (carry,))
        return step + 1, merge(carried, changed), carry

    first = jnp.asarray(np.int32(0))
    with _explained(()):
        end: Any = jax.lax.while_loop(
            named_after(cond_fn, go_on), named_after(body_fn, do), (first, carried, *lift.args)
        )
        _, carried, carry = end
    is_mutable = lift.frame.is_mutable
    mutable_ones = [{c: t for c, t in root.items() if is_mutable(c)} for root in carried]
    lift.store(mutable_ones, whole=True)
    last: C = carry
    return last
