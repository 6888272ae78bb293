"""`LSTMCell` and `OptimizedLSTMCell`: long short-term memory, as modules."""

from __future__ import annotations

from functools import partial
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from jax.nn import sigmoid, tanh

from linnet.initializers import Initializer
from linnet.initializers.defaults import (
    default_bias_init,
    default_carry_init,
    default_kernel_init,
    default_recurrent_kernel_init,
)
from linnet.layers_recurrent import functional
from linnet.layers_recurrent._activations import usual
from linnet.layers_recurrent._states import carried_of, initial_state
from linnet.layers_recurrent._torch import LSTM
from linnet.layers_recurrent.functional import LSTMMaps
from linnet.module_core.layers import Activation, Array, DTypeLike, vector_features
from linnet.module_core.linen import Module, compact, nowrap

from ._maps import Dense, DenseParams, arrays, called, shared_fields
from .cell import RNNCellBase

M = TypeVar("M", bound=Module)
LSTMCarry = tuple[Array, Array]


class _LSTMCellBase(RNNCellBase):
    features: int
    gate_fn: Activation = sigmoid
    activation_fn: Activation = tanh
    kernel_init: Initializer = default_kernel_init
    recurrent_kernel_init: Initializer = default_recurrent_kernel_init
    bias_init: Initializer = default_bias_init
    dtype: DTypeLike | None = None
    param_dtype: DTypeLike = jnp.float32
    carry_init: Initializer = default_carry_init

    @nowrap
    def _maps(self, cls: type[Dense] | type[DenseParams], features: int) -> LSTMMaps[Any]:
        dense = partial(cls, features, **shared_fields(self, cls))
        of_input = partial(dense, use_bias=False)
        of_hidden = partial(dense, kernel_init=self.recurrent_kernel_init)
        return LSTMMaps(
            ii=of_input(name="ii"),
            hi=of_hidden(name="hi"),
            if_=of_input(name="if"),
            hf=of_hidden(name="hf"),
            ig=of_input(name="ig"),
            hg=of_hidden(name="hg"),
            io=of_input(name="io"),
            ho=of_hidden(name="ho"),
        )

    @nowrap
    def _sequence(
        self,
        cls: type[Dense] | type[DenseParams],
        carry: LSTMCarry,
        xs: Array,
        lengths: Array | None,
        unroll: int,
    ) -> tuple[LSTMCarry, Array]:
        _, features = carried_of(carry, ("c", "h"), self.features)
        return functional.lstm_sequence(
            arrays(self._maps(cls, features), vector_features(xs.shape), features),
            carry,
            xs,
            lengths=lengths,
            unroll=unroll,
        )

    @nowrap
    def initialize_carry(self, rng: Array, input_shape: tuple[int, ...]) -> LSTMCarry:
        """Creates (c, h) for the first step.

        Args:
          rng: random key for `carry_init`.
          input_shape: (*batch, D), the shape of one step's inputs.

        Returns:
          (c, h), [*batch, features] each.
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
        """1, since only the last axis holds features."""
        return 1


class LSTMCell(_LSTMCellBase):
    """An LSTM cell; see `functional.lstm` for the equations.

    Args:
      features: size of the hidden state that `initialize_carry` makes; a carry of a different size
        determines the cell's size instead.
      gate_fn: activation function of the gates.
      activation_fn: activation function of candidate and memory.
      kernel_init: initializer of the input's kernels.
      recurrent_kernel_init: initializer of the hidden state's kernels.
      bias_init: initializer of the biases.
      dtype: the computation dtype; None for the common type of input and parameters.
      param_dtype: dtype of the parameters.
      carry_init: initializer of the carry.

    >>> import jax, jax.numpy as jnp
    >>> x = jax.random.normal(jax.random.key(0), (2, 3))
    >>> cell = LSTMCell(features=4)
    >>> carry = cell.initialize_carry(jax.random.key(1), x.shape)
    >>> variables = cell.init(jax.random.key(2), carry, x)
    >>> carry, y = cell.apply(variables, carry, x)
    >>> y.shape
    (2, 4)
    """

    __torch_layout__ = LSTM

    @compact
    def __call__(self, carry: LSTMCarry, inputs: Array) -> tuple[LSTMCarry, Array]:
        """Takes one step.

        Args:
          carry: (c, h), memory and hidden state, [*batch, features] each.
          inputs: [*batch, D].

        Returns:
          The new carry, and the new hidden state as the output.
        """
        (c, h), features = carried_of(carry, ("c", "h"), self.features)
        return functional.lstm(
            self._maps(Dense, features),
            (c, h),
            inputs,
            gate_fn=self.gate_fn,
            activation_fn=self.activation_fn,
        )

    @compact
    def sequence(
        self, carry: LSTMCarry, xs: Array, *, lengths: Array | None = None, unroll: int = 1
    ) -> tuple[LSTMCarry, Array] | None:
        """Takes all steps; see `RNNCellBase`."""
        if not usual(self.activation_fn, self.gate_fn):
            return None
        return self._sequence(Dense, carry, xs, lengths, unroll)


class OptimizedLSTMCell(_LSTMCellBase):
    """An LSTM cell that takes a step in two matrix products.

    Its parameters are those of `LSTMCell`; a step is faster up to about 2048 features. In an `RNN`,
    both cells are equally fast.

    The arguments are those of `LSTMCell`.

    >>> import jax, jax.numpy as jnp
    >>> x = jax.random.normal(jax.random.key(0), (2, 3))
    >>> cell = OptimizedLSTMCell(features=4)
    >>> carry = cell.initialize_carry(jax.random.key(1), x.shape)
    >>> variables = cell.init(jax.random.key(2), carry, x)
    >>> carry, y = cell.apply(variables, carry, x)
    >>> y.shape
    (2, 4)
    """

    __torch_layout__ = LSTM

    @compact
    def __call__(self, carry: LSTMCarry, inputs: Array) -> tuple[LSTMCarry, Array]:
        """Takes one step.

        Args:
          carry: (c, h), memory and hidden state, [*batch, features] each.
          inputs: [*batch, D].

        Returns:
          The new carry, and the new hidden state as the output.
        """
        (c, h), features = carried_of(carry, ("c", "h"), self.features)
        return functional.optimized_lstm(
            called(self._maps(DenseParams, features), inputs, h),
            (c, h),
            inputs,
            gate_fn=self.gate_fn,
            activation_fn=self.activation_fn,
        )

    @compact
    def sequence(
        self, carry: LSTMCarry, xs: Array, *, lengths: Array | None = None, unroll: int = 1
    ) -> tuple[LSTMCarry, Array] | None:
        """Takes all steps; see `RNNCellBase`."""
        if not usual(self.activation_fn, self.gate_fn):
            return None
        return self._sequence(DenseParams, carry, xs, lengths, unroll)
