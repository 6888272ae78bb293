"""An attention call with checked arguments, which every implementation takes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from linnet.module_core.dtypes import promote_dtype
from linnet.module_core.errors import ArgumentError
from linnet.module_core.layers import Array, DTypeLike, as_array

from ._checks import Sizes, check_broadcast, sizes_of
from ._dropout import WeightDropout, weight_dropout
from ._limits import Window, scale_of, sinks_of, soft_cap_of, visible
from ._products import Products
from ._visible import Visible
from .position_bias import DistanceBias, as_function

OnWeights = Callable[[Array], Any]


class Call(NamedTuple):
    """The arguments of an attention call.

    Attributes:
      query: [*B, Q, H, D].
      key: [*B, K, H/G, D].
      value: [*B, K, H/G, E]; None if only the weights are requested.
      scale: factor of the products of queries and keys; None for 1/√D.
      soft_cap: bound of the scaled products, or None.
      bias: broadcasts to [*B, H, Q, K], or None.
      distance_bias: a bias as a function of distances, or None.
      sinks: [H], an additional logit of each head, which has no value; or None.
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
    scale: float | Array | None
    soft_cap: float | None
    bias: Array | None
    distance_bias: jax.tree_util.Partial | None
    sinks: Array | None
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
    bias: object | DistanceBias,
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
    key_positions: object = None,
    window: Window = None,
    segment_ids: object = None,
    key_segment_ids: object = None,
    scale: object = None,
    soft_cap: object = None,
    sinks: object = None,
) -> Call:
    """Checks every argument and returns the call; `value` is None if only weights are needed.

    Raises:
      ShapeError: query, key, value, bias, mask, segments, positions or sinks don't fit together.
      ArgumentError: the rate is outside [0, 1], or the window or cap is too small.
      ArgumentTypeError: an argument isn't an array.
      InvalidRngError: a key for dropout is missing.
    """
    query, key = as_array(query, "query"), as_array(key, "key")
    value = None if value is None else as_array(value, "value")
    mask = None if mask is None else as_array(mask, "mask")
    distance_bias = None
    if callable(bias):
        bias, distance_bias = None, as_function(bias)
    bias = None if bias is None else as_array(bias, "bias")
    query, key, value = promote_dtype(query, key, value, dtype=dtype)
    sizes = sizes_of(query.shape, key.shape, None if value is None else value.shape)
    for name, array in (("mask", mask), ("bias", bias)):
        if array is not None:
            check_broadcast(array, sizes, name)
    if jnp.issubdtype(query.dtype, jnp.complexfloating):
        real = {"soft_cap": soft_cap, "sinks": sinks, "a function as bias": distance_bias}
        for name, given in real.items():
            if given is not None:
                raise ArgumentError(
                    f"{name} needs real numbers, but query and key are {query.dtype}."
                )
    return Call(
        query,
        key,
        value,
        scale_of(scale),
        soft_cap_of(soft_cap),
        bias,
        distance_bias,
        sinks_of(sinks, sizes.heads),
        visible(
            sizes,
            mask,
            is_causal,
            query_offset,
            key_positions,
            window,
            segment_ids,
            key_segment_ids,
        ),
        weight_dropout(dropout_rng, dropout_rate, broadcast_dropout, deterministic),
        products,
        float32_softmax,
        on_weights,
        sizes,
    )
