"""What the constructors and calls of the layers share."""

from __future__ import annotations

from typing import Any

from linnet.layers_linear.functional._batch import channels_first
from linnet.module_core.errors import ShapeError
from linnet.module_core.layers import shape_of, vector_features


def require_features(
    inputs: object, expected: int, name: str = "in_features", *, rank: int | None = None
) -> None:
    """Checks that the inputs' last dimension has the size that a layer was made for.

    Args:
      inputs: of the layer.
      expected: how many features they are to have.
      name: of the layer's argument that says so.
      rank: of the window that the layer moves over its inputs, if it does.

    Raises:
      ShapeError: it is another.
    """
    shape = shape_of(inputs)
    got = vector_features(shape)
    if got != expected:
        raise ShapeError(
            f"inputs have shape {shape}, expected {expected} features in the last dimension, got"
            f" {got}.",
            hint=(None if rank is None else channels_first(shape, rank, expected))
            or f"The layer was made with {name}={expected}.",
        )


def as_tuple(value: object) -> Any:
    """A list as a tuple, lists in it as well: what a layer keeps isn't edited behind its back."""
    if isinstance(value, list | tuple):
        return tuple(as_tuple(v) for v in value)
    return value
