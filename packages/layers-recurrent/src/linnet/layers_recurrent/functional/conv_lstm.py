"""The convolutional LSTM (Shi et al. 2015, arXiv:1506.04214).

    i, g, f, o = ih(x) + hh(h)       two convolutions, split along the features
    f = σ(f + 1)                     forgets little at first (Jozefowicz et al. 2015)
    c' = f · c + σ(i) · tanh(g)      memory
    h' = σ(o) · tanh(c')             hidden state, and output

B batch, D input features, H hidden features, p position with as many dimensions as the kernel.
"""

from __future__ import annotations

from typing import Generic, NamedTuple

import jax.numpy as jnp
from jax.nn import sigmoid

from linnet.module_core.errors import ShapeError
from linnet.module_core.layers import Array

from .affine import M
from .lstm import LSTMCarry


class ConvLSTMMaps(NamedTuple, Generic[M]):
    """The maps of a convolutional LSTM: any callables that keep the spatial dimensions.

    Attributes:
      ih: map of the input, [..., D] to [..., 4H].
      hh: map of the hidden state, [..., H] to [..., 4H].
    """

    ih: M
    hh: M


def conv_lstm(maps: ConvLSTMMaps[M], carry: LSTMCarry, x: Array) -> tuple[LSTMCarry, Array]:
    """One step of the convolutional LSTM.

    Args:
      maps: the convolutions.
      carry: (c, h), [*batch, *spatial, H] each.
      x: [*batch, *spatial, D].

    Returns:
      ((c', h'), h'), [*batch, *spatial, H] each.

    Raises:
      ShapeError: the convolutions don't keep the spatial dimensions.

    >>> import jax.numpy as jnp
    >>> from functools import partial
    >>> from linnet.layers_linear.functional import conv
    >>> maps = ConvLSTMMaps(
    ...     ih=partial(conv, kernel=jnp.ones((2, 2, 3, 16))),
    ...     hh=partial(conv, kernel=jnp.ones((2, 2, 4, 16))))
    >>> state = jnp.zeros((7, 5, 5, 4))
    >>> carry, y = conv_lstm(maps, (state, state), jnp.ones((7, 5, 5, 3)))
    >>> y.shape
    (7, 5, 5, 4)
    """
    c, h = carry
    from_input, from_hidden = maps.ih(x), maps.hh(h)  # [*batch, *spatial, 4H]
    expected = (*c.shape[:-1], 4 * c.shape[-1])
    for name, came in (("ih", from_input), ("hh", from_hidden)):
        if came.shape != expected:
            raise ShapeError(
                f"the convolution '{name}' returns shape {came.shape}, expected {expected} for a "
                f"carry of shape {c.shape}.",
                hint=(
                    "It must keep the spatial dimensions (strides of 1, padding 'SAME'), and "
                    "the inputs and the carry must have the same batch."
                ),
            )
    i, g, f, o = jnp.split(from_input + from_hidden, 4, axis=-1)  # [*batch, *spatial, H] each
    f = sigmoid(f + 1)
    c = f * c + sigmoid(i) * jnp.tanh(g)
    h = sigmoid(o) * jnp.tanh(c)
    return (c, h), h
