"""Metrics, which accumulate numbers over batches in variables.

A metric has `reset`, `update` and `compute`. It accumulates in `MetricState` variables, so it
passes through `nnx.jit` like a model, and only these variables come back.

Shapes: N is a batch of any shape, C the number of classes.
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
    """Base class of metrics; a subclass defines `__init__`, `reset`, `update` and `compute`."""

    def reset(self) -> None:
        """Resets the metric to its initial state."""
        raise NotImplementedError(f"{type(self).__name__} doesn't define reset().")

    def update(self, **kwargs: Any) -> None:
        """Adds a batch."""
        raise NotImplementedError(f"{type(self).__name__} doesn't define update().")

    def compute(self) -> Any:
        """The metric over all batches since the last reset."""
        raise NotImplementedError(f"{type(self).__name__} doesn't define compute().")

    def split(self, *filters: Filter) -> tuple[Any, ...]:
        """Splits the metric into structure and states; see `nnx.split`."""
        return split(self, *filters)


class Average(Metric):
    """The mean of values.

    Args:
      argname: the keyword argument of `update` that holds the values.

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
        """Resets the metric to its initial state."""
        _set_to_zero(self.total, self.count)

    def update(self, mask: Array | None = None, **kwargs: object) -> None:
        """Adds values.

        Args:
          mask: selects the values that count; broadcast to their shape.
          **kwargs: contains the values, `[N]` or a number; other keywords are ignored.

        Raises:
          ArgumentTypeError: the keyword argument for the values is missing.
          ShapeError: the mask can't be broadcast to the values.
        """
        self._add(_argument(kwargs, self.argname), mask)

    def _add(self, values: object, mask: object) -> None:
        total, count, _ = _summed(values, mask)
        self.total.value = self.total.value + total
        self.count.value = self.count.value + count

    def compute(self) -> Array:
        """The mean, float32; NaN without values."""
        return self.total.value / self.count.value.astype(jnp.float32)


class Accuracy(Average):
    """The fraction of correct predictions.

    Args:
      threshold: None predicts the class of the largest logit; otherwise logits of at least
        `threshold` predict 1, and others 0.
      *args: passed to `Average`.
      **kwargs: passed to `Average`.

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
                f"threshold must be a float or None, got {describe(threshold)}.",
                hint="Write nnx.metrics.Accuracy(threshold=0.5).",
            )
        self.threshold = threshold

    def update(  # type: ignore[override]
        self, *, logits: Array, labels: Array, mask: Array | None = None, **_: object
    ) -> None:
        """Adds predictions.

        Args:
          logits: [N, C], or [N] with a threshold.
          labels: [N], integers.
          mask: selects the predictions that count; broadcast to [N].

        Raises:
          ShapeError: the shapes don't match.
          ArgumentTypeError: the labels aren't integers.
        """
        logits, labels = jnp.asarray(logits), jnp.asarray(labels)
        threshold = self.threshold
        binary = threshold is not None
        wanted = logits.shape if binary else logits.shape[:-1]
        if labels.shape != wanted or (not binary and logits.ndim == 0):
            raise ShapeError(
                f"Logits of shape {logits.shape} {'with' if binary else 'without'} a threshold "
                f"need labels of shape {wanted}, got {labels.shape}.",
                hint=None
                if binary
                else "Two classes, one logit each: pass threshold=0.5."
                if labels.shape == logits.shape and logits.ndim == 1
                else "Convert one-hot labels to class indices with labels.argmax(-1)."
                if labels.shape == logits.shape
                else "Write labels.squeeze(-1)."
                if labels.shape == (*wanted, 1)
                else None,
            )
        if not (jnp.issubdtype(labels.dtype, jnp.integer) or labels.dtype == jnp.bool_):
            raise ArgumentTypeError(
                f"Labels must be integers, got dtype {labels.dtype}.",
                hint="Write labels.astype(int).",
            )
        found = jnp.argmax(logits, -1) if threshold is None else logits >= threshold  # [N]
        self._add(found.astype(labels.dtype) == labels, mask)


@dataclass
class Statistics:
    """The statistics that `Welford` computes, each float32.

    Attributes:
      mean: mean of the values.
      standard_error_of_mean: the standard deviation divided by the square root of the count.
      standard_deviation: population standard deviation; its variance divides by the count.
    """

    mean: Array
    standard_error_of_mean: Array
    standard_deviation: Array


class Welford(Metric):
    """The mean and standard deviation of values, in one pass.

    The statistics of two batches a and b are combined by (Chan, Golub & LeVeque 1979)

        δ = mean_b - mean_a,   mean = mean_a + δ n_b / n,   m2 = m2_a + m2_b + δ² n_a n_b / n,

    where m2 is the sum of squared distances from the mean.

    Args:
      argname: the keyword argument of `update` that holds the values.

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
        """Resets the metric to its initial state."""
        _set_to_zero(self.count, self.mean, self.m2)

    def update(self, mask: Array | None = None, **kwargs: object) -> None:
        """Adds values.

        Args:
          mask: selects the values that count; broadcast to their shape.
          **kwargs: contains the values, [N] or a number; other keywords are ignored.

        Raises:
          ArgumentTypeError: the keyword argument for the values is missing.
          ShapeError: the mask can't be broadcast to the values.
        """
        total, count, (values, weights) = _summed(_argument(kwargs, self.argname), mask)
        n_a, n_b = self.count.value.astype(jnp.float32), count.astype(jnp.float32)
        n = jnp.maximum(n_a + n_b, 1)  # avoids 0 / 0 = NaN without values
        mean_b = total / jnp.maximum(n_b, 1)
        delta = jnp.where(n_b > 0, mean_b - self.mean.value, 0)
        distances = jnp.where(weights, values - mean_b, 0)
        self.m2.value = (
            self.m2.value + jnp.sum(distances * distances) + delta * delta * (n_a * n_b / n)
        )
        self.mean.value = self.mean.value + delta * (n_b / n)
        self.count.value = self.count.value + count

    def compute(self) -> Statistics:
        """Mean, standard error and standard deviation; the latter two are NaN without values."""
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
      **metrics: metrics by name. Each is also an attribute.

    Raises:
      ArgumentTypeError: a value is not a metric.
      ArgumentError: a name is the name of a method.

    >>> import jax.numpy as jnp
    >>> from linnet.module_core import nnx
    >>> metrics = nnx.MultiMetric(right=nnx.metrics.Accuracy(), cost=nnx.metrics.Average("cost"))
    >>> metrics.update(logits=jnp.eye(2), labels=jnp.array([0, 0]), cost=0.25)
    >>> {name: float(x) for name, x in metrics.compute().items()}
    {'right': 0.5, 'cost': 0.25}
    """

    def __init__(self, **metrics: object) -> None:
        for name, metric in metrics.items():
            if hasattr(MultiMetric, name):
                raise ArgumentError(
                    f"A metric can't be named {name!r}, which is a method of MultiMetric."
                )
            if not all(callable(getattr(metric, m, None)) for m in ("reset", "update", "compute")):
                raise ArgumentTypeError(
                    f"{name!r} is {describe(metric)}, not a metric.",
                    hint=(
                        "Pass an instance with reset, update and compute, such as "
                        "nnx.metrics.Average()."
                    ),
                )
            setattr(self, name, metric)
        # Keeps the order of declaration: transforms return attributes sorted by name.
        self._names = tuple(metrics)

    def __setstate__(self, state: dict[str, Any]) -> None:
        if "_metric_names" in state:  # a pickle that Flax wrote
            state = {"_names" if k == "_metric_names" else k: v for k, v in state.items()}
        super().__setstate__(state)

    def reset(self) -> None:
        """Resets all metrics."""
        for name in self._names:
            getattr(self, name).reset()

    def update(self, *, mask: object = None, **updates: Any) -> None:
        """Updates all metrics.

        Args:
          mask: a mask for all metrics, or a dict of masks by metric name.
          **updates: passed to every metric, which uses the arguments that it needs.

        Raises:
          ArgumentError: the dict has a mask for a metric that doesn't exist.
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
        """The results by name, in the order of declaration."""
        return {name: getattr(self, name).compute() for name in self._names}


def _argument(kwargs: dict[str, Any], name: str) -> object:
    if name not in kwargs:
        raise ArgumentTypeError(
            f"Expected keyword argument {name!r}, got {', '.join(map(repr, kwargs)) or 'none'}.",
            hint=f"Call update({name}=...), or give the metric a different argname.",
        )
    return kwargs[name]


def _summed(values: object, mask: Any) -> tuple[Array, Array, tuple[Array, Array | bool]]:
    """The sum and number of the values that count, and the values with the mask.

    Sums in float32: a sum of bfloat16 losses would keep only about three significant digits.
    """
    values = jnp.asarray(values).astype(jnp.float32)
    if mask is None:
        return jnp.sum(values), jnp.int32(values.size), (values, True)
    try:
        mask = jnp.broadcast_to(jnp.asarray(mask).astype(bool), values.shape)
    except ValueError:
        raise ShapeError(
            f"A mask must broadcast to the values, of shape {values.shape}; got shape "
            f"{jnp.shape(mask)}."
        ) from None
    return jnp.sum(jnp.where(mask, values, 0)), jnp.sum(mask, dtype=jnp.int32), (values, mask)


def _set_to_zero(*variables: MetricState[Array]) -> None:
    for variable in variables:
        variable.value = jnp.zeros_like(variable.value)
