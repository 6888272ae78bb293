"""`TrainState`: all training state as one immutable tree, for plain `jax.jit`.

This is the functional style, for users who come from linen or prefer immutable objects:
`apply_gradients` returns a new state. `nnx.Optimizer` is the stateful alternative.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic

import jax
import jax.numpy as jnp

from linnet.struct import PyTreeNode, field

from ...errors import ArgumentTypeError
from ...gradients import explain, updated
from ..structure.calling import Caller, call
from ..structure.graphdef import GraphDef
from ..structure.states import State, merge_state

if TYPE_CHECKING:
    from typing_extensions import TypeVar

    from .optimizer import GradientTransformation

    M = TypeVar("M", default=Any)  # the model's type; Any for a bare `TrainState`
else:
    from typing import TypeVar

    M = TypeVar("M")

TS = TypeVar("TS", bound="TrainState")


class TrainState(PyTreeNode, Generic[M]):
    """A split model, its optimizer state and the step count; subclass it to add fields.

    Attributes:
      graphdef: the model's structure.
      params: the state to optimize.
      opt_state: the optimizer's state.
      step: the number of updates so far, int32.
      tx: the optax transformation.

    >>> import jax.numpy as jnp, optax
    >>> from linnet.module_core import nnx
    >>> class Scale(nnx.Module):
    ...     def __init__(self):
    ...         self.factor = nnx.Param(jnp.float32(2))
    ...     def __call__(self, x):
    ...         return self.factor * x
    >>> graphdef, params = nnx.split(Scale())
    >>> train = TrainState.create(graphdef, params=params, tx=optax.sgd(0.5))
    >>> train = train.apply_gradients(params)
    >>> y, _ = train.apply("params")(3.0)
    >>> float(y), int(train.step)
    (3.0, 1)
    """

    graphdef: GraphDef[M]
    params: State
    opt_state: Any
    step: jax.Array
    tx: Any = field(pytree_node=False)

    @classmethod
    def create(
        cls: type[TS],
        graphdef: GraphDef[Any],
        *,
        params: State,
        tx: GradientTransformation,
        step: int = 0,
        **kwargs: object,
    ) -> TS:
        """Creates the state at the start of training.

        Args:
          graphdef: the model's structure.
          params: the state to optimize.
          tx: an optax transformation.
          step: the initial step count.
          **kwargs: additional fields of a subclass.
        """
        return cls(
            graphdef=graphdef,
            params=params,
            opt_state=tx.init(params),
            step=jnp.asarray(step),
            tx=tx,
            **kwargs,
        )

    def apply(self, state: State | str, *states: State | str) -> Caller:
        """Calls the model: `train_state.apply("params", "batch_stats")(x)`.

        Args:
          state: a state, or the name of a field that holds one.
          *states: additional states; together they must cover the whole model.

        Returns:
          A caller; see `nnx.call`.

        Raises:
          ArgumentTypeError: an argument or field isn't a state.
        """
        found: list[State] = []
        for one in (state, *states):
            value = getattr(self, one) if isinstance(one, str) else one
            if not isinstance(value, State):
                what = f"{type(self).__name__}.{one}" if isinstance(one, str) else "an argument"
                raise ArgumentTypeError(
                    f"Expected {what} to be a State, got {type(value).__name__}."
                )
            found.append(value)
        return call((self.graphdef, merge_state(*found)))

    def apply_gradients(self: TS, grads: State, **kwargs: object) -> TS:
        """Applies one update and returns the new state.

        Args:
          grads: gradients of `params`, with the same structure.
          **kwargs: other fields to replace, such as `batch_stats`.

        Raises:
          ArgumentError: `grads` are not a state like `params`, or have shapes that would change
            those of the parameters.
        """
        where = f"{type(self).__name__}.apply_gradients"
        try:
            updates, opt_state = self.tx.update(grads, self.opt_state, self.params)
        except (TypeError, ValueError, LookupError, AttributeError) as error:
            explain(error, where, self.params, grads)
        params = updated(where, _added, self.params, updates, grads)
        return self.replace(params=params, opt_state=opt_state, step=self.step + 1, **kwargs)


def _added(param: Any, update: Any) -> Any:
    if param is None:
        return None
    return jnp.asarray(param + update).astype(jnp.asarray(param).dtype)
