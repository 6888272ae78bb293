"""`LSTMCell` and `OptimizedLSTMCell`: long short-term memory, as modules."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from functools import partial
from typing import Any

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
from linnet.layers_recurrent._torch import LSTM
from linnet.layers_recurrent.functional import Affine, LSTMMaps
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
from .cell import LSTMCarry, MemoryCell, kept_stream


class _LSTMCellBase(MemoryCell):
    """The options of both cells, and a step in terms of their maps, however these are stored."""

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
    ) -> None:
        options = self._begin(in_features, hidden_features, dtype, param_dtype, promote_dtype, rngs)
        self.gate_fn = gate_fn
        self.activation_fn = activation_fn
        linear: Callable[..., Linear] = partial(Linear, **options)
        self._make_layers(
            partial(
                linear,
                in_features,
                use_bias=False,
                kernel_init=kernel_init,
                kernel_metadata=kernel_metadata,
            ),
            partial(
                linear,
                hidden_features,
                kernel_init=recurrent_kernel_init,
                bias_init=bias_init,
                kernel_metadata=recurrent_kernel_metadata,
                bias_metadata=bias_metadata,
            ),
        )
        self.rngs = kept_stream(rngs, keep_rngs)
        self.carry_init = carry_init

    @abstractmethod
    def _make_layers(
        self, of_input: Callable[[int], Linear], of_state: Callable[[int], Linear]
    ) -> None:
        """Makes the layers; each function makes a layer with a given number of features."""

    @abstractmethod
    def _maps_of_step(self, inputs: Array, h: Array) -> LSTMMaps[Any]:
        """The gates' maps for one step with these inputs and this hidden state."""

    @abstractmethod
    def _affines(self) -> LSTMMaps[Affine]:
        """The gates' maps as arrays."""

    def __call__(self, carry: LSTMCarry, inputs: Array) -> tuple[LSTMCarry, Array]:
        """Takes one step.

        Args:
          carry: (c, h), memory and hidden state, [*batch, hidden_features] each.
          inputs: [*batch, in_features].

        Returns:
          The new carry, and the new hidden state as the output.
        """
        c, h = state_of(carry, ("c", "h"), self.hidden_features)
        return functional.lstm(
            self._maps_of_step(inputs, h),
            (c, h),
            inputs,
            gate_fn=self.gate_fn,
            activation_fn=self.activation_fn,
        )

    def sequence(
        self, carry: LSTMCarry, xs: Array, *, lengths: Array | None = None, unroll: int = 1
    ) -> tuple[LSTMCarry, Array] | None:
        """Takes all steps; see `RNNCellBase`."""
        if not usual(self.activation_fn, self.gate_fn):
            return None
        c, h = state_of(carry, ("c", "h"), self.hidden_features)
        return functional.lstm_sequence(self._affines(), (c, h), xs, lengths=lengths, unroll=unroll)


class LSTMCell(_LSTMCellBase):
    """An LSTM cell; see `functional.lstm` for the equations.

    Args:
      in_features: D, features of the inputs.
      hidden_features: H, features of the output.
      gate_fn: activation function of the gates.
      activation_fn: activation function of candidate and memory.
      kernel_init: initializer of the input's kernels.
      recurrent_kernel_init: initializer of the hidden state's kernels.
      bias_init: initializer of the biases.
      dtype: the computation dtype; None for the common type of input and parameters.
      param_dtype: dtype of the parameters.
      carry_init: initializer of the carry; None for zeros.
      promote_dtype: casts the tuples of input and parameters to the computation dtype.
      keep_rngs: keeps a stream for carries, from 'carry'.
      rngs: draws the parameters: the kernels of the input, then the kernels and biases of the
        state, gate by gate: i, f, g, o.
      kernel_metadata, recurrent_kernel_metadata, bias_metadata: metadata of the parameters.

    Attributes:
      ii, if_, ig, io: `Linear`s of the input, [D] to [H], without bias.
      hi, hf, hg, ho: `Linear`s of the hidden state, [H] to [H].

    >>> import jax.numpy as jnp
    >>> from linnet.module_core.nnx import Rngs
    >>> rngs = Rngs(0)
    >>> cell = LSTMCell(3, 4, rngs=rngs)
    >>> x = jnp.ones((2, 3))
    >>> carry, y = cell(cell.initialize_carry(x.shape, rngs), x)
    >>> y.shape
    (2, 4)
    """

    __torch_layout__ = LSTM

    def _make_layers(
        self, of_input: Callable[[int], Linear], of_state: Callable[[int], Linear]
    ) -> None:
        features = self.hidden_features
        self.ii, self.if_, self.ig, self.io = (of_input(features) for _ in range(4))
        self.hi, self.hf, self.hg, self.ho = (of_state(features) for _ in range(4))

    def _maps(self) -> LSTMMaps[Linear]:
        return LSTMMaps(self.ii, self.hi, self.if_, self.hf, self.ig, self.hg, self.io, self.ho)

    def _maps_of_step(self, inputs: Array, h: Array) -> LSTMMaps[Linear]:
        return self._maps()

    def _affines(self) -> LSTMMaps[Affine]:
        return LSTMMaps(*map(affine, self._maps()))


class OptimizedLSTMCell(_LSTMCellBase):
    """An LSTM cell that takes a step in two matrix products.

    It computes the same function as `LSTMCell`, with the gates' kernels side by side. In an `RNN`,
    both cells are equally fast.

    The arguments are those of `LSTMCell`. `rngs` draws the kernel of the input, then the kernel
    and bias of the hidden state.

    Attributes:
      dense_i: `Linear` of the input, [D] to [4H] (gates i, f, g, o), without bias.
      dense_h: `Linear` of the hidden state, [H] to [4H].

    >>> import jax.numpy as jnp
    >>> from linnet.module_core.nnx import Rngs
    >>> rngs = Rngs(0)
    >>> cell = OptimizedLSTMCell(3, 4, rngs=rngs)
    >>> x = jnp.ones((2, 3))
    >>> carry, y = cell(cell.initialize_carry(x.shape, rngs), x)
    >>> cell.dense_h.kernel.shape, y.shape
    ((4, 16), (2, 4))
    """

    __torch_layout__ = LSTM

    def _make_layers(
        self, of_input: Callable[[int], Linear], of_state: Callable[[int], Linear]
    ) -> None:
        self.dense_i = of_input(4 * self.hidden_features)
        self.dense_h = of_state(4 * self.hidden_features)

    def _maps_of_step(self, inputs: Array, h: Array) -> LSTMMaps[Any]:
        ii, if_, ig, io = map(known, jnp.split(self.dense_i(inputs), 4, axis=-1))
        hi, hf, hg, ho = map(known, jnp.split(self.dense_h(h), 4, axis=-1))
        return LSTMMaps(ii, hi, if_, hf, ig, hg, io, ho)

    def _affines(self) -> LSTMMaps[Affine]:
        ii, if_, ig, io = apart(affine(self.dense_i), 4)
        hi, hf, hg, ho = apart(affine(self.dense_h), 4)
        return LSTMMaps(ii, hi, if_, hf, ig, hg, io, ho)


def apart(joint: Affine, count: int) -> list[Affine]:
    """Splits a map that has the features of several gates side by side into one map per gate."""
    kernels = jnp.split(joint.kernel, count, axis=-1)
    biases = [None] * count if joint.bias is None else jnp.split(joint.bias, count)
    return [Affine(k, b, joint.dtype) for k, b in zip(kernels, biases, strict=True)]
