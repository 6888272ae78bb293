"""`TrainState`: parameters, the optimizer's state and the step count as one immutable tree.

The state is a tree of arrays, so it passes through `jax.jit` and into a checkpoint as a whole.
The function that applies the model and the optax transformation are fields too, but part of the
tree's structure, not of its leaves.

Some parameters are not optimized but replaced: the scales of 8-bit layers, which the backward pass
computes and returns as their "gradient". They are in a separate collection,
`OVERWRITE_WITH_GRADIENT`, next to the collection "params"; the transformation never sees them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import jax
import jax.numpy as jnp

from linnet.struct import PyTreeNode, field

from ..errors import ArgumentError, ArgumentTypeError, describe
from ..gradients import explain, updated

TS = TypeVar("TS", bound="TrainState")

OVERWRITE_WITH_GRADIENT = "_overwrite_with_gradient"
"""The collection whose values are replaced by their gradients."""

__all__ = ["OVERWRITE_WITH_GRADIENT", "TrainState"]


class TrainState(PyTreeNode):
    """The state of training for one optimizer; subclass it to add fields.

    Attributes:
      step: the number of updates so far.
      apply_fn: the function that applies the model, usually `model.apply`.
      params: the tree to optimize.
      tx: the optax transformation.
      opt_state: its state.

    >>> import jax, jax.numpy as jnp, optax
    >>> params = {"w": jnp.float32(2)}
    >>> def loss(params, x):
    ...     return (params["w"] * x) ** 2
    >>> state = TrainState.create(apply_fn=loss, params=params, tx=optax.sgd(0.125))
    >>> grads = jax.grad(state.apply_fn)(state.params, 1.0)
    >>> state = state.apply_gradients(grads=grads)
    >>> int(state.step), float(state.params["w"])
    (1, 1.5)
    """

    step: int | jax.Array
    apply_fn: Callable[..., Any] = field(pytree_node=False)
    params: Any = field(pytree_node=True)
    tx: Any = field(pytree_node=False)
    opt_state: Any = field(pytree_node=True)

    def apply_gradients(self: TS, *, grads: Any, **kwargs: object) -> TS:
        """The state after one update.

        Args:
          grads: gradients, a tree like `params`.
          **kwargs: new values of other fields, such as `batch_stats=...`.

        Raises:
          ArgumentError: `grads` are not a tree like `params`, have shapes that would change those
            of the parameters, or lack the values that replace those of `params`.
        """
        replaced = _is_split(grads)
        if replaced != _is_split(self.params):
            has, lacks = ("params", "grads") if not replaced else ("grads", "params")
            raise ArgumentError(
                f"{type(self).__name__}: {has} has the collection {OVERWRITE_WITH_GRADIENT!r},"
                f" but {lacks} does not.",
                hint="Take gradients with respect to the whole of `state.params`, which has that"
                ' collection besides "params".',
            )
        optimized, optimized_grads = self.params, grads
        if replaced:
            optimized, optimized_grads = self.params["params"], grads["params"]
        where = f"{type(self).__name__}.apply_gradients"
        try:
            updates, opt_state = self.tx.update(optimized_grads, self.opt_state, optimized)
        except (TypeError, ValueError, LookupError, AttributeError) as error:
            explain(error, where, optimized, optimized_grads)
        params = updated(where, _added, optimized, updates, optimized_grads)
        if replaced:
            params = {
                "params": params,
                OVERWRITE_WITH_GRADIENT: grads[OVERWRITE_WITH_GRADIENT],
            }
        return self.replace(step=self.step + 1, params=params, opt_state=opt_state, **kwargs)

    @classmethod
    def create(
        cls: type[TS], *, apply_fn: Callable[..., Any] | None, params: Any, tx: Any, **kwargs: Any
    ) -> TS:
        """The state at the start of training, at step 0.

        Args:
          apply_fn: the function that applies the model.
          params: the tree to optimize.
          tx: an optax transformation.
          **kwargs: values of the fields that a subclass adds.

        Raises:
          ArgumentTypeError: `tx` is not a transformation, or the class lacks a field.
        """
        lacking = sorted(kwargs.keys() - {f.name for f in dataclasses.fields(cls)})
        if lacking:
            raise ArgumentTypeError(
                f"{cls.__name__} has no field {lacking[0]!r}.",
                hint="Add it in a subclass, and create an instance of that:"
                f" class MyState({cls.__name__}): {lacking[0]}: Any.",
            )
        if not callable(getattr(tx, "init", None)):
            raise ArgumentTypeError(
                f"tx is a gradient transformation, such as optax.adam(1e-3); got {describe(tx)}.",
                hint=f"Write {cls.__name__}.create(apply_fn=..., params=..., tx=optax.adam(1e-3)).",
            )
        opt_state = tx.init(params["params"] if _is_split(params) else params)
        fields = {"step": 0, "apply_fn": apply_fn, "params": params, "tx": tx}
        return cls(**fields, opt_state=opt_state, **kwargs)


def _is_split(params: object) -> bool:
    return isinstance(params, Mapping) and OVERWRITE_WITH_GRADIENT in params


def _added(param: Any, update: Any) -> jax.Array | None:
    # In the parameter's dtype: an update may be in a wider one.
    return None if param is None else jnp.asarray(param + update).astype(jnp.asarray(param).dtype)
