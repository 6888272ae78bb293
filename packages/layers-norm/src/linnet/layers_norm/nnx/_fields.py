"""Parts shared by the norms' constructors."""

from __future__ import annotations

from linnet.initializers import Initializer
from linnet.module_core.layers import Array, DTypeLike, Metadata, Shape
from linnet.module_core.layers.nnx import new_param
from linnet.module_core.nnx import Param, Rngs


def affine_param(
    layer: object,
    use: bool,
    init: Initializer,
    shape: Shape,
    param_dtype: DTypeLike,
    rngs: Rngs,
    metadata: Metadata,
) -> Param[Array] | None:
    """Makes the scale or bias of a layer; if it has none, returns None and draws no key."""
    return new_param(layer, init, shape, param_dtype, rngs, metadata) if use else None
