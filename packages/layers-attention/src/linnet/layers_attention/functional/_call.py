"""A call of attention with checked arguments, which every implementation takes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from linnet.module_core.dtypes import promote_dtype
from linnet.module_core.layers import Array, DTypeLike, as_array

from ._checks import Sizes, check_broadcast, sizes_of
from ._dropout import WeightDropout, weight_dropout
from ._products import Products
from .masks import Visible

OnWeights = Callable[[Array], Any]


class Call(NamedTuple):
    """The arguments of an attention call.

    Attributes:
      query: [*B, Q, H, D].
      key: [*B, K, H/G, D].
      value: [*B, K, H/G, E]; None if only the weights are requested.
      bias: broadcasts to [*B, H, Q, K], or None.
      visible: which keys a query sees.
      dropout: dropout of the weights, or None.
      products: how the matrix products are computed.
      float32_softmax: computes the softmax of narrower types in float32, and doesn't cast it back.
      on_weights: called with the weights before dropout.
      sizes: the sizes that follow from the shapes.
    """

    query: Array
    key: Array
    value: Array | None
    bias: Array | None
    visible: Visible
    dropout: WeightDropout | None
    products: Products
    float32_softmax: bool
    on_weights: OnWeights | None
    sizes: Sizes


def checked_call(
    query: Array,
    key: Array,
    value: Array | None,
    bias: object,
    mask: object,
    *,
    broadcast_dropout: bool,
    dropout_rng: object,
    dropout_rate: float,
    deterministic: bool,
    dtype: DTypeLike | None,
    products: Products,
    float32_softmax: bool,
    on_weights: OnWeights | None,
    is_causal: bool,
    query_offset: int | Array,
) -> Call:
    """Checks every argument and returns the call; `value` is None if only weights are needed.

    Raises:
      ShapeError: query, key, value, bias and mask don't fit each other.
      ArgumentError: the rate is outside [0, 1].
      ArgumentTypeError: an argument isn't an array.
      InvalidRngError: a key for dropout is missing.
    """
    query, key = as_array(query, "query"), as_array(key, "key")
    value = None if value is None else as_array(value, "value")
    mask = None if mask is None else as_array(mask, "mask")
    bias = None if bias is None else as_array(bias, "bias")
    query, key, value = promote_dtype(query, key, value, dtype=dtype)
    sizes = sizes_of(query.shape, key.shape, None if value is None else value.shape)
    for name, array in (("mask", mask), ("bias", bias)):
        if array is not None:
            check_broadcast(array, sizes, name)
    return Call(
        query,
        key,
        value,
        bias,
        Visible(mask, is_causal, query_offset),
        weight_dropout(dropout_rng, dropout_rate, broadcast_dropout, deterministic),
        products,
        float32_softmax,
        on_weights,
        sizes,
    )
