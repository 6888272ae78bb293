"""What nnx layers are made with, besides `linnet.module_core.nnx.Module`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from .. import dtypes
from ..nnx import Param, Rngs, Variable
from ..nnx.layers import dropout_key as dropout_key
from ..nnx.layers import names_layer as names_layer
from ..nnx.layers import params_key as params_key
from ..nnx.layers import promote_dtype as promote_dtype
from ..nnx.layers import put_value as put_value
from ..nnx.layers import value_of as value_of
from .types import DTypeLike, Metadata, PromoteDtype, Shape


class _Init(Protocol):
    def __call__(self, key: Any, shape: Shape, dtype: Any, /) -> Any: ...


def new_param(
    layer: object,
    init: _Init,
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
