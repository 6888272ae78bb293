"""What the constructors and calls of the layers share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, TypeAlias

from linnet.layers_linear._defaults import (
    Array,
    ConvGeneralDilated,
    DotGeneral,
    DTypeLike,
    Initializer,
    PaddingLike,
    PrecisionLike,
    Shape,
    default_bias_init,
    default_embed_init,
    default_kernel_init,
    integer,
    integers,
    shape_of,
    vector_features,
)
from linnet.layers_linear.functional._batch import channels_first
from linnet.layers_linear.functional._types import EinsumOp, OutSharding
from linnet.module_core import dtypes
from linnet.module_core.errors import ShapeError
from linnet.module_core.nnx import Param, Rngs, Variable
from linnet.module_core.nnx.layers import names_layer, params_key, promote_dtype, value_of

Metadata: TypeAlias = Mapping[str, Any]
"""What a parameter is to be told beside its value."""

PromoteDtype: TypeAlias = Callable[..., Any]
"""Casts a tuple of arrays to a common type: `promote_dtype((x, kernel, bias), dtype=dtype)`."""

NO_METADATA: Metadata = MappingProxyType({})


def new_param(
    layer: object,
    init: Initializer,
    shape: Shape,
    param_dtype: DTypeLike,
    rngs: Rngs,
    metadata: Metadata,
    kind: type[Variable[Any]] = Param,
) -> Any:
    """A parameter of a layer that is being made, from the next key of the stream 'params'."""
    return kind(init(params_key(rngs, layer), shape, param_dtype), **metadata)


def spread(promote: PromoteDtype) -> Callable[..., Sequence[Any]]:
    """`promote`, which takes one tuple, as `functional` calls it: with an argument for each."""
    if promote is promote_dtype:
        return dtypes.promote_dtype
    return lambda *args, **options: promote(args, **options)


def require_features(
    inputs: Any, expected: int, name: str = "in_features", *, rank: int | None = None
) -> None:
    """Refuses inputs whose last dimension isn't the size that a layer was made for.

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


def as_tuple(value: Any) -> Any:
    """A list as a tuple, lists in it as well: what a layer keeps isn't edited behind its back."""
    if isinstance(value, list | tuple):
        return tuple(as_tuple(v) for v in value)
    return value


__all__ = [
    "NO_METADATA",
    "Array",
    "ConvGeneralDilated",
    "DTypeLike",
    "DotGeneral",
    "EinsumOp",
    "Initializer",
    "Metadata",
    "OutSharding",
    "PaddingLike",
    "Param",
    "PrecisionLike",
    "PromoteDtype",
    "Rngs",
    "Shape",
    "Variable",
    "as_tuple",
    "default_bias_init",
    "default_embed_init",
    "default_kernel_init",
    "integer",
    "integers",
    "names_layer",
    "new_param",
    "promote_dtype",
    "require_features",
    "shape_of",
    "spread",
    "value_of",
]
