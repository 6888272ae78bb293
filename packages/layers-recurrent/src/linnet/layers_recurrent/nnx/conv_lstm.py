"""`ConvLSTMCell`: the convolutional LSTM, as a module."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import jax.numpy as jnp

from linnet.initializers import Initializer
from linnet.initializers.defaults import default_bias_init, default_kernel_init
from linnet.layers_linear.nnx import Conv
from linnet.layers_recurrent import functional
from linnet.layers_recurrent._states import state_of
from linnet.layers_recurrent.functional import ConvLSTMMaps
from linnet.module_core.errors import ArgumentTypeError
from linnet.module_core.layers import NO_METADATA, Array, DTypeLike, Metadata, PromoteDtype
from linnet.module_core.layers.nnx import promote_dtype
from linnet.module_core.nnx import Rngs

from .cell import LSTMCarry, MemoryCell, kept_stream


class ConvLSTMCell(MemoryCell):
    """A convolutional LSTM cell; see `functional.conv_lstm` for the equations.

    The forget gate starts almost open: 1 is always added before its activation.

    Args:
      in_features: D, features of the inputs.
      hidden_features: H, channels of the output.
      kernel_size: size of the window in each spatial dimension.
      strides: step between windows, one for each spatial dimension; only 1 keeps their size.
      padding: 'SAME', or a (low, high) pair for each spatial dimension.
      use_bias: the convolutions add a bias.
      kernel_init: initializer of the kernels.
      bias_init: initializer of the biases.
      dtype: the computation dtype; None for the common type of input and parameters.
      param_dtype: dtype of the parameters.
      carry_init: initializer of the carry; None for zeros.
      promote_dtype: casts the tuples of input and parameters to the computation dtype.
      keep_rngs: keeps a stream for carries, from 'carry'.
      rngs: draws the parameters: kernel and bias of the input, then those of the state.
      kernel_metadata, bias_metadata: metadata of the parameters.

    Attributes:
      ih: `Conv` of the input, [D] to [4H] (gates i, g, f, o).
      hh: `Conv` of the hidden state, [H] to [4H].

    >>> import jax.numpy as jnp
    >>> from linnet.module_core.nnx import Rngs
    >>> rngs = Rngs(0)
    >>> cell = ConvLSTMCell(3, 4, kernel_size=(2, 2), rngs=rngs)
    >>> x = jnp.ones((2, 5, 5, 3))
    >>> carry, y = cell(cell.initialize_carry(x.shape, rngs), x)
    >>> y.shape
    (2, 5, 5, 4)
    """

    def __init__(
        self,
        in_features: int,
        hidden_features: int,
        kernel_size: Sequence[int],
        *,
        strides: int | Sequence[int] | None = 1,
        padding: str | Sequence[tuple[int, int]] = "SAME",
        use_bias: bool = True,
        kernel_init: Initializer = default_kernel_init,
        bias_init: Initializer = default_bias_init,
        dtype: DTypeLike | None = None,
        param_dtype: DTypeLike = jnp.float32,
        carry_init: Initializer | None = None,
        promote_dtype: PromoteDtype = promote_dtype,
        keep_rngs: bool = False,
        rngs: Rngs,
        kernel_metadata: Metadata = NO_METADATA,
        bias_metadata: Metadata = NO_METADATA,
    ) -> None:
        if not isinstance(kernel_size, Sequence) or isinstance(kernel_size, str):
            raise ArgumentTypeError(
                f"'kernel_size' must be a sequence of ints, got {kernel_size!r}.",
                hint="Pass one for each spatial dimension, e.g. (3, 3).",
            )
        options = self._begin(in_features, hidden_features, dtype, param_dtype, promote_dtype, rngs)
        self.kernel_size = tuple(kernel_size)
        self.strides = strides
        self.padding = padding
        self.use_bias = use_bias
        conv: Callable[..., Conv] = partial(
            Conv,
            **options,
            out_features=4 * self.hidden_features,
            kernel_size=self.kernel_size,
            strides=strides,
            padding=padding,
            use_bias=use_bias,
            kernel_init=kernel_init,
            bias_init=bias_init,
            kernel_metadata=kernel_metadata,
            bias_metadata=bias_metadata,
        )
        self.ih = conv(in_features)
        self.hh = conv(hidden_features)
        self.rngs = kept_stream(rngs, keep_rngs)
        self.carry_init = carry_init

    def __call__(self, carry: LSTMCarry, inputs: Array) -> tuple[LSTMCarry, Array]:
        """Takes one step.

        Args:
          carry: (c, h), memory and hidden state, [*batch, *spatial, hidden_features] each.
          inputs: [*batch, *spatial, in_features].

        Returns:
          The new carry, and the new hidden state as the output.
        """
        c, h = state_of(carry, ("c", "h"), self.hidden_features)
        return functional.conv_lstm(ConvLSTMMaps(ih=self.ih, hh=self.hh), (c, h), inputs)

    @property
    def num_feature_axes(self) -> int:
        """The number of spatial dimensions, plus one for the features."""
        return len(self.kernel_size) + 1
