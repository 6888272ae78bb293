"""`MGUCell`: the minimal gated unit, as a module."""

from __future__ import annotations

from functools import partial

import jax.numpy as jnp
from jax.nn import sigmoid, tanh

from linnet.initializers import Initializer
from linnet.initializers.defaults import (
    default_bias_init,
    default_carry_init,
    default_forget_bias_init,
    default_kernel_init,
    default_recurrent_kernel_init,
)
from linnet.layers_recurrent import functional
from linnet.layers_recurrent._activations import usual
from linnet.layers_recurrent._states import carried_of, initial_state
from linnet.layers_recurrent.functional import MGUMaps
from linnet.module_core.layers import Activation, Array, DTypeLike, vector_features
from linnet.module_core.linen import compact, nowrap

from ._maps import Dense, arrays, shared_fields
from .cell import RNNCellBase


class MGUCell(RNNCellBase):
    """A minimal gated unit; see `functional.mgu` for the equations.

    Args:
      features: size of the hidden state that `initialize_carry` makes; a carry of a different size
        determines the cell's size instead.
      gate_fn: activation function of the gates.
      activation_fn: activation function of the candidate.
      kernel_init: initializer of the input's kernels.
      recurrent_kernel_init: initializer of the hidden state's kernels.
      forget_bias_init: initializer of the forget gate's bias. Ones by default, so that gradients
        reach far back early in training (Jozefowicz et al. 2015, section 2.2).
      activation_bias_init: initializer of the candidate's biases.
      dtype: the computation dtype; None for the common type of input and parameters.
      param_dtype: dtype of the parameters.
      carry_init: initializer of the carry.
      reset_gate: the forget gate also scales the hidden state's contribution to the candidate.

    >>> import jax, jax.numpy as jnp
    >>> x = jax.random.normal(jax.random.key(0), (2, 3))
    >>> cell = MGUCell(features=4)
    >>> carry = cell.initialize_carry(jax.random.key(1), x.shape)
    >>> variables = cell.init(jax.random.key(2), carry, x)
    >>> carry, y = cell.apply(variables, carry, x)
    >>> y.shape
    (2, 4)
    """

    features: int
    gate_fn: Activation = sigmoid
    activation_fn: Activation = tanh
    kernel_init: Initializer = default_kernel_init
    recurrent_kernel_init: Initializer = default_recurrent_kernel_init
    forget_bias_init: Initializer = default_forget_bias_init
    activation_bias_init: Initializer = default_bias_init
    dtype: DTypeLike | None = None
    param_dtype: DTypeLike = jnp.float32
    carry_init: Initializer = default_carry_init
    reset_gate: bool = True

    @nowrap
    def _maps(self, features: int) -> MGUMaps[Dense]:
        of_input = partial(Dense, features, **shared_fields(self, Dense))
        of_hidden = partial(of_input, kernel_init=self.recurrent_kernel_init)
        bias_init = self.activation_bias_init
        return MGUMaps(
            if_=of_input(name="if", bias_init=self.forget_bias_init),
            hf=of_hidden(name="hf", use_bias=False),
            hn=of_hidden(name="hn", use_bias=self.reset_gate, bias_init=bias_init),
            in_=of_input(name="in", bias_init=bias_init),
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
        return functional.mgu(
            self._maps(features),
            h,
            inputs,
            gate_fn=self.gate_fn,
            activation_fn=self.activation_fn,
            reset_gate=self.reset_gate,
        )

    @compact
    def sequence(
        self, carry: Array, xs: Array, *, lengths: Array | None = None, unroll: int = 1
    ) -> tuple[Array, Array] | None:
        """Takes all steps; see `RNNCellBase`."""
        if not usual(self.activation_fn, self.gate_fn):
            return None
        _, features = carried_of(carry, ("h",), self.features)
        return functional.mgu_sequence(
            arrays(self._maps(features), vector_features(xs.shape), features),
            carry,
            xs,
            reset_gate=self.reset_gate,
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
