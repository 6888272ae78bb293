"""Metrics: numbers accumulated over batches in variables, and computed at the end.

A metric has `reset`, `update` and `compute`. What it adds up are `MetricState` variables, so it
goes through `nnx.jit` like a model does, and only they come back.

Shapes: N any shape of a batch, C classes.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from linnet.struct import dataclass

from ...errors import ArgumentError, ArgumentTypeError, ShapeError, describe, did_you_mean
from ..filters import Filter
from ..nodes.pytree import Pytree
from ..structure.graph import split
from ..variable.variable_types import MetricState

Array = jax.Array


class Metric(Pytree):
    """Base of metrics: a subclass defines `__init__`, `reset`, `update` and `compute`."""

    def reset(self) -> None:
        """Forgets what was added."""
        raise NotImplementedError(f"{type(self).__name__} doesn't define reset().")

    def update(self, **kwargs: Any) -> None:
        """Adds a batch."""
        raise NotImplementedError(f"{type(self).__name__} doesn't define update().")

    def compute(self) -> Any:
        """The metric of all batches since the last reset."""
        raise NotImplementedError(f"{type(self).__name__} doesn't define compute().")

    def split(self, *filters: Filter) -> Any:
        """Takes the metric apart; see `nnx.split`."""
        return split(self, *filters)


class Average(Metric):
    """The mean of values.

    Args:
      argname: the keyword under which `update` gets the values.

    >>> import jax.numpy as jnp
    >>> metric = Average()
    >>> metric.update(values=jnp.array([1.0, 2.0]))
    >>> metric.update(values=6.0)
    >>> float(metric.compute())
    3.0
    """

    def __init__(self, argname: str = "values") -> None:
        self.argname = argname
        self.total = MetricState(jnp.zeros((), jnp.float32))
        self.count = MetricState(jnp.zeros((), jnp.int32))

    def reset(self) -> None:
        """Forgets what was added."""
        _set_to_zero(self.total, self.count)

    def update(self, mask: Array | None = None, **kwargs: Any) -> None:
        """Adds values.

        Args:
          mask: which of them count; broadcast to the values.
          **kwargs: among them the values, `[N]` or a number.

        Raises:
          ArgumentTypeError: the values' keyword isn't among them.
          ShapeError: the mask doesn't fit the values.
        """
        self._add(_argument(kwargs, self.argname), mask)

    def _add(self, values: object, mask: object) -> None:
        total, count, _ = _summed(values, mask)
        self.total.value = self.total.value + total
        self.count.value = self.count.value + count

    def compute(self) -> Array:
        """The mean, float32; NaN of nothing."""
        return self.total.value / self.count.value.astype(jnp.float32)


class Accuracy(Average):
    """How many predictions are right.

    Args:
      threshold: None takes the class of the largest logit; otherwise logits from `threshold` on
        mean 1, and others 0.
      *args: of `Average`.
      **kwargs: of `Average`.

    Raises:
      ArgumentTypeError: the threshold isn't a float.

    >>> import jax.numpy as jnp
    >>> metric = Accuracy()
    >>> metric.update(logits=jnp.array([[0.0, 1.0], [3.0, 2.0]]), labels=jnp.array([1, 1]))
    >>> float(metric.compute())
    0.5
    """

    def __init__(self, threshold: float | None = None, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if threshold is not None and not isinstance(threshold, float):
            raise ArgumentTypeError(
                f"threshold is a float or None, got {describe(threshold)}.",
                hint="Write nnx.metrics.Accuracy(threshold=0.5).",
            )
        self.threshold = threshold

    def update(  # type: ignore[override]
        self, *, logits: Array, labels: Array, mask: Array | None = None, **_: Any
    ) -> None:
        """Adds predictions.

        Args:
          logits: [N, C]; with a threshold [N].
          labels: [N], whole numbers.
          mask: which of them count; broadcast to [N].

        Raises:
          ShapeError: the shapes don't fit.
          ArgumentTypeError: the labels aren't whole numbers.
        """
        logits, labels = jnp.asarray(logits), jnp.asarray(labels)
        threshold = self.threshold
        binary = threshold is not None
        wanted = logits.shape if binary else logits.shape[:-1]
        if labels.shape != wanted or (not binary and logits.ndim == 0):
            raise ShapeError(
                f"Labels of shape {wanted} belong to logits of shape {logits.shape}"
                f" {'with' if binary else 'without'} a threshold, got {labels.shape}.",
                hint=None
                if binary
                else "Two classes, one logit each: pass threshold=0.5."
                if labels.shape == logits.shape and logits.ndim == 1
                else "One-hot labels become numbers of classes by labels.argmax(-1)."
                if labels.shape == logits.shape
                else "Write labels.squeeze(-1)."
                if labels.shape == (*wanted, 1)
                else None,
            )
        if not (jnp.issubdtype(labels.dtype, jnp.integer) or labels.dtype == jnp.bool_):
            raise ArgumentTypeError(
                f"Labels are whole numbers, got dtype {labels.dtype}.",
                hint="Write labels.astype(int).",
            )
        found = jnp.argmax(logits, -1) if threshold is None else logits >= threshold  # [N]
        self._add(found.astype(labels.dtype) == labels, mask)


@dataclass
class Statistics:
    """What `Welford` computes, each float32.

    Attributes:
      mean: of the values.
      standard_error_of_mean: the deviation over the square root of their number.
      standard_deviation: of the values, divided by their number.
    """

    mean: Array
    standard_error_of_mean: Array
    standard_deviation: Array


class Welford(Metric):
    """Mean and deviation of values, without keeping them.

    Two batches a and b are joined by (Chan, Golub & LeVeque 1979)

        δ = mean_b - mean_a,   mean = mean_a + δ n_b / n,   m2 = m2_a + m2_b + δ² n_a n_b / n,

    where m2 is the sum of squared distances from the mean.

    Args:
      argname: the keyword under which `update` gets the values.

    >>> import jax.numpy as jnp
    >>> metric = Welford()
    >>> metric.update(values=jnp.array([1.0, 2.0]))
    >>> metric.update(values=jnp.array([3.0, 6.0]))
    >>> found = metric.compute()
    >>> float(found.mean), round(float(found.standard_deviation), 3)
    (3.0, 1.871)
    """

    def __init__(self, argname: str = "values") -> None:
        self.argname = argname
        self.count = MetricState(jnp.zeros((), jnp.int32))
        self.mean = MetricState(jnp.zeros((), jnp.float32))
        self.m2 = MetricState(jnp.zeros((), jnp.float32))

    def reset(self) -> None:
        """Forgets what was added."""
        _set_to_zero(self.count, self.mean, self.m2)

    def update(self, mask: Array | None = None, **kwargs: Any) -> None:
        """Adds values.

        Args:
          mask: which of them count; broadcast to the values.
          **kwargs: among them the values, [N] or a number.

        Raises:
          ArgumentTypeError: the values' keyword isn't among them.
          ShapeError: the mask doesn't fit the values.
        """
        total, count, (values, weights) = _summed(_argument(kwargs, self.argname), mask)
        n_a, n_b = self.count.value.astype(jnp.float32), count.astype(jnp.float32)
        n = jnp.maximum(n_a + n_b, 1)  # without examples nothing changes, and 0 / 1 isn't NaN
        mean_b = total / jnp.maximum(n_b, 1)
        delta = jnp.where(n_b > 0, mean_b - self.mean.value, 0)
        distances = jnp.where(weights, values - mean_b, 0)
        self.m2.value = (
            self.m2.value + jnp.sum(distances * distances) + delta * delta * (n_a * n_b / n)
        )
        self.mean.value = self.mean.value + delta * (n_b / n)
        self.count.value = self.count.value + count

    def compute(self) -> Statistics:
        """Mean, error and deviation; of nothing the latter are NaN."""
        n = self.count.value.astype(jnp.float32)
        deviation = jnp.sqrt(self.m2.value / n)
        return Statistics(
            mean=self.mean.value,
            standard_error_of_mean=deviation / jnp.sqrt(n),
            standard_deviation=deviation,
        )


class MultiMetric(Metric):
    """Several metrics under names, updated together.

    Args:
      **metrics: name to metric. Each is an attribute as well.

    Raises:
      ArgumentTypeError: one is not a metric.
      ArgumentError: a name is that of a method.

    >>> import jax.numpy as jnp
    >>> from linnet.module_core import nnx
    >>> metrics = nnx.MultiMetric(right=nnx.metrics.Accuracy(), cost=nnx.metrics.Average("cost"))
    >>> metrics.update(logits=jnp.eye(2), labels=jnp.array([0, 0]), cost=0.25)
    >>> {name: float(x) for name, x in metrics.compute().items()}
    {'right': 0.5, 'cost': 0.25}
    """

    def __init__(self, **metrics: Any) -> None:
        for name, metric in metrics.items():
            if hasattr(MultiMetric, name):
                raise ArgumentError(
                    f"A metric can't be called {name!r}, which is a method of MultiMetric."
                )
            if not all(callable(getattr(metric, m, None)) for m in ("reset", "update", "compute")):
                raise ArgumentTypeError(
                    f"{name!r} is {describe(metric)}, not a metric.",
                    hint="A metric is an instance, nnx.metrics.Average(), with reset, update and"
                    " compute.",
                )
            setattr(self, name, metric)
        # The order of declaration; attributes come out of transforms sorted by name.
        self._names = tuple(metrics)

    def reset(self) -> None:
        """Resets all metrics."""
        for name in self._names:
            getattr(self, name).reset()

    def update(self, *, mask: Any = None, **updates: Any) -> None:
        """Updates all metrics.

        Args:
          mask: for all metrics, or a dict of masks by metric's name.
          **updates: every metric gets all, and takes what it knows.

        Raises:
          ArgumentError: a mask is meant for a metric that isn't there.
        """
        if isinstance(mask, dict):
            for name in mask:
                if name not in self._names:
                    raise ArgumentError(
                        f"There is a mask for {name!r}, but no such metric."
                        f" {did_you_mean(name, self._names)}"
                    )
        for name in self._names:
            mine = mask.get(name) if isinstance(mask, dict) else mask
            masked = {} if mine is None else {"mask": mine}
            getattr(self, name).update(**updates, **masked)

    def compute(self) -> dict[str, Any]:
        """Name to result, in the order of declaration."""
        return {name: getattr(self, name).compute() for name in self._names}


def _argument(kwargs: dict[str, Any], name: str) -> object:
    if name not in kwargs:
        raise ArgumentTypeError(
            f"Expected keyword argument {name!r}, got {', '.join(map(repr, kwargs)) or 'none'}.",
            hint=f"Call update({name}=...), or give the metric another argname.",
        )
    return kwargs[name]


def _summed(values: Any, mask: Any) -> tuple[Array, Array, tuple[Array, Any]]:
    """The sum of the values that count, their number, and values and mask.

    In float32: the sum of a batch of bfloat16 losses has three significant digits left.
    """
    values = jnp.asarray(values).astype(jnp.float32)
    if mask is None:
        return jnp.sum(values), jnp.int32(values.size), (values, True)
    try:
        mask = jnp.broadcast_to(jnp.asarray(mask).astype(bool), values.shape)
    except ValueError:
        raise ShapeError(
            f"A mask is broadcast to the values, of shape {values.shape}; got one of shape"
            f" {jnp.shape(mask)}."
        ) from None
    return jnp.sum(jnp.where(mask, values, 0)), jnp.sum(mask, dtype=jnp.int32), (values, mask)


def _set_to_zero(*variables: MetricState[Array]) -> None:
    for variable in variables:
        variable.value = jnp.zeros_like(variable.value)
