"""Biases that depend on the distance between a key and a query, computed block by block.

A function of the distance d (position of the key minus that of the query) returns a number for each
head. Attention evaluates it where it needs it, so that no array of queries times keys is kept:

    ALiBi (Press et al. 2021, arXiv:2108.12409):    -slope · |d|
    buckets (Raffel et al. 2019, arXiv:1910.10683):  table[bucket(d)]

Where queries and keys are consecutive, a block of q x k logits has only q + k - 1 distances;
`skewed` lays them out along its diagonals.

B batch (any number of dimensions), H heads, Q queries, K keys.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from linnet.module_core.errors import ArgumentError, ArgumentTypeError, ShapeError
from linnet.module_core.layers import Array, DTypeLike, as_array, integer

DistanceBias: TypeAlias = Callable[[Array], Array]
"""A function of distances, int32 [...], that returns [H, ...], or [1, ...] if heads share it."""


@dataclasses.dataclass(frozen=True)
class ALiBi:
    """A penalty proportional to the distance (Press et al. 2021, arXiv:2108.12409).

    Pass it as `bias` to an attention function or layer.

    Attributes:
      slopes: [H], the penalty of each head for a distance of one; `alibi` makes the usual ones.

    >>> import jax.numpy as jnp
    >>> ALiBi(jnp.array([0.5, 0.25]))(jnp.array([-2, 0, 1]))
    Array([[-1.  , -0.  , -0.5 ],
           [-0.5 , -0.  , -0.25]], dtype=float32)
    """

    slopes: Array

    def __call__(self, distances: Array) -> Array:
        """The bias of each head at each distance: [H, ...] from [...]."""
        slopes = jnp.asarray(self.slopes)
        length = jnp.abs(distances).astype(slopes.dtype)
        return -slopes.reshape(slopes.shape + (1,) * length.ndim) * length


def alibi(num_heads: int, dtype: DTypeLike = jnp.float32) -> ALiBi:
    """`ALiBi` with the slopes of the paper: 2^(-8/H), 2^(-16/H), …, 2^-8.

    If H is not a power of two, the slopes for the next lower power P come first, and then every
    second slope for 2P.

    Args:
      num_heads: H, the number of query heads.
      dtype: dtype of the slopes.

    Raises:
      ArgumentTypeError, ArgumentError: `num_heads` is not an integer of at least 1.

    >>> alibi(4).slopes
    Array([0.25      , 0.0625    , 0.015625  , 0.00390625], dtype=float32)
    """
    heads = integer(num_heads, "num_heads", least=1)
    power = 2 ** int(math.log2(heads))

    def slopes(n: int) -> np.ndarray[Any, Any]:
        return 2.0 ** (-8.0 * np.arange(1, n + 1) / n)

    chosen = np.concatenate([slopes(power), slopes(2 * power)[::2][: heads - power]])
    return ALiBi(jnp.asarray(chosen, dtype))


@dataclasses.dataclass(frozen=True)
class RelativeBuckets:
    """A learned number for each bucket of distances (Raffel et al. 2019, arXiv:1910.10683).

    Pass it as `bias` to an attention function or layer; its gradient reaches the table. The module
    `RelativePositionBias` owns a table.

    Attributes:
      table: [buckets, H].
      bidirectional: half of the buckets are for keys after the query; otherwise all such keys are
        in bucket 0, together with the query's own position.
      max_distance: keys at this distance or farther share the last bucket.

    Raises:
      ShapeError: the table doesn't have two dimensions.
      ArgumentError: there are too few buckets, or `max_distance` is too small for them.

    >>> import jax.numpy as jnp
    >>> table = jnp.arange(32.0)[:, None]
    >>> RelativeBuckets(table, bidirectional=False)(jnp.array([3, 0, -1, -15, -16, -20, -500]))
    Array([[ 0.,  0.,  1., 15., 16., 17., 31.]], dtype=float32)
    """

    table: Array
    bidirectional: bool = True
    max_distance: int = 128

    def __post_init__(self) -> None:
        shape = getattr(self.table, "shape", None)
        if not isinstance(shape, tuple):
            return  # jax rebuilds the tree with leaves that aren't arrays
        if len(shape) != 2:
            raise ShapeError(f"table must have the shape (buckets, heads), got {shape}.")
        integer(self.max_distance, "max_distance", least=1)
        check_buckets(shape[0], self.bidirectional, self.max_distance)

    def __call__(self, distances: Array) -> Array:
        """The bias of each head at each distance: [H, ...] from [...]."""
        table = jnp.asarray(self.table)
        longest = self.max_distance
        every = np.arange(-longest, longest + 1)
        buckets = bucket_of(every, table.shape[0], self.bidirectional, longest)
        by_distance = table.T[:, buckets]  # [H, 2·max_distance + 1]
        return jnp.take(by_distance, jnp.clip(distances, -longest, longest) + longest, axis=1)


def bucket_of(
    distances: np.ndarray[Any, Any], buckets: int, bidirectional: bool, max_distance: int
) -> np.ndarray[Any, Any]:
    """The bucket of each distance: half of the buckets hold one distance each, the rest more."""
    first: np.ndarray[Any, Any] = np.zeros_like(distances)
    if bidirectional:
        buckets //= 2
        first = np.where(distances > 0, buckets, 0)
        distances = np.abs(distances)
    else:
        distances = np.maximum(-distances, 0)
    single = buckets // 2
    share = np.log(np.maximum(distances, single) / single) / np.log(max_distance / single)
    # A distance on the border of two buckets must not depend on the rounding of its logarithm.
    further = single + np.floor(share * (buckets - single) + 1e-9).astype(int)
    return np.asarray(
        first + np.where(distances < single, distances, np.minimum(further, buckets - 1))
    )


def check_buckets(buckets: int, bidirectional: bool, max_distance: int) -> None:
    """Checks that there are distances for all buckets.

    Raises:
      ArgumentError: there are too few distances.
    """
    least = 4 if bidirectional else 2
    if buckets < least or (bidirectional and buckets % 2):
        raise ArgumentError(
            f"num_buckets={buckets} must be at least {least}"
            + (" and even." if bidirectional else "."),
            hint="Half of the buckets of a direction hold one distance each, the others a range.",
        )
    single = buckets // (4 if bidirectional else 2)
    if max_distance <= single:
        raise ArgumentError(
            f"max_distance={max_distance} must be larger than {single}, the number of distances "
            f"that have a bucket of their own with num_buckets={buckets}.",
            hint="Use fewer buckets or a larger max_distance, such as 128.",
        )


jax.tree_util.register_dataclass(ALiBi, data_fields=["slopes"], meta_fields=[])
jax.tree_util.register_dataclass(
    RelativeBuckets, data_fields=["table"], meta_fields=["bidirectional", "max_distance"]
)


def as_function(bias: Any) -> jax.tree_util.Partial:
    """A function of distances as a pytree whose leaves are arrays."""
    leaves = jax.tree.leaves(bias)
    if all(isinstance(x, (jax.Array, np.ndarray, int, float)) for x in leaves):
        tree = jax.tree.structure(bias)
        return _partial(_Unflattened(tree), *map(jnp.asarray, leaves))
    return _partial(bias)


def _partial(function: Callable[..., Any], *leaves: Array) -> jax.tree_util.Partial:
    return jax.tree_util.Partial(function, *leaves)  # type: ignore[no-untyped-call]


@dataclasses.dataclass(frozen=True)
class _Unflattened:
    """Calls the function that consists of the given leaves."""

    tree: Any

    def __call__(self, *leaves_and_distances: Any) -> Any:
        *leaves, distances = leaves_and_distances
        return jax.tree.unflatten(self.tree, leaves)(distances)


def of_distances(function: DistanceBias, distances: Array, heads: int) -> Array:
    """The function's result, checked: [H or 1, ...].

    Raises:
      ArgumentTypeError: it is not an array.
      ShapeError: it has a different shape.
    """
    result = as_array(function(distances), "bias")
    expected = (heads, *distances.shape)
    if result.shape not in (expected, (1, *distances.shape)):
        raise ShapeError(
            f"The bias is a function of distances of shape {distances.shape}; it must return shape "
            f"{expected}, with the heads first, got {result.shape}."
        )
    if not jnp.issubdtype(result.dtype, jnp.floating):
        raise ArgumentTypeError(
            f"The bias must be a function that returns floating-point numbers, got {result.dtype}."
        )
    return result


def everywhere(function: DistanceBias, queries: Array, keys: Array, heads: int) -> Array:
    """The bias between positions: [*B, H or 1, Q, K] from [*B, Q] and [*B, K]."""
    distances = lax.expand_dims(keys, (keys.ndim - 1,)) - lax.expand_dims(queries, (queries.ndim,))
    return jnp.moveaxis(of_distances(function, distances, heads), 0, -3)


def in_a_row(function: DistanceBias, first: int | Array, q: int, k: int, heads: int) -> Array:
    """The bias of q consecutive queries and k consecutive keys: [H or 1, q, k].

    Args:
      function: the bias.
      first: the distance from the first query to the first key.
      q, k: the numbers of queries and keys.
      heads: H.
    """
    distances = lax.iota(jnp.int32, q + k - 1) + (first - (q - 1))
    return skewed(of_distances(function, distances, heads), q, k)


def skewed(x: Array, q: int, k: int) -> Array:
    """[H, q, k] with `x[h, j - i + q - 1]` at i, j; from [H, q + k - 1].

    The row is repeated with one more element than is read from it, so each copy is shifted by one.
    This needs no gather, and its gradient is a sum instead of a scatter.
    """
    heads, width = x.shape[0], q + k - 1
    x = jnp.pad(x, ((0, 0), (0, 1)))
    x = jnp.broadcast_to(x[:, None], (heads, q, width + 1))
    x = lax.reshape(x, (heads, q * (width + 1)))[:, : q * width]
    return lax.reshape(x, (heads, q, width))[:, :, q - 1 :]
