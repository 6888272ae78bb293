"""`SimpleCell`: the simple recurrent cell, as a module."""

from __future__ import annotations

from functools import partial

import jax.numpy as jnp
from jax.nn import tanh

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
from linnet.layers_recurrent._torch import SIMPLE
from linnet.layers_recurrent.functional import SimpleMaps
from linnet.module_core.layers import Activation, Array, DTypeLike, vector_features
from linnet.module_core.linen import compact, nowrap

from ._maps import Dense, arrays, shared_fields
from .cell import RNNCellBase


class SimpleCell(RNNCellBase):
    """A simple recurrent cell; see `functional.simple` for the equation.

    Args:
      features: size of the hidden state that `initialize_carry` makes; a carry of a different size
        determines the cell's size instead.
      activation_fn: activation function of the output.
      kernel_init: initializer of the input's kernels.
      recurrent_kernel_init: initializer of the hidden state's kernels.
      bias_init: initializer of the biases.
      dtype: the computation dtype; None for the common type of input and parameters.
      param_dtype: dtype of the parameters.
      carry_init: initializer of the carry.
      residual: adds the hidden state before the activation (arXiv:1801.06105).

    >>> import jax, jax.numpy as jnp
    >>> x = jax.random.normal(jax.random.key(0), (2, 3))
    >>> cell = SimpleCell(features=4)
    >>> carry = cell.initialize_carry(jax.random.key(1), x.shape)
    >>> variables = cell.init(jax.random.key(2), carry, x)
    >>> carry, y = cell.apply(variables, carry, x)
    >>> y.shape
    (2, 4)
    """

    __torch_layout__ = SIMPLE

    features: int
    activation_fn: Activation = tanh
    kernel_init: Initializer = default_kernel_init
    recurrent_kernel_init: Initializer = default_recurrent_kernel_init
    bias_init: Initializer = default_bias_init
    dtype: DTypeLike | None = None
    param_dtype: DTypeLike = jnp.float32
    carry_init: Initializer = default_carry_init
    residual: bool = False

    @nowrap
    def _maps(self, features: int) -> SimpleMaps[Dense]:
        dense = partial(Dense, features, **shared_fields(self, Dense))
        return SimpleMaps(
            i=dense(name="i"),
            h=dense(name="h", use_bias=False, kernel_init=self.recurrent_kernel_init),
        )

    @compact
    def __call__(self, carry: Array, inputs: Array) -> tuple[Array, Array]:
        """Takes one step.

        Args:
          carry: [*batch, features], the hidden state.
          inputs: [*batch, D].

        Returns:
          The new hidden state, as the carry and as the output.
        """
        (h,), features = carried_of(carry, ("h",), self.features)
        return functional.simple(
            self._maps(features),
            h,
            inputs,
            activation_fn=self.activation_fn,
            residual=self.residual,
        )

    @compact
    def sequence(
        self, carry: Array, xs: Array, *, lengths: Array | None = None, unroll: int = 1
    ) -> tuple[Array, Array] | None:
        """Takes all steps; see `RNNCellBase`."""
        if not usual(self.activation_fn):
            return None
        _, features = carried_of(carry, ("h",), self.features)
        return functional.simple_sequence(
            arrays(self._maps(features), vector_features(xs.shape), features),
            carry,
            xs,
            residual=self.residual,
            lengths=lengths,
            unroll=unroll,
        )

    @nowrap
    def initialize_carry(self, rng: Array, input_shape: tuple[int, ...]) -> Array:
        """Makes the hidden state before the first step.

        Args:
          rng: random key for `carry_init`.
          input_shape: (*batch, D), the shape of one step's inputs.

        Returns:
          [*batch, features].
        """
        return initial_state(rng, input_shape, self.features, self.carry_init, self.param_dtype)

    @property
    def num_feature_axes(self) -> int:
        """1: the features."""
        return 1
