"""Checks of a multi-head layer before its projections: heads, inputs, and new tokens.

B batch (any number of dimensions), Q queries, K keys, C features of an input.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from linnet.module_core.errors import ArgumentError, ShapeError
from linnet.module_core.layers import Array, as_array, integer, shape_of


class Heads(NamedTuple):
    """The division of features among heads.

    Attributes:
      queries: number of query heads.
      keys: number of key and value heads.
      depth: features of each head.
    """

    queries: int
    keys: int
    depth: int


def heads_of(
    num_heads: object, num_kv_heads: object, qkv_features: object, default_features: int
) -> Heads:
    """The numbers of query heads and of key and value heads, and the depth of each.

    Raises:
      ArgumentTypeError: a number is not an integer.
      ArgumentError: one doesn't divide the other.
    """
    heads = integer(num_heads, "num_heads", least=1)
    features = integer(qkv_features or default_features, "qkv_features", least=1)
    if features % heads:
        raise ArgumentError(
            f"qkv_features={features} must be divisible by num_heads={heads}.",
            hint=f"Use {features - features % heads} or {features - features % heads + heads} "
            "features, or a different number of heads; by default there are as many features as "
            "inputs_q has.",
        )
    key_heads = heads
    if num_kv_heads is not None:
        key_heads = integer(num_kv_heads, "num_kv_heads", least=1)
        if heads % key_heads:
            raise ArgumentError(
                f"num_heads={heads} must be divisible by num_kv_heads={key_heads}.",
                hint="Each head of keys and values serves the same number of query heads.",
            )
    return Heads(heads, key_heads, features // heads)


def three_inputs(
    inputs_q: object, inputs_k: Any | None, inputs_v: Any | None
) -> tuple[Array, Array, Array]:
    """The inputs of queries, keys and values as arrays, with defaults for those not given.

    Raises:
      ArgumentError: `inputs_v` was given without `inputs_k`.
      ArgumentTypeError, ShapeError: one isn't [*B, length, C].
    """
    if inputs_k is None:
        if inputs_v is not None:
            raise ArgumentError(
                "Values were given without keys: `inputs_v` is set, `inputs_k` is None.",
                hint="To use one array for both, pass it as inputs_k and leave inputs_v out.",
            )
        inputs_k = inputs_q
    if inputs_v is None:
        inputs_v = inputs_k
    given = {"inputs_q": inputs_q, "inputs_k": inputs_k, "inputs_v": inputs_v}
    for name, x in given.items():
        shape = shape_of(x, name)
        if len(shape) < 2:
            raise ShapeError(
                f"{name} must have at least 2 dimensions, (*batch, length, features), got shape "
                f"{shape}.",
                hint="For a single position, add a dimension of size 1 before the features.",
            )
    return as_array(inputs_q), as_array(inputs_k), as_array(inputs_v)


def check_new_tokens(query: Array, key: Array) -> None:
    """Checks that queries and keys belong to the same new tokens, as decoding requires.

    Raises:
      ShapeError: their numbers differ.
    """
    if query.shape[-3] != key.shape[-3]:
        raise ShapeError(
            "Autoregressive cache shape error: while decoding, queries and keys must come from "
            f"the same new tokens, got {query.shape[-3]} and {key.shape[-3]} of them.",
            hint=(
                "Pass inputs_q alone. Attention to another sequence needs no cache, because "
                "each step sees all of it."
            ),
        )
