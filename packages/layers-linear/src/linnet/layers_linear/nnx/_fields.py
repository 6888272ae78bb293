"""Parts shared by the layers' constructors and calls."""

from __future__ import annotations

from typing import Any

from linnet.layers_linear.functional._batch import channels_first
from linnet.module_core.errors import ShapeError, counted
from linnet.module_core.layers import shape_of, vector_features


def require_features(
    inputs: object, expected: int, name: str = "in_features", *, rank: int | None = None
) -> None:
    """Checks that the inputs' last dimension has the size that the layer expects.

    Args:
      inputs: the layer's inputs.
      expected: the number of features that they must have.
      name: the name of the layer's argument that sets this number.
      rank: the rank of the window that the layer moves over its inputs, if it has one.

    Raises:
      ShapeError: it has a different size.
    """
    shape = shape_of(inputs)
    got = vector_features(shape)
    if got != expected:
        raise ShapeError(
            f"inputs have shape {shape}, expected {counted(expected, 'feature')} in the last"
            f" dimension, got {got}.",
            hint=(None if rank is None else channels_first(shape, rank, expected))
            or f"The layer was made with {name}={expected}.",
        )


def as_tuple(value: object) -> Any:
    """Converts a list, and the lists in it, to tuples, so that callers can't mutate the layer's."""
    if isinstance(value, list | tuple):
        return tuple(as_tuple(v) for v in value)
    return value
