"""Dropout of attention weights: whether to apply it, and with which key."""

from __future__ import annotations

from typing import Any, NamedTuple

from linnet.module_core.errors import InvalidRngError
from linnet.module_core.layers import Array, check_rate


class WeightDropout(NamedTuple):
    """Dropout of attention weights.

    Attributes:
      key: the random key.
      rate: the probability that a weight is dropped, within (0, 1].
      broadcast: whether all batch entries and heads drop the same weights.
    """

    key: Array
    rate: float
    broadcast: bool

    @property
    def keep(self) -> float:
        """The probability that a weight is kept."""
        return 1.0 - self.rate


def weight_dropout(
    key: Any, rate: object, broadcast: bool, deterministic: bool | None
) -> WeightDropout | None:
    """The dropout to apply, or None.

    Raises:
      ArgumentError: the rate is outside [0, 1].
      InvalidRngError: a key is needed and `key` is not one.
    """
    rate = check_rate(rate, "dropout_rate")
    if deterministic or rate == 0.0:
        return None
    if not hasattr(key, "dtype"):
        raise InvalidRngError(
            f"Dropping attention weights with dropout_rate={rate} needs a random key, got "
            f"dropout_rng={key!r}.",
            hint=(
                "Pass one, e.g. `jax.random.key(0)`, and a new one at each step, or pass "
                "deterministic=True to drop nothing."
            ),
        )
    return WeightDropout(key, rate, broadcast)
