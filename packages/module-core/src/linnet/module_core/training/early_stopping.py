"""`EarlyStopping`: stops training when a metric no longer falls."""

from __future__ import annotations

import math
from typing import TypeVar

import jax

from linnet.struct import PyTreeNode

ES = TypeVar("ES", bound="EarlyStopping")

__all__ = ["EarlyStopping"]


class EarlyStopping(PyTreeNode):
    """Counts how often in a row a metric, such as the validation loss, did not improve.

    Attributes:
      min_delta: how much lower than the best a metric must be to count as an improvement.
      patience: how many metrics in a row may fail to improve.
      best_metric: the metric at the last improvement.
      patience_count: how many metrics in a row have failed since.
      should_stop: whether these are more than `patience`.
      has_improved: whether the last metric was an improvement.

    >>> stopping = EarlyStopping(min_delta=0.1, patience=1)
    >>> for loss in [1.0, 0.5, 0.45, 0.5]:
    ...     stopping = stopping.update(loss)
    ...     print(stopping.has_improved, stopping.should_stop)
    True False
    True False
    False False
    False True
    """

    min_delta: float = 0
    patience: int = 0
    best_metric: float = float("inf")
    patience_count: int = 0
    should_stop: bool = False
    has_improved: bool = False

    def reset(self: ES) -> ES:
        """The state before the first metric."""
        return self.replace(
            best_metric=float("inf"), patience_count=0, should_stop=False, has_improved=False
        )

    def update(self: ES, metric: float | jax.Array) -> ES:
        """The state after one more metric. The first is an improvement; NaN later on is not.

        Args:
          metric: a number or an array with one element; lower is better.
        """
        first = math.isinf(self.best_metric)
        if first or self.best_metric - metric > self.min_delta:
            return self.replace(best_metric=metric, patience_count=0, has_improved=True)
        should_stop = self.patience_count >= self.patience or self.should_stop
        return self.replace(
            patience_count=self.patience_count + 1, should_stop=should_stop, has_improved=False
        )
