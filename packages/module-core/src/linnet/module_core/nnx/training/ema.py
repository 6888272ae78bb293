"""`EMA`: the exponential moving average of a model's variables.

    ema ← decay · ema + (1 - decay) · new

(Iterate averaging: Polyak & Juditsky 1992; Ruppert 1988.) Each average has the dtype of its
variable. Integers and random keys, which have no average, are copied. The average shares no arrays
with the model, so that both may be donated to a jitted step.
"""

from __future__ import annotations

from typing import Any, TypeVar

import jax
import jax.numpy as jnp

from ...accepted import accepted
from ...arrays import copied
from ...errors import ArgumentError, counted
from ...typing import PyTree
from ..filters import Filter
from ..nodes.marks import static
from ..nodes.pytree import Pytree
from ..structure.graph import flat_leaves, merge, state
from ..structure.states import map_state, path_text, to_flat_state
from ..variable.layout import laid_out
from ..variable.variable import Variable, set_raw_value

A = TypeVar("A")


class EMA(Pytree):
    """Keeps the exponential moving average of variables.

    Args:
      params: a model or state; the averages start from its values.
      decay: the weight of the previous average at each update, from 0 to 1.
      only: which variables to average.
      graph: accepted for Flax programs.

    Attributes:
      params: the state of the averages.

    >>> import jax.numpy as jnp
    >>> from linnet.module_core import nnx
    >>> model = nnx.Dict(w=nnx.Param(jnp.zeros(2)))
    >>> ema = nnx.EMA(model, decay=0.75)
    >>> model.w[...] = jnp.full(2, 4.0)
    >>> ema.update(model)
    >>> ema.apply_to(model).w.tolist(), model.w.tolist()
    ([1.0, 1.0], [4.0, 4.0])
    """

    def __init__(
        self, params: object, decay: float, *, only: Filter = ..., graph: bool | None = None
    ) -> None:
        accepted(graph=graph)
        if not isinstance(decay, jax.Array) and not 0 <= decay <= 1:
            raise ArgumentError(f"decay must be between 0 and 1, got {decay}.")
        self.decay = decay
        self.filter = static(only)
        self.params = map_state(_copied, state(params, only))

    def update(self, updates: PyTree) -> None:
        """Updates the averages with new values of the variables.

        Args:
          updates: a model, a state, or a state of bare values; other variables are ignored.

        Raises:
          ArgumentError: the value of an averaged variable is missing.
        """
        new = dict(to_flat_state(state(updates) if isinstance(updates, Pytree) else updates))
        flat = to_flat_state(self.params)
        missing = [path_text(p) for p in flat.paths if p not in new]
        if missing:
            raise ArgumentError(
                f"{len(missing)} of {counted(len(flat), 'averaged variable')}"
                f" {'has' if len(missing) == 1 else 'have'} no value here:"
                f" {', '.join(missing[:8])}.",
                hint="Update with the model that the average was made from.",
            )
        for path, average in flat:
            value = new[path].raw_value if isinstance(new[path], Variable) else new[path]
            average.set_raw_value(jax.tree.map(self._averaged, average.raw_value, value))

    def _averaged(self, average: jax.Array, value: jax.Array) -> jax.Array:
        if not jnp.issubdtype(jnp.asarray(average).dtype, jnp.inexact):
            return copied(value)
        return (self.decay * average + (1 - self.decay) * value).astype(average.dtype)

    def apply_to(self, model: A) -> A:
        """Returns a copy of a model whose variables hold copies of the averages.

        Variables that are not averaged are shared with the model.
        """
        averages = dict(to_flat_state(self.params))
        graphdef, leaves = flat_leaves(model)
        made: A = merge(
            graphdef,
            [
                _copied(p, averages[p]) if p in averages else x
                for p, x in zip(graphdef.paths, leaves, strict=True)
            ],
        )
        return made


def _copied(_: object, leaf: object) -> Variable[Any]:
    if not isinstance(leaf, Variable):
        return Variable(copied(leaf))
    new = leaf.copy(copied(leaf.raw_value))
    set_raw_value(new, laid_out(new, new.raw_value))
    return new
