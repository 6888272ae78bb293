"""`RNNCellBase`: the interface between a recurrent cell and the layers that run it."""

from __future__ import annotations

from typing import Any

from linnet.layers_recurrent._references import referred, resolved
from linnet.module_core.layers import Array
from linnet.module_core.linen import Module, nowrap
from linnet.module_core.typing import Carry


class RNNCellBase(Module):
    """Base class of recurrent cells, to be subclassed.

    A cell defines three things: `__call__(carry, inputs)`, which returns the new carry and the
    output of one step; `initialize_carry`, which makes the first carry; and `num_feature_axes`,
    how many of an input's last dimensions are not batch dimensions.

    A cell may also define `sequence(carry, xs, *, lengths, unroll)`, which takes all steps at once,
    time first. It returns the last carry (of each sequence, if there are lengths) and the outputs,
    or None if the cell's fields require single steps. `RNN` calls it instead of a scan if the same
    class also defines `__call__`, so a subclass that changes the step is scanned.

    >>> import jax, jax.numpy as jnp
    >>> from linnet.layers_recurrent.linen import RNN
    >>> class Sum(RNNCellBase):
    ...     def __call__(self, carry, x):
    ...         return carry + x, carry + x
    ...
    ...     @nowrap
    ...     def initialize_carry(self, rng, input_shape):
    ...         return jnp.zeros(input_shape)
    ...
    ...     @property
    ...     def num_feature_axes(self):
    ...         return 1
    >>> RNN(Sum()).apply({}, jnp.array([[[1.0], [2.0], [3.0]]]))[0, :, 0]
    Array([1., 3., 6.], dtype=float32)
    """

    @nowrap
    def initialize_carry(self, rng: Array, input_shape: tuple[int, ...]) -> Carry:
        """Makes the carry before the first step.

        Args:
          rng: random key for the initializers.
          input_shape: the shape of one step's inputs.

        Returns:
          The carry.
        """
        raise NotImplementedError(_missing(self, "initialize_carry(rng, input_shape)"))

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
