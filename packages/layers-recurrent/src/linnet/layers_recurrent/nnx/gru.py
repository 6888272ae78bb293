"""`GRUCell`: the gated recurrent unit, as a module."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import jax.numpy as jnp
from jax.nn import sigmoid, tanh

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
from linnet.layers_recurrent._torch import GRU
from linnet.layers_recurrent.functional import GRUMaps
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

from ._fields import affine, known
from .cell import HiddenStateCell, kept_stream
from .lstm import apart


class GRUCell(HiddenStateCell):
    """A gated recurrent unit; see `functional.gru` for the equations.

    `hn` has a bias only with `use_recurrent_bias`.

    Args:
      in_features: D, features of the inputs.
      hidden_features: H, features of the output.
      gate_fn: activation function of the gates.
      activation_fn: activation function of the candidate.
      kernel_init: initializer of the input's kernel.
      recurrent_kernel_init: initializer of the hidden state's kernel.
      bias_init: initializer of the bias.
      dtype: the computation dtype; None for the common type of input and parameters.
      param_dtype: dtype of the parameters.
      carry_init: initializer of the carry; None for zeros.
      promote_dtype: casts the tuples of input and parameters to the computation dtype.
      keep_rngs: keeps a stream for carries, from 'carry'.
      rngs: draws the parameters: kernel and bias of the input, then those of the state.
      kernel_metadata, recurrent_kernel_metadata, bias_metadata: metadata of the parameters.
      use_recurrent_bias: the maps of the hidden state add a bias, as in PyTorch.

    Attributes:
      dense_i: `Linear` of the input, [D] to [3H] (gates r, z, n).
      dense_h: `Linear` of the hidden state, [H] to [3H], without bias unless
        `use_recurrent_bias`.

    >>> import jax.numpy as jnp
    >>> from linnet.module_core.nnx import Rngs
    >>> rngs = Rngs(0)
    >>> cell = GRUCell(3, 4, rngs=rngs)
    >>> x = jnp.ones((2, 3))
    >>> carry, y = cell(cell.initialize_carry(x.shape, rngs), x)
    >>> y.shape
    (2, 4)
    """

    __torch_layout__ = GRU

    def __init__(
        self,
        in_features: int,
        hidden_features: int,
        *,
        gate_fn: Activation = sigmoid,
        activation_fn: Activation = tanh,
        kernel_init: Initializer = default_kernel_init,
        recurrent_kernel_init: Initializer = default_recurrent_kernel_init,
        bias_init: Initializer = default_bias_init,
        dtype: DTypeLike | None = None,
        param_dtype: DTypeLike = jnp.float32,
        carry_init: Initializer | None = None,
        promote_dtype: PromoteDtype = promote_dtype,
        keep_rngs: bool = False,
        rngs: Rngs,
        kernel_metadata: Metadata = NO_METADATA,
        recurrent_kernel_metadata: Metadata = NO_METADATA,
        bias_metadata: Metadata = NO_METADATA,
        use_recurrent_bias: bool = False,
    ) -> None:
        options = self._begin(in_features, hidden_features, dtype, param_dtype, promote_dtype, rngs)
        self.gate_fn = gate_fn
        self.activation_fn = activation_fn
        linear: Callable[..., Linear] = partial(Linear, **options)
        self.dense_i = linear(
            in_features,
            3 * self.hidden_features,
            kernel_init=kernel_init,
            bias_init=bias_init,
            kernel_metadata=kernel_metadata,
            bias_metadata=bias_metadata,
        )
        self.dense_h = linear(
            hidden_features,
            3 * self.hidden_features,
            use_bias=use_recurrent_bias,
            kernel_init=recurrent_kernel_init,
            bias_init=bias_init,
            kernel_metadata=recurrent_kernel_metadata,
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
        ir, iz, in_ = map(known, jnp.split(self.dense_i(inputs), 3, axis=-1))
        hr, hz, hn = map(known, jnp.split(self.dense_h(h), 3, axis=-1))
        return functional.gru(
            GRUMaps(ir, hr, iz, hz, in_, hn),
            h,
            inputs,
            gate_fn=self.gate_fn,
            activation_fn=self.activation_fn,
        )

    def sequence(
        self, carry: Array, xs: Array, *, lengths: Array | None = None, unroll: int = 1
    ) -> tuple[Array, Array] | None:
        """Takes all steps; see `RNNCellBase`."""
        if not usual(self.activation_fn, self.gate_fn):
            return None
        ir, iz, in_ = apart(affine(self.dense_i), 3)
        hr, hz, hn = apart(affine(self.dense_h), 3)
        (h,) = state_of(carry, ("h",), self.hidden_features)
        maps = GRUMaps(ir, hr, iz, hz, in_, hn)
        return functional.gru_sequence(maps, h, xs, lengths=lengths, unroll=unroll)
