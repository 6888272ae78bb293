"""Attention over any dimensions, as functions of a scope."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from linnet import linen
from linnet.linen import initializers as initializers
from linnet.linen.initializers import Initializer
from linnet.module_core import errors
from linnet.module_core.linen import Scope
from linnet.module_core.typing import PrecisionLike
from linnet.struct import PyTreeNode

from .linear import dense_general as dense_general

default_kernel_init, _bias_init = initializers.lecun_normal(), initializers.zeros


def dot_product_attention(
    scope: Scope,
    query: jax.Array,
    key: jax.Array,
    value: jax.Array,
    dtype: DTypeLike = jnp.float32,
    bias: jax.Array | None = None,
    axis: int | Sequence[int] | None = None,
    broadcast_dropout: bool = True,
    dropout_rng: jax.Array | None = None,
    dropout_rate: float = 0.0,
    deterministic: bool = False,
    precision: PrecisionLike = None,
) -> jax.Array:
    """Attention (Vaswani et al. 2017, arXiv:1706.03762) along any dimensions.

    Args:
      scope: provides a key from the stream "dropout".
      query: [batch, *dimensions, heads, depth].
      key, value: the same, but the sizes along `axis` may differ.
      dtype: the dtype of the attention weights.
      bias: added to the weights before the softmax: [batch, *others, heads, *queries, *keys].
      axis: the dimensions to attend along, by default all between the batch and the heads.
      broadcast_dropout: uses the same dropout for all batches and heads.
      dropout_rng: a key to use instead of the scope's.
      dropout_rate: the probability that a weight is dropped.
      deterministic: no dropout.
      precision: see `jax.lax.Precision`.

    Returns:
      [batch, *dimensions of the query, heads, depth].

    Raises:
      ValueError: an axis is the batch axis or one of the last two; or the shapes don't fit.
    """
    axes = _attended(axis, query.ndim)
    others = [i for i in range(query.ndim - 2) if i not in axes]
    order = (*others, *axes, query.ndim - 2, query.ndim - 1)

    def flat(x: jax.Array) -> jax.Array:
        x = jnp.transpose(x, order)
        n = len(others)
        return x.reshape(*x.shape[:n], -1, *x.shape[-2:])  # [*others, length, heads, depth]

    if bias is not None:
        n = len(axes)
        lengths = [query.shape[i] for i in axes] + [key.shape[i] for i in axes]
        bias = jnp.broadcast_to(bias, (*bias.shape[: -2 * n], *lengths))
        flattened = (math.prod(lengths[:n]), math.prod(lengths[n:]))
        bias = bias.reshape(*bias.shape[: -2 * n], *flattened)
    if dropout_rate and not deterministic and dropout_rng is None:
        dropout_rng = scope.make_rng("dropout")
    out = linen.dot_product_attention(
        flat(query),
        flat(key),
        flat(value).astype(jnp.result_type(value, dtype)),
        bias,
        broadcast_dropout=broadcast_dropout,
        dropout_rng=dropout_rng,
        dropout_rate=dropout_rate,
        deterministic=deterministic,
        precision=precision,
    )
    sizes = [query.shape[i] for i in (*others, *axes)]
    back = sorted(range(query.ndim), key=lambda i: order[i])
    return jnp.transpose(out.reshape(*sizes, *out.shape[-2:]), back)


def _attended(axis: int | Sequence[int] | None, ndim: int) -> tuple[int, ...]:
    if axis is None:
        return tuple(range(1, ndim - 2))
    axes = (axis,) if isinstance(axis, int) else tuple(axis)
    if any(not 1 <= i < ndim - 2 for i in axes):
        raise errors.ArgumentError(
            f"Attention along axis={axes} of {errors.counted(ndim, 'dimension')}: an axis must"
            " lie between the first dimension, the batch, and the last two, heads and depth.",
        )
    return axes


class CacheEntry(PyTreeNode):
    """The keys and values of the steps so far.

    Args:
      key, value: [batch, *dimensions, heads, depth].
      i: the number of steps, a scalar.
    """

    key: jax.Array
    value: jax.Array
    i: jax.Array


def multi_head_dot_product_attention(
    scope: Scope,
    inputs_q: jax.Array,
    inputs_kv: jax.Array | None,
    num_heads: int,
    dtype: DTypeLike = jnp.float32,
    qkv_features: int | None = None,
    out_features: int | None = None,
    attention_axis: int | Sequence[int] | None = None,
    causal_mask: bool = False,
    padding_mask: jax.Array | None = None,
    key_padding_mask: jax.Array | None = None,
    segmentation: jax.Array | None = None,
    key_segmentation: jax.Array | None = None,
    cache: bool = False,
    broadcast_dropout: bool = True,
    dropout_rng: jax.Array | None = None,
    dropout_rate: float = 0.0,
    deterministic: bool = False,
    precision: PrecisionLike = None,
    kernel_init: Initializer = default_kernel_init,
    bias_init: Initializer = _bias_init,
    bias: bool = True,
    attention_fn: Callable[..., Any] = dot_product_attention,
) -> jax.Array:
    """Multi-head attention (Vaswani et al. 2017, arXiv:1706.03762) along any dimensions.

    Args:
      scope: gets the scopes "query", "key", "value" and "out", each with "kernel" and "bias".
      inputs_q: [batch, *dimensions, features].
      inputs_kv: the same, but the sizes along the attention axes may differ; None for
        self-attention.
      num_heads: the number of heads; divides `qkv_features`.
      dtype: the computation dtype.
      qkv_features, out_features: the features of all heads, and of the output; by default those of
        the input.
      attention_axis: the dimensions to attend along, by default all between batch and features.
      causal_mask: each position attends to itself and those before it.
      padding_mask, key_padding_mask: [batch, *attention dimensions, 1], False for padding in the
        queries and the keys; by default, the keys have the mask of the queries.
      segmentation, key_segmentation: [batch, *attention dimensions, 1]; positions attend only to
        those with the same number.
      cache: attends to the keys and values of earlier calls. When "entry" is created in the
        collection "cache", it is a function that takes a shape [batch, *attention dimensions] and
        returns an empty `CacheEntry` to put in its place.
      broadcast_dropout, dropout_rng, dropout_rate, deterministic: as in `dot_product_attention`.
      precision: see `jax.lax.Precision`.
      kernel_init, bias_init: initializers of the four maps.
      bias: adds biases.
      attention_fn: called with scope, query, key, value and the options.

    Returns:
      [batch, *dimensions, out_features].

    Raises:
      ValueError: the features can't be divided among the heads; masks without the axes that they
        need; a cache that has not been made, or is full.
    """
    if cache and not causal_mask:
        raise errors.ArgumentError(
            "A cache holds earlier positions, so it is for causal attention only.",
            hint="Pass causal_mask=True.",
        )
    inputs_kv = inputs_q if inputs_kv is None else inputs_kv
    features = qkv_features or inputs_q.shape[-1]
    axes = _attended(attention_axis, inputs_q.ndim + 1)
    if features % num_heads:
        raise errors.ArgumentError(
            f"{errors.counted(features, 'feature')} can't be divided among"
            f" {errors.counted(num_heads, 'head')}.",
            hint="Choose qkv_features as a multiple of num_heads.",
        )
    depth = features // num_heads

    def heads(name: str, x: jax.Array) -> jax.Array:
        return scope.child(dense_general, name)(
            x,
            (num_heads, depth),
            axis=-1,
            bias=bias,
            dtype=dtype,
            kernel_init=kernel_init,
            bias_init=bias_init,
            precision=precision,
        )

    query, key, value = heads("query", inputs_q), heads("key", inputs_kv), heads("value", inputs_kv)
    allowed: list[jax.Array] = []
    if cache:
        if not scope.has_variable("cache", "entry"):
            scope.put_variable("cache", "entry", _empty_cache(num_heads, depth))
        else:
            key, value, seen = _with_cache(scope, key, value)
            allowed.append(seen.reshape((1,) * (1 + len(axes)) + seen.shape))
            causal_mask = False
    if causal_mask:
        allowed.append(_make_causal_mask(key, axes))
    if padding_mask is not None:
        keys = padding_mask if key_padding_mask is None else key_padding_mask
        allowed.append(make_padding_mask(padding_mask, keys, query.shape, key.shape, axes) > 0)
    if segmentation is not None:
        keys = segmentation if key_segmentation is None else key_segmentation
        same = make_padding_mask(segmentation, keys, query.shape, key.shape, axes, True)
        allowed.append(same > 0)
    mask_bias = None
    if allowed:
        allow = allowed[0]
        for other in allowed[1:]:
            allow = jnp.logical_and(allow, other)
        mask_bias = jnp.where(allow, 0.0, -1e10).astype(dtype)
    out = scope.child(attention_fn)(
        query,
        key,
        value,
        dtype=dtype,
        bias=mask_bias,
        axis=axes,
        broadcast_dropout=broadcast_dropout,
        dropout_rng=dropout_rng,
        dropout_rate=dropout_rate,
        deterministic=deterministic,
        precision=precision,
    )
    return scope.child(dense_general, "out")(
        out,
        out_features or inputs_q.shape[-1],
        axis=(-2, -1),
        bias=bias,
        dtype=dtype,
        kernel_init=kernel_init,
        bias_init=bias_init,
        precision=precision,
    )


def _empty_cache(num_heads: int, depth: int) -> Callable[..., CacheEntry]:
    def make(shape: Sequence[int], dtype: DTypeLike = jnp.float32) -> CacheEntry:
        full = (*shape, num_heads, depth)
        return CacheEntry(
            key=jnp.zeros(full, dtype), value=jnp.zeros(full, dtype), i=jnp.zeros((), jnp.uint32)
        )

    return make


def _with_cache(
    scope: Scope, key: jax.Array, value: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Keys and values of all steps, this one included, and which steps have been taken."""
    entry = scope.get_variable("cache", "entry")
    if not isinstance(entry, CacheEntry):
        raise errors.ArgumentError(
            "The cache is not initialized.",
            hint="init leaves a function at cache/entry: call it with (batch, *attention "
            "dimensions), and pass what it returns in its place.",
        )
    dimensions = entry.key.shape[1:-2]
    if any(n != 1 for n in key.shape[1:-2]):
        raise errors.ShapeError(
            f"With a cache, each call has one position; got the dimensions {key.shape[1:-2]}.",
        )
    at: list[Any] = [0, *jnp.unravel_index(entry.i.astype(int), dimensions), 0, 0]
    keys = jax.lax.dynamic_update_slice(entry.key, key.astype(entry.key.dtype), at)
    values = jax.lax.dynamic_update_slice(entry.value, value.astype(entry.value.dtype), at)
    scope.put_variable("cache", "entry", entry.replace(key=keys, value=values, i=entry.i + 1))
    seen = jnp.arange(math.prod(dimensions)).reshape(dimensions) <= entry.i
    ones = (1,) * len(dimensions)
    return keys, values, seen.reshape(*ones, *dimensions)


def _make_causal_mask(
    key: jax.Array, attention_axis: int | Sequence[int] | None = None, self_mask: bool = False
) -> jax.Array:
    """Which positions come before which, in row-major order: [1, ..., *queries, *keys], bool.

    With `self_mask`, a position doesn't come before itself.
    """
    axes = _attended(attention_axis, key.ndim)
    sizes = tuple(key.shape[i] for i in axes)
    length = math.prod(sizes)
    mask = jnp.tril(jnp.ones((length, length), bool), k=-1 if self_mask else 0)
    ones = (1,) * (key.ndim - len(axes) - 1)
    return mask.reshape(*ones, *sizes, *sizes)


def make_padding_mask(
    padding_mask_query: jax.Array,
    padding_mask_key: jax.Array,
    query_shape: Sequence[int],
    key_shape: Sequence[int],
    attention_axis: int | Sequence[int] | None = None,
    segmentation_mask: bool = False,
) -> jax.Array:
    """Which positions of the queries may attend to which of the keys.

    Args:
      padding_mask_query, padding_mask_key: [batch, *attention dimensions, 1]; True for a position
        that is not padding; with `segmentation_mask`, the number of its segment.
      query_shape, key_shape: [batch, *dimensions, heads, depth].
      attention_axis: the dimensions attended along, by default all between batch and heads.
      segmentation_mask: allows attention only within a segment.

    Returns:
      [batch, 1, ..., *queries, *keys], float32: 1 where attention is allowed.
    """
    axes = _attended(attention_axis, len(query_shape))
    queries = tuple(query_shape[i] for i in axes)
    keys = tuple(key_shape[i] for i in axes)
    batch, n = query_shape[0], len(axes)
    q = jnp.asarray(padding_mask_query).reshape(batch, *queries, *(1,) * n)
    k = jnp.asarray(padding_mask_key).reshape(batch, *(1,) * n, *keys)
    mask = q == k if segmentation_mask else jnp.logical_and(q > 0, k > 0)
    ones = (1,) * (len(query_shape) - n - 2)
    return mask.reshape(batch, *ones, *queries, *keys).astype(jnp.float32)
