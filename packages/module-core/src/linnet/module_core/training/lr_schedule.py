"""Learning-rate schedules with a linear warm-up. New programs should use those of optax.

Each function returns a function of the step; periods are given in epochs. The warm-up multiplies
the rate by `step / (warmup_length * steps_per_epoch)` until this factor is 1.

>>> schedule = create_cosine_learning_rate_schedule(0.1, steps_per_epoch=10, halfcos_epochs=5)
>>> [round(float(schedule(step)), 4) for step in (0, 25, 50)]
[0.1, 0.05, 0.0]
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

Step: TypeAlias = int | float | jax.Array

Schedule = Callable[[Step], float | jax.Array]
"""A function of the step that returns the learning rate."""

__all__ = [
    "create_constant_learning_rate_schedule",
    "create_cosine_learning_rate_schedule",
    "create_stepped_learning_rate_schedule",
]


def create_constant_learning_rate_schedule(
    base_learning_rate: float, steps_per_epoch: int, warmup_length: float = 0.0
) -> Schedule:
    """The same rate at every step, after the warm-up.

    Args:
      base_learning_rate: the rate.
      steps_per_epoch: the number of steps per epoch.
      warmup_length: the length of the warm-up in epochs.
    """
    return _warmed_up(lambda step: base_learning_rate, steps_per_epoch, warmup_length)


def create_stepped_learning_rate_schedule(
    base_learning_rate: float,
    steps_per_epoch: int,
    lr_sched_steps: Sequence[Sequence[float]],
    warmup_length: float = 0.0,
) -> Schedule:
    """A rate that changes after given epochs.

    Args:
      base_learning_rate: the rate before the first change.
      steps_per_epoch: the number of steps per epoch.
      lr_sched_steps: pairs of an epoch and the factor by which the base rate is multiplied after
        it, in the order of the epochs.
      warmup_length: the length of the warm-up in epochs.
    """
    boundaries = np.array([epoch for epoch, _ in lr_sched_steps]) * steps_per_epoch
    boundaries = np.round(boundaries).astype(int)
    factors = np.array([1.0, *(factor for _, factor in lr_sched_steps)])
    values = factors * base_learning_rate

    def rate(step: Step) -> jax.Array:
        return jnp.take(jnp.asarray(values), jnp.sum(step > boundaries))

    return _warmed_up(rate, steps_per_epoch, warmup_length)


def create_cosine_learning_rate_schedule(
    base_learning_rate: float,
    steps_per_epoch: int,
    halfcos_epochs: float,
    warmup_length: float = 0.0,
) -> Schedule:
    """A rate that falls to 0 over half a period of a cosine.

    Args:
      base_learning_rate: the rate at step 0, without a warm-up.
      steps_per_epoch: the number of steps per epoch.
      halfcos_epochs: the number of epochs until the rate is 0.
      warmup_length: the length of the warm-up in epochs.
    """
    half_period = halfcos_epochs * steps_per_epoch

    def rate(step: Step) -> jax.Array:
        return base_learning_rate * (jnp.cos(step * jnp.pi / half_period) * 0.5 + 0.5)

    return _warmed_up(rate, steps_per_epoch, warmup_length)


def _warmed_up(rate: Schedule, steps_per_epoch: int, warmup_length: float) -> Schedule:
    def schedule(step: Step) -> float | jax.Array:
        found = rate(step)
        if warmup_length > 0.0:
            found = found * jnp.minimum(1.0, step / float(warmup_length) / steps_per_epoch)
        return found

    return schedule
