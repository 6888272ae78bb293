"""Makes and unpacks the carries of cells, for both styles."""

from __future__ import annotations

from linnet.initializers import Initializer
from linnet.layers_recurrent.functional._checks import entries_of
from linnet.module_core.errors import ArgumentError, ShapeError
from linnet.module_core.layers import Array, integer


def initial_state(
    rng: Array, shape: tuple[int, ...], features: int, init: Initializer, dtype: object
) -> Array:
    """An array of the input's `shape`, except for the number of features.

    Raises:
      ArgumentError: the input is a scalar.
    """
    if not shape:
        raise ArgumentError("input_shape must have at least one dimension (the features), got ().")
    state: Array = init(rng, (*shape[:-1], integer(features, "features", least=1)), dtype)
    return state


def state_of(carry: object, names: tuple[str, ...], features: int) -> tuple[Array, ...]:
    """The entries of a carry, each of `features` features.

    Raises:
      ArgumentTypeError: the carry has a different structure.
      ShapeError: an entry has a different number of features.
    """
    entries = entries_of(carry, names)
    integer(features, "features", least=1)
    for name, entry in zip(names, entries, strict=True):
        if entry.shape[-1:] != (features,):
            raise ShapeError(
                f"'{name}' of the carry has shape {entry.shape}, expected (..., {features}) for "
                f"features={features}.",
                hint="The cell's `initialize_carry` makes a carry that fits.",
            )
    return entries


def carried_of(
    carry: object, names: tuple[str, ...], features: int
) -> tuple[tuple[Array, ...], int]:
    """The entries of a carry, and their number of features.

    A cell that declares its parameters for its inputs also takes the size of its state from the
    carry; `features` is the size that `initialize_carry` makes.

    Raises:
      ArgumentTypeError: the carry has a different structure.
      ShapeError: entries differ in features, or an entry has a single feature instead of several,
        which would broadcast.
    """
    entries = entries_of(carry, names)
    integer(features, "features", least=1)
    sizes = {entry.shape[-1] if entry.shape else None for entry in entries}
    if len(sizes) > 1 or sizes <= {None, 1}:
        return state_of(carry, names, features), features
    (size,) = sizes
    return entries, integer(size, "features of the carry", least=1)
