"""`MGUCell`: the minimal gated unit, as a module."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import jax.numpy as jnp
from jax.nn import sigmoid, tanh

from linnet.initializers import Initializer
from linnet.initializers.defaults import (
    default_bias_init,
    default_forget_bias_init,
    default_kernel_init,
    default_recurrent_kernel_init,
)
from linnet.layers_linear.nnx import Linear
from linnet.layers_recurrent import functional
from linnet.layers_recurrent._activations import usual
from linnet.layers_recurrent._states import state_of
from linnet.layers_recurrent.functional import MGUMaps
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


class MGUCell(HiddenStateCell):
    """A minimal gated unit; see `functional.mgu` for the equations.

    Args:
      in_features: D, features of the inputs.
      hidden_features: H, features of the output.
      gate_fn: activation function of the gates.
      activation_fn: activation function of the candidate.
      kernel_init: initializer of the input's kernels.
      recurrent_kernel_init: initializer of the hidden state's kernels.
      forget_bias_init: initializer of the forget gate's bias. Ones by default, so that gradients
        reach far back early in training (Jozefowicz et al. 2015, section 2.2).
      activation_bias_init: initializer of the candidate's biases.
      dtype: the computation dtype; None for the common type of input and parameters.
      param_dtype: dtype of the parameters.
      carry_init: initializer of the carry; None for zeros.
      reset_gate: the forget gate also scales what the hidden state adds to the candidate.
      promote_dtype: casts the tuples of input and parameters to the computation dtype.
      keep_rngs: keeps a stream for carries, from 'carry'.
      rngs: draws the parameters, the kernel and bias of each map in turn: if, hf, hn, in.
      kernel_metadata, recurrent_kernel_metadata, bias_metadata: metadata of the parameters.

    Attributes:
      if_, in_: `Linear`s of the input, [D] to [H].
      hf, hn: `Linear`s of the hidden state, [H] to [H]; `hn` has a bias only with `reset_gate`.

    >>> import jax.numpy as jnp
    >>> from linnet.module_core.nnx import Rngs
    >>> rngs = Rngs(0)
    >>> cell = MGUCell(3, 4, rngs=rngs)
    >>> x = jnp.ones((2, 3))
    >>> carry, y = cell(cell.initialize_carry(x.shape, rngs), x)
    >>> y.shape
    (2, 4)
    """

    def __init__(
        self,
        in_features: int,
        hidden_features: int,
        *,
        gate_fn: Activation = sigmoid,
        activation_fn: Activation = tanh,
        kernel_init: Initializer = default_kernel_init,
        recurrent_kernel_init: Initializer = default_recurrent_kernel_init,
        forget_bias_init: Initializer = default_forget_bias_init,
        activation_bias_init: Initializer = default_bias_init,
        dtype: DTypeLike | None = None,
        param_dtype: DTypeLike = jnp.float32,
        carry_init: Initializer | None = None,
        reset_gate: bool = True,
        promote_dtype: PromoteDtype = promote_dtype,
        keep_rngs: bool = False,
        rngs: Rngs,
        kernel_metadata: Metadata = NO_METADATA,
        recurrent_kernel_metadata: Metadata = NO_METADATA,
        bias_metadata: Metadata = NO_METADATA,
    ) -> None:
        options = self._begin(in_features, hidden_features, dtype, param_dtype, promote_dtype, rngs)
        self.gate_fn = gate_fn
        self.activation_fn = activation_fn
        self.reset_gate = reset_gate
        linear: Callable[..., Linear] = partial(Linear, **options, bias_metadata=bias_metadata)
        of_input = partial(
            linear,
            in_features,
            hidden_features,
            kernel_init=kernel_init,
            kernel_metadata=kernel_metadata,
        )
        of_state = partial(
            linear,
            hidden_features,
            hidden_features,
            kernel_init=recurrent_kernel_init,
            kernel_metadata=recurrent_kernel_metadata,
        )
        self.if_ = of_input(bias_init=forget_bias_init)
        self.hf = of_state(use_bias=False)
        self.hn = of_state(use_bias=reset_gate, bias_init=activation_bias_init)
        self.in_ = of_input(bias_init=activation_bias_init)
        self.rngs = kept_stream(rngs, keep_rngs)
        self.carry_init = carry_init

    def _maps(self) -> MGUMaps[Linear]:
        return MGUMaps(if_=self.if_, hf=self.hf, hn=self.hn, in_=self.in_)

    def __call__(self, carry: Array, inputs: Array) -> tuple[Array, Array]:
        """Takes one step.

        Args:
          carry: [*batch, hidden_features], the hidden state.
          inputs: [*batch, in_features].

        Returns:
          The new hidden state, as the carry and as the output.
        """
        (h,) = state_of(carry, ("h",), self.hidden_features)
        return functional.mgu(
            self._maps(),
            h,
            inputs,
            gate_fn=self.gate_fn,
            activation_fn=self.activation_fn,
            reset_gate=self.reset_gate,
        )

    def sequence(
        self, carry: Array, xs: Array, *, lengths: Array | None = None, unroll: int = 1
    ) -> tuple[Array, Array] | None:
        """Takes all steps; see `RNNCellBase`."""
        if not usual(self.activation_fn, self.gate_fn):
            return None
        (h,) = state_of(carry, ("h",), self.hidden_features)
        return functional.mgu_sequence(
            MGUMaps(*map(affine, self._maps())),
            h,
            xs,
            reset_gate=self.reset_gate,
            lengths=lengths,
            unroll=unroll,
        )
