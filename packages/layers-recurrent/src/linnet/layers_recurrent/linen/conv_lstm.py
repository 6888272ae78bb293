"""`ConvLSTMCell`: the convolutional LSTM, as a module."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp

from linnet.initializers import Initializer
from linnet.initializers.defaults import default_carry_init
from linnet.layers_linear.linen import Conv
from linnet.layers_recurrent import functional
from linnet.layers_recurrent._states import initial_state, state_of
from linnet.layers_recurrent.functional import ConvLSTMMaps
from linnet.module_core.errors import ArgumentTypeError
from linnet.module_core.layers import Array, DTypeLike, integer
from linnet.module_core.linen import compact, nowrap

from .cell import RNNCellBase

LSTMCarry = tuple[Array, Array]


class ConvLSTMCell(RNNCellBase):
    """A convolutional LSTM cell; see `functional.conv_lstm` for the equations.

    The forget gate starts almost open: 1 is always added before its activation.

    Args:
      features: channels of the output.
      kernel_size: size of the window in each spatial dimension.
      strides: step between windows, one for each spatial dimension; only 1 keeps the size.
      padding: 'SAME', or a (low, high) pair for each spatial dimension.
      use_bias: the convolutions add a bias.
      dtype: the computation dtype; None for the common type of input and parameters.
      param_dtype: dtype of the parameters.
      carry_init: initializer of the carry.

    >>> import jax, jax.numpy as jnp
    >>> x = jax.random.normal(jax.random.key(0), (3, 5, 5))
    >>> cell = ConvLSTMCell(features=4, kernel_size=(2, 2))
    >>> carry = cell.initialize_carry(jax.random.key(1), x.shape)
    >>> variables = cell.init(jax.random.key(2), carry, x)
    >>> carry, y = cell.apply(variables, carry, x)
    >>> y.shape
    (3, 5, 4)
    """

    features: int
    kernel_size: Sequence[int]
    strides: Sequence[int] | None = None
    padding: str | Sequence[tuple[int, int]] = "SAME"
    use_bias: bool = True
    dtype: DTypeLike | None = None
    param_dtype: DTypeLike = jnp.float32
    carry_init: Initializer = default_carry_init

    @compact
    def __call__(self, carry: LSTMCarry, inputs: Array) -> tuple[LSTMCarry, Array]:
        """Takes one step.

        Args:
          carry: (c, h), memory and hidden state, [*batch, *spatial, features] each.
          inputs: [*batch, *spatial, D].

        Returns:
          The new carry, and the new hidden state as the output.
        """
        c, h = state_of(carry, ("c", "h"), self.features)
        conv = partial(
            Conv,
            4 * integer(self.features, "features", least=1),
            self.kernel_size,
            strides=self.strides,
            padding=self.padding,
            use_bias=self.use_bias,
            dtype=self.dtype,
            param_dtype=self.param_dtype,
        )
        maps = ConvLSTMMaps(ih=conv(name="ih"), hh=conv(name="hh"))
        return functional.conv_lstm(maps, (c, h), inputs)

    @nowrap
    def initialize_carry(self, rng: Array, input_shape: tuple[int, ...]) -> LSTMCarry:
        """Makes (c, h) before the first step.

        Args:
          rng: random key for `carry_init`.
          input_shape: (*batch, *spatial, D), the shape of one step's inputs.

        Returns:
          (c, h), [*batch, *spatial, features] each.
        """
        key_c, key_h = jax.random.split(rng)
        make = partial(
            initial_state,
            shape=input_shape,
            features=self.features,
            init=self.carry_init,
            dtype=self.param_dtype,
        )
        return make(key_c), make(key_h)

    @property
    def num_feature_axes(self) -> int:
        """The spatial dimensions, and the features."""
        if not isinstance(self.kernel_size, Sequence) or isinstance(self.kernel_size, str):
            raise ArgumentTypeError(
                f"'kernel_size' must be a sequence of ints, got {self.kernel_size!r}.",
                hint="Pass one for each spatial dimension, e.g. (3, 3).",
            )
        return len(self.kernel_size) + 1
