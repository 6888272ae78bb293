"""`GRUCell`: the gated recurrent unit, as a module."""

from __future__ import annotations

from functools import partial

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
from linnet.layers_recurrent._torch import GRU
from linnet.layers_recurrent.functional import GRUMaps
from linnet.module_core.layers import Activation, Array, DTypeLike, vector_features
from linnet.module_core.linen import compact, nowrap

from ._maps import Dense, arrays, shared_fields
from .cell import RNNCellBase


class GRUCell(RNNCellBase):
    """A gated recurrent unit; see `functional.gru` for the equations.

    Args:
      features: size of the hidden state that `initialize_carry` makes; a carry of a different size
        determines the cell's size instead.
      gate_fn: activation function of the gates.
      activation_fn: activation function of the candidate.
      kernel_init: initializer of the input's kernels.
      recurrent_kernel_init: initializer of the hidden state's kernels.
      bias_init: initializer of the biases.
      dtype: the computation dtype; None for the common type of input and parameters.
      param_dtype: dtype of the parameters.
      carry_init: initializer of the carry.

    >>> import jax, jax.numpy as jnp
    >>> x = jax.random.normal(jax.random.key(0), (2, 3))
    >>> cell = GRUCell(features=4)
    >>> carry = cell.initialize_carry(jax.random.key(1), x.shape)
    >>> variables = cell.init(jax.random.key(2), carry, x)
    >>> carry, y = cell.apply(variables, carry, x)
    >>> y.shape
    (2, 4)
    """

    __torch_layout__ = GRU

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
    def _maps(self, features: int) -> GRUMaps[Dense]:
        of_input = partial(Dense, features, **shared_fields(self, Dense))
        of_hidden = partial(of_input, kernel_init=self.recurrent_kernel_init)
        return GRUMaps(
            ir=of_input(name="ir"),
            hr=of_hidden(name="hr", use_bias=False),
            iz=of_input(name="iz"),
            hz=of_hidden(name="hz", use_bias=False),
            in_=of_input(name="in"),
            hn=of_hidden(name="hn"),
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
        return functional.gru(
            self._maps(features),
            h,
            inputs,
            gate_fn=self.gate_fn,
            activation_fn=self.activation_fn,
        )

    @compact
    def sequence(
        self, carry: Array, xs: Array, *, lengths: Array | None = None, unroll: int = 1
    ) -> tuple[Array, Array] | None:
        """Takes all steps; see `RNNCellBase`."""
        if not usual(self.activation_fn, self.gate_fn):
            return None
        _, features = carried_of(carry, ("h",), self.features)
        return functional.gru_sequence(
            arrays(self._maps(features), vector_features(xs.shape), features),
            carry,
            xs,
            lengths=lengths,
            unroll=unroll,
        )

    @nowrap
    def initialize_carry(self, rng: Array, input_shape: tuple[int, ...]) -> Array:
        """Creates the hidden state for the first step.

        Args:
          rng: random key for `carry_init`.
          input_shape: (*batch, D), the shape of one step's inputs.

        Returns:
          [*batch, features].
        """
        return initial_state(rng, input_shape, self.features, self.carry_init, self.param_dtype)

    @property
    def num_feature_axes(self) -> int:
        """1, since only the last axis holds features."""
        return 1
