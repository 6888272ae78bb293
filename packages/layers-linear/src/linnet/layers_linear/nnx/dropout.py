"""`Dropout` as a module, which provides the random key and can be turned off."""

from __future__ import annotations

from collections.abc import Sequence

import jax

from linnet.layers_linear import functional
from linnet.module_core.errors import ArgumentError, ArgumentTypeError, describe
from linnet.module_core.layers import Array, integers
from linnet.module_core.layers.nnx import Layer
from linnet.module_core.nnx import Rngs, RngStream, first_from


class Dropout(Layer):
    """Drops values at random while training; see `functional.dropout` for the equation.

    `model.train()` and `model.eval()` turn dropout on and off in a whole model.

    Args:
      rate: the probability that a value is dropped, within [0, 1].
      broadcast_dims: dimensions along which all values share one random decision.
      deterministic: returns the inputs unchanged; None if each call specifies it.
      rng_collection: the stream that keys are drawn from.
      rngs: streams from which the constructor draws one key for the layer's own stream. None if
        each call passes streams.

    Attributes:
      rngs: the layer's own `RngStream`, or None.

    >>> import jax.numpy as jnp
    >>> from linnet.module_core.nnx import Rngs
    >>> layer = Dropout(0.5, rngs=Rngs(dropout=0))
    >>> sorted({float(v) for v in layer(jnp.ones(100))})
    [0.0, 2.0]
    >>> layer.eval()
    >>> layer(jnp.ones(3))
    Array([1., 1., 1.], dtype=float32)
    """

    def __init__(
        self,
        rate: float,
        *,
        broadcast_dims: Sequence[int] = (),
        deterministic: bool | None = False,
        rng_collection: str = "dropout",
        rngs: Rngs | RngStream | None = None,
    ) -> None:
        functional.check_rate(rate)
        self.rate = rate
        self.broadcast_dims = integers(broadcast_dims, "broadcast_dims", least=None)
        self.deterministic = deterministic
        self.rng_collection = rng_collection
        self.rngs = None if rngs is None else self._stream(rngs).fork()

    def __call__(
        self,
        inputs: Array,
        *,
        deterministic: bool | None = None,
        rngs: Rngs | RngStream | Array | None = None,
    ) -> Array:
        """Applies a random mask.

        Args:
          inputs: any shape, floating or complex.
          deterministic: returns the inputs unchanged if True; takes precedence over the attribute.
          rngs: streams, a stream or a key; takes precedence over the layer's own stream.

        Returns:
          An array like the inputs, with the same expected value.

        Raises:
          ArgumentError: dropout is on but no stream is available, or neither layer nor call
            specifies whether to drop.
        """
        deterministic = first_from(
            deterministic,
            self.deterministic,
            error_msg=(
                "`deterministic` is None in both the layer and its call. Make the layer "
                "with deterministic=False, call `model.train()`, or pass `deterministic` to the "
                "call."
            ),
        )
        rate = functional.check_rate(self.rate)
        if deterministic or rate == 0.0:
            return inputs
        key = None if rate == 1.0 else self._key(rngs)
        return functional.dropout(inputs, key, rate, broadcast_dims=self.broadcast_dims)

    def set_view(self, deterministic: bool | None = None) -> None:
        """Sets the given attribute; `nnx.view` calls this method on the copy that it makes.

        Args:
          deterministic: see the constructor; None keeps the attribute.
        """
        if deterministic is not None:
            self.deterministic = deterministic

    def _key(self, rngs: object) -> Array:
        if rngs is None:
            rngs = self.rngs
        if rngs is None:
            raise ArgumentError(
                "`deterministic` is False, but neither the layer nor its call has `rngs`.",
                hint=(
                    f"Make it as Dropout({self.rate}, rngs=nnx.Rngs(0)), pass rngs to the call, "
                    "or turn dropout off with `model.eval()`."
                ),
            )
        if isinstance(rngs, jax.Array):
            return rngs
        key: Array = self._stream(rngs)()
        return key

    def _stream(self, rngs: object) -> RngStream:
        if isinstance(rngs, Rngs):
            return rngs[self.rng_collection]
        if isinstance(rngs, RngStream):
            return rngs
        raise ArgumentTypeError(
            f"rngs must be nnx.Rngs or an nnx.RngStream, got {describe(rngs)}.",
            hint="Write rngs=nnx.Rngs(0). Calls accept a bare key; the constructor does not.",
        )
