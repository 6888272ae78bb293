"""`SimpleCell`: the simple recurrent cell, as a module."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import jax.numpy as jnp
from jax.nn import tanh

from linnet.initializers import Initializer
from linnet.initializers.defaults import (
    default_bias_init,
    default_kernel_init,
    default_recurrent_kernel_init,
)
from linnet.layers_linear.nnx import Linear
from linnet.layers_recurrent import functional
from linnet.layers_recurrent._activations import usual
from linnet.layers_recurrent._states import state_of
from linnet.layers_recurrent._torch import SIMPLE
from linnet.layers_recurrent.functional import SimpleMaps
from linnet.module_core.layers import (
    NO_METADATA,
    Activation,
    Array,
    DTypeLike,
    Metadata,
    PromoteDtype,
)
from linnet.module_core.layers.nnx import promote_dtype
from linnet.module_core.nnx import Rngs

from ._fields import affine
from .cell import HiddenStateCell, kept_stream


class SimpleCell(HiddenStateCell):
    """A simple recurrent cell; see `functional.simple` for the equation.

    Args:
      in_features: D, features of the inputs.
      hidden_features: H, features of the output.
      dtype: the computation dtype; None for the common type of input and parameters.
      param_dtype: dtype of the parameters.
      carry_init: initializer of the carry; None for zeros.
      residual: adds the hidden state before the activation (arXiv:1801.06105).
      activation_fn: activation function of the output.
      kernel_init: initializer of the input's kernel.
      recurrent_kernel_init: initializer of the hidden state's kernel.
      bias_init: initializer of the bias.
      promote_dtype: casts the tuples of input and parameters to the computation dtype.
      keep_rngs: keeps a stream for carries, from 'carry'.
      rngs: draws the parameters: the kernel of the state, then the kernel and bias of the input.
      kernel_metadata, recurrent_kernel_metadata, bias_metadata: metadata of the parameters.

    Attributes:
      dense_h: `Linear` of the hidden state, [H] to [H], without bias.
      dense_i: `Linear` of the input, [D] to [H].

    >>> import jax.numpy as jnp
    >>> from linnet.module_core.nnx import Rngs
    >>> rngs = Rngs(0)
    >>> cell = SimpleCell(3, 4, rngs=rngs)
    >>> x = jnp.ones((2, 3))
    >>> carry, y = cell(cell.initialize_carry(x.shape, rngs), x)
    >>> y.shape
    (2, 4)
    """

    __torch_layout__ = SIMPLE

    def __init__(
        self,
        in_features: int,
        hidden_features: int,
        *,
        dtype: DTypeLike | None = jnp.float32,
        param_dtype: DTypeLike = jnp.float32,
        carry_init: Initializer | None = None,
        residual: bool = False,
        activation_fn: Activation = tanh,
        kernel_init: Initializer = default_kernel_init,
        recurrent_kernel_init: Initializer = default_recurrent_kernel_init,
        bias_init: Initializer = default_bias_init,
        promote_dtype: PromoteDtype = promote_dtype,
        keep_rngs: bool = False,
        rngs: Rngs,
        kernel_metadata: Metadata = NO_METADATA,
        recurrent_kernel_metadata: Metadata = NO_METADATA,
        bias_metadata: Metadata = NO_METADATA,
    ) -> None:
        options = self._begin(in_features, hidden_features, dtype, param_dtype, promote_dtype, rngs)
        self.residual = residual
        self.activation_fn = activation_fn
        linear: Callable[..., Linear] = partial(Linear, **options)
        self.dense_h = linear(
            hidden_features,
            hidden_features,
            use_bias=False,
            kernel_init=recurrent_kernel_init,
            kernel_metadata=recurrent_kernel_metadata,
        )
        self.dense_i = linear(
            in_features,
            hidden_features,
            kernel_init=kernel_init,
            bias_init=bias_init,
            kernel_metadata=kernel_metadata,
            bias_metadata=bias_metadata,
        )
        self.rngs = kept_stream(rngs, keep_rngs)
        self.carry_init = carry_init

    def __call__(self, carry: Array, inputs: Array) -> tuple[Array, Array]:
        """Takes one step.

        Args:
          carry: [*batch, hidden_features], the hidden state.
          inputs: [*batch, in_features].

        Returns:
          The new hidden state, as the carry and as the output.
        """
        (h,) = state_of(carry, ("h",), self.hidden_features)
        return functional.simple(
            SimpleMaps(i=self.dense_i, h=self.dense_h),
            h,
            inputs,
            activation_fn=self.activation_fn,
            residual=self.residual,
        )

    def sequence(
        self, carry: Array, xs: Array, *, lengths: Array | None = None, unroll: int = 1
    ) -> tuple[Array, Array] | None:
        """Takes all steps; see `RNNCellBase`."""
        if not usual(self.activation_fn):
            return None
        (h,) = state_of(carry, ("h",), self.hidden_features)
        return functional.simple_sequence(
            SimpleMaps(i=affine(self.dense_i), h=affine(self.dense_h)),
            h,
            xs,
            residual=self.residual,
            lengths=lengths,
            unroll=unroll,
        )
