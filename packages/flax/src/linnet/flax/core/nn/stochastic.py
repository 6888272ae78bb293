"""Dropout, as a function of a scope."""

import jax

from linnet import linen
from linnet.module_core.linen import Scope


def dropout(
    scope: Scope,
    inputs: jax.Array,
    rate: float,
    deterministic: bool = False,
    rng: jax.Array | None = None,
) -> jax.Array:
    """Sets a part of the inputs to zero, and scales the rest; see `linnet.linen.Dropout`.

    Args:
      scope: gives a key of the stream "dropout".
      inputs: any shape.
      rate: the probability that an input is dropped.
      deterministic: returns the inputs unchanged.
      rng: a key to use instead of the scope's.

    Raises:
      InvalidRngError: no key was given.
    """
    return linen.Dropout(rate, deterministic=deterministic, parent=scope)(inputs, rng=rng)
