"""The two matrix products of attention, in the form that overriding functions expect.

B batch, Q queries, K keys, H heads, G query heads that share a key head, D depth of queries and
keys, E depth of values.

Heads that share a key head act as additional queries for it: with their G·Q queries side by side, a
product over groups becomes a product over H/G plain heads.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import lax

from linnet.module_core.errors import ArgumentError
from linnet.module_core.layers import Array, DotGeneral, EinsumOp, PrecisionLike
from linnet.module_core.layout import DotDimensions, dot_layout
from linnet.module_core.replaced import einsum_is_replaced

LOGITS = "...qhd,...khd->...hqk"
VALUES = "...hqk,...khd->...qhd"


class Products(NamedTuple):
    """How to compute the products; custom einsums exclude `precision` and `dot_general`."""

    precision: PrecisionLike = None
    dot_general: DotGeneral | None = None
    logits_einsum: EinsumOp | None = None
    values_einsum: EinsumOp | None = None

    @property
    def overridden(self) -> bool:
        """Whether the caller's own functions compute them."""
        return (self.dot_general or self.logits_einsum or self.values_einsum) is not None

    def logits(self, query: Array, key: Array) -> Array:
        """[*B, H, Q, K] from [*B, Q, H, D] and [*B, K, H/G, D]."""
        *batch, queries, heads, _ = query.shape
        query = _groups_to_queries(query, key.shape[-2])  # [*B, G·Q, H/G, D]
        if self.logits_einsum is not None:
            logits = self.logits_einsum(LOGITS, query, key)
        else:
            n = len(batch)
            shared = (*range(n), n + 1)
            dimensions = (((n + 2,), (n + 2,)), (shared, shared))
            logits = (self.dot_general or lax.dot_general)(
                query,
                key,
                dimensions,
                self.precision,
                preferred_element_type=query.dtype,
                **self._laid_out(query, key, dimensions),
            )  # [*B, H/G, G·Q, K]
        if heads == key.shape[-2]:
            return logits
        return lax.reshape(logits, (*batch, heads, queries, key.shape[-3]))

    def values(self, weights: Array, value: Array) -> Array:
        """[*B, Q, H, E] from [*B, H, Q, K] and [*B, K, H/G, E]."""
        *batch, heads, queries, keys = weights.shape
        key_heads = value.shape[-2]
        if heads != key_heads:
            rows = heads // key_heads * queries
            weights = lax.reshape(weights, (*batch, key_heads, rows, keys))
        if self.values_einsum is not None:
            output = self.values_einsum(VALUES, weights, value)  # [*B, G·Q, H/G, E]
        elif tuple(batch) != value.shape[:-3] and self.dot_general is None:
            # A mask or bias added batch dimensions that the value lacks.
            output = jnp.einsum(VALUES, weights, value, precision=self.precision)
        else:
            value = jnp.broadcast_to(value, (*batch, *value.shape[-3:]))
            output = self._values(weights, value)
        return _queries_to_groups(output, queries)

    def _laid_out(self, a: Array, b: Array, dimensions: DotDimensions) -> dict[str, Any]:
        """The sharding of the product of `a` and `b`, as a keyword argument if JAX requires it."""
        if self.dot_general is not None:
            return {}
        layout = dot_layout(a, b, dimensions)
        return {} if layout is None else {"out_sharding": layout}

    def _values(self, weights: Array, value: Array) -> Array:
        n = value.ndim - 3
        batch = tuple(range(n))
        dimensions = (((n,), (n + 2,)), ((*batch, n + 1), (*batch, n)))
        products = (self.dot_general or lax.dot_general)(
            value,
            weights,
            dimensions,
            self.precision,
            preferred_element_type=jnp.promote_types(value.dtype, weights.dtype),
            **self._laid_out(value, weights, dimensions),
        )  # [*B, H, E, Q]
        return lax.transpose(products, (*batch, n + 2, n, n + 1))  # [*B, Q, H, E]


def products(
    precision: PrecisionLike,
    dot_general: DotGeneral | None,
    logits_einsum: EinsumOp | None,
    values_einsum: EinsumOp | None,
) -> Products:
    """Checks that the overrides are compatible, and returns the products.

    Raises:
      ArgumentError: one einsum is given without the other, or with options that they ignore.
    """
    if (logits_einsum is None) != (values_einsum is None):
        raise ArgumentError(
            "Only one of qk_attn_weights_einsum and attn_weights_value_einsum was given.",
            hint="Pass jax.numpy.einsum for the one that should not change.",
        )
    if logits_einsum is not None and (precision is not None or dot_general is not None):
        raise ArgumentError(
            "The two einsums replace the products, so nothing would use "
            f"precision={precision!r} and einsum_dot_general={dot_general!r}.",
            hint=(
                "Pass the precision to the einsums, e.g. functools.partial(jax.numpy.einsum, "
                "precision=...)."
            ),
        )
    if logits_einsum is None and dot_general is None and einsum_is_replaced():
        # A quantizer or profiler that replaced `jnp.einsum` expects attention to call it.
        logits_einsum = values_einsum = partial(jnp.einsum, precision=precision)
    return Products(precision, dot_general, logits_einsum, values_einsum)


def _groups_to_queries(query: Array, key_heads: int) -> Array:
    """[*B, Q, H, D] as [*B, G·Q, H/G, D]."""
    *batch, queries, heads, depth = query.shape
    if heads == key_heads:
        return query
    groups, n = heads // key_heads, len(batch)
    query = lax.reshape(query, (*batch, queries, key_heads, groups, depth))
    query = lax.transpose(query, (*range(n), n + 2, n, n + 1, n + 3))  # [*B, G, Q, H/G, D]
    return lax.reshape(query, (*batch, groups * queries, key_heads, depth))


def _queries_to_groups(output: Array, queries: int) -> Array:
    """[*B, G·Q, H/G, E] as [*B, Q, H, E]."""
    *batch, rows, key_heads, depth = output.shape
    if rows == queries:
        return output
    groups, n = rows // queries, len(batch)
    output = lax.reshape(output, (*batch, groups, queries, key_heads, depth))
    output = lax.transpose(output, (*range(n), n + 1, n + 2, n, n + 3))  # [*B, Q, H/G, G, E]
    return lax.reshape(output, (*batch, queries, groups * key_heads, depth))
