"""What the constructors and calls of the layers share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, TypeAlias

from linnet.layers_norm._defaults import Initializer, default_bias_init, default_scale_init
from linnet.layers_norm.functional._checks import (
    as_array,
    check_momentum,
    feature_shape,
    integer,
    not_negative,
    positive_axes,
)
from linnet.layers_norm.functional._types import (
    Array,
    Axes,
    AxisIndexGroups,
    AxisName,
    DTypeLike,
    Shape,
)
from linnet.module_core.nnx import Param, Rngs
from linnet.module_core.nnx.layers import (
    names_layer,
    params_key,
    promote_dtype,
    put_value,
    value_of,
)

Features: TypeAlias = int | Sequence[int]
"""The number of features along each axis of the parameters."""

Metadata: TypeAlias = Mapping[str, Any]
"""Metadata of a parameter."""

PromoteDtype: TypeAlias = Callable[..., Any]
"""Casts a tuple of arrays to a common type: `promote_dtype((x, scale, bias), dtype=dtype)`."""

NO_METADATA: Metadata = MappingProxyType({})


def shape_of_features(num_features: Features) -> Shape:
    """The shape of scale and bias.

    Raises:
      ArgumentTypeError: `num_features` are not integers.
      ArgumentError: one is negative.
    """
    if isinstance(num_features, Sequence) and not isinstance(num_features, str):
        return tuple(integer(n, "num_features", least=0) for n in num_features)
    return (integer(num_features, "num_features", least=0),)


def affine_param(
    layer: object,
    use: bool,
    init: Initializer,
    shape: Shape,
    param_dtype: DTypeLike,
    rngs: Rngs,
    metadata: Metadata,
) -> Param[Array] | None:
    """Scale or bias of a layer under construction; or None, drawing no key."""
    if not use:
        return None
    return Param(init(params_key(rngs, layer), shape, param_dtype), **metadata)


__all__ = [
    "NO_METADATA",
    "Array",
    "Axes",
    "AxisIndexGroups",
    "AxisName",
    "DTypeLike",
    "Features",
    "Initializer",
    "Metadata",
    "PromoteDtype",
    "Rngs",
    "affine_param",
    "as_array",
    "check_momentum",
    "default_bias_init",
    "default_scale_init",
    "feature_shape",
    "integer",
    "names_layer",
    "not_negative",
    "params_key",
    "positive_axes",
    "promote_dtype",
    "put_value",
    "shape_of_features",
    "value_of",
]
