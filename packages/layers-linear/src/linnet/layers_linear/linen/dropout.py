"""`Dropout` as a module, which provides the random key and can be turned off."""

from __future__ import annotations

from collections.abc import Sequence

from linnet.layers_linear import functional
from linnet.module_core.layers import Array
from linnet.module_core.linen import Module, compact, merge_param


class Dropout(Module):
    """Drops values at random while training; see `functional.dropout` for the equation.

    Pass `rngs={"dropout": key}` to `apply`. Neither `init` with `deterministic=True` nor a rate of
    0 or 1 needs a key.

    Args:
      rate: the probability that a value is dropped, within [0, 1].
      broadcast_dims: dimensions along which all values share one random decision.
      deterministic: returns the inputs unchanged; given either here or in the call.
      rng_collection: the stream that the key is drawn from.

    >>> import jax, jax.numpy as jnp
    >>> layer = Dropout(rate=0.5, deterministic=False)
    >>> y = layer.apply({}, jnp.ones(100), rngs={"dropout": jax.random.key(0)})
    >>> sorted({float(v) for v in y})
    [0.0, 2.0]
    """

    rate: float
    broadcast_dims: Sequence[int] = ()
    deterministic: bool | None = None
    rng_collection: str = "dropout"

    @compact
    def __call__(
        self, inputs: Array, deterministic: bool | None = None, rng: Array | None = None
    ) -> Array:
        """Applies a random mask.

        Args:
          inputs: any shape, floating or complex.
          deterministic: returns the inputs unchanged if True; required if the constructor wasn't
            given it.
          rng: the key to use; None draws one from `rng_collection`.

        Returns:
          An array like the inputs, with the same expected value.
        """
        deterministic = merge_param("deterministic", self.deterministic, deterministic)
        rate = functional.check_rate(self.rate)
        if deterministic or rate == 0.0:
            return inputs
        if rng is None and rate < 1.0:
            rng = self.make_rng(self.rng_collection)
        return functional.dropout(inputs, rng, rate, broadcast_dims=self.broadcast_dims)
