"""`RNNCellBase`: the interface between a recurrent cell and the layers that run it."""

from __future__ import annotations

from typing import Any

from linnet.initializers import Initializer
from linnet.initializers.defaults import default_carry_init
from linnet.layers_recurrent._references import referred, resolved
from linnet.layers_recurrent._states import initial_state
from linnet.module_core.errors import ArgumentError, ArgumentTypeError, describe
from linnet.module_core.layers import Array, DTypeLike, PromoteDtype, integer
from linnet.module_core.layers.nnx import Layer
from linnet.module_core.nnx import Module, Rngs, RngStream
from linnet.module_core.typing import Carry


class RNNCellBase(Layer):
    """Base class of recurrent cells, to be subclassed.

    A cell defines three things: `__call__(carry, inputs)`, which returns the new carry and the
    output of one step; `initialize_carry`, which makes the first carry; and `num_feature_axes`,
    how many of an input's last dimensions are not batch dimensions.

    A cell may also define `sequence(carry, xs, *, lengths, unroll)`, which takes all steps at once,
    time first. It returns the last carry (of each sequence, if there are lengths) and the outputs,
    or None if the cell's attributes require single steps. `RNN` calls it instead of a loop if the
    same class also defines `__call__`, so a subclass that changes the step runs step by step.

    >>> import jax.numpy as jnp
    >>> from linnet.layers_recurrent.nnx import RNN
    >>> class Sum(RNNCellBase):
    ...     def __call__(self, carry, x):
    ...         return carry + x, carry + x
    ...
    ...     def initialize_carry(self, input_shape, rngs=None):
    ...         return jnp.zeros(input_shape)
    ...
    ...     @property
    ...     def num_feature_axes(self):
    ...         return 1
    >>> RNN(Sum())(jnp.array([[[1.0], [2.0], [3.0]]]))[0, :, 0]
    Array([1., 3., 6.], dtype=float32)
    """

    def initialize_carry(
        self,
        input_shape: tuple[int, ...],
        rngs: Rngs | RngStream | None = None,
        carry_init: Initializer | None = None,
    ) -> Carry:
        """Makes the carry before the first step.

        Args:
          input_shape: the shape of one step's inputs.
          rngs: streams, of which 'carry' is used, or one stream.
          carry_init: initializer; None for the cell's. `RNN` doesn't pass it, so a cell without
            initializers may leave it out.

        Returns:
          The carry.
        """
        raise NotImplementedError(_missing(self, "initialize_carry(input_shape, rngs)"))

    @property
    def num_feature_axes(self) -> int:
        """How many of an input's last dimensions are not batch dimensions."""
        raise NotImplementedError(_missing(self, "num_feature_axes"))

    def __getstate__(self) -> dict[str, Any]:
        return {name: referred(value) for name, value in super().__getstate__().items()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__({name: resolved(value) for name, value in state.items()})


def _missing(cell: Module, what: str) -> str:
    return (
        f"{type(cell).__name__} does not define {what}.\n  Every RNNCellBase defines __call__, "
        "initialize_carry and num_feature_axes."
    )


class GatedCell(RNNCellBase):
    """Base class of this package's cells, whose carry has the size of the hidden features.

    Attributes:
      hidden_features: H.
      param_dtype: dtype of the parameters, and of the carry before the first step.
      carry_init: initializer of the carry, or None for zeros.
      rngs: the stream that a carry is drawn from if the caller passes none, or None.
    """

    in_features: int
    hidden_features: int
    param_dtype: DTypeLike
    carry_init: Initializer | None
    rngs: RngStream | None

    @property
    def num_feature_axes(self) -> int:
        """1: the features."""
        return 1

    def _begin(
        self,
        in_features: int,
        hidden_features: int,
        dtype: DTypeLike | None,
        param_dtype: DTypeLike,
        promote_dtype: PromoteDtype,
        rngs: Rngs,
    ) -> dict[str, Any]:
        """Sets the attributes of every cell, and returns the arguments of a cell's layers."""
        self.in_features = integer(in_features, "in_features")
        self.hidden_features = integer(hidden_features, "hidden_features", least=1)
        self.dtype = dtype
        self.param_dtype = param_dtype
        self.promote_dtype = promote_dtype
        return {
            "dtype": dtype,
            "param_dtype": param_dtype,
            "promote_dtype": promote_dtype,
            "rngs": rngs,
        }

    def _states(
        self,
        count: int,
        input_shape: tuple[int, ...],
        rngs: Rngs | RngStream | None,
        carry_init: Initializer | None,
    ) -> tuple[Array, ...]:
        """The entries of a carry, each drawn from a separate key."""
        init = carry_init or self.carry_init or default_carry_init
        stream = self._stream(rngs)
        return tuple(
            initial_state(stream(), input_shape, self.hidden_features, init, self.param_dtype)
            for _ in range(count)
        )

    def _stream(self, rngs: Rngs | RngStream | None) -> RngStream:
        if isinstance(rngs, Rngs):
            return rngs["carry"]
        found = self.rngs if rngs is None else rngs
        if isinstance(found, RngStream):
            return found
        name = type(self).__name__
        if found is None:
            raise ArgumentError(
                f"{name} draws its first carry at random, but initialize_carry got no rngs and the"
                " cell keeps none.",
                hint="Pass rngs=nnx.Rngs(0), leave rngs=True in the RNN, or make the cell with"
                " keep_rngs=True.",
            )
        raise ArgumentTypeError(
            f"'rngs' of {name} must be nnx.Rngs or an nnx.RngStream, got {describe(found)}."
        )


LSTMCarry = tuple[Array, Array]


class MemoryCell(GatedCell):
    """A cell whose carry consists of the memory and the hidden state."""

    def initialize_carry(
        self,
        input_shape: tuple[int, ...],
        rngs: Rngs | RngStream | None = None,
        carry_init: Initializer | None = None,
    ) -> LSTMCarry:
        """Makes (c, h) before the first step.

        Args:
          input_shape: (*batch, *spatial, D), the shape of one step's inputs; only a
            `ConvLSTMCell` has spatial dimensions.
          rngs: streams, of which 'carry' is used twice, or one stream; None for the cell's.
          carry_init: initializer; None for the cell's.

        Returns:
          (c, h), [*batch, *spatial, hidden_features] each.

        Raises:
          ArgumentError: no stream is available.
        """
        c, h = self._states(2, input_shape, rngs, carry_init)
        return c, h


class HiddenStateCell(GatedCell):
    """A cell whose carry is just the hidden state."""

    def initialize_carry(
        self,
        input_shape: tuple[int, ...],
        rngs: Rngs | RngStream | None = None,
        carry_init: Initializer | None = None,
    ) -> Array:
        """Makes the hidden state before the first step.

        Args:
          input_shape: (*batch, D), the shape of one step's inputs.
          rngs: streams, of which 'carry' is used, or one stream; None for the cell's.
          carry_init: initializer; None for the cell's.

        Returns:
          [*batch, hidden_features].

        Raises:
          ArgumentError: no stream is available.
        """
        return self._states(1, input_shape, rngs, carry_init)[0]


def kept_stream(rngs: Rngs, keep_rngs: bool) -> RngStream | None:
    """The stream that a cell stores for its carries."""
    return rngs["carry"].fork() if keep_rngs else None
