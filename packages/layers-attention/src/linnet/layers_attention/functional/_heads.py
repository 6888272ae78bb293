"""Checks of a multi-head layer before it projects: heads, inputs, and new tokens.

B batch (any number of dimensions), Q queries, K keys, C features of an input.
"""

from __future__ import annotations

import operator
from typing import Any, NamedTuple

from linnet.module_core.errors import ArgumentError, ArgumentTypeError, ShapeError

from ._types import Array


class Heads(NamedTuple):
    """The division of features among heads.

    Attributes:
      queries: heads of queries.
      keys: heads of keys and values.
      depth: features of each.
    """

    queries: int
    keys: int
    depth: int


def heads_of(num_heads: Any, num_kv_heads: Any, qkv_features: Any, default_features: int) -> Heads:
    """Heads of queries, heads of keys and values, and the depth of each.

    Raises:
      ArgumentTypeError: a number is not an integer.
      ArgumentError: one doesn't divide the other.
    """
    heads = positive(num_heads, "num_heads")
    features = positive(qkv_features or default_features, "qkv_features")
    if features % heads:
        raise ArgumentError(
            f"qkv_features={features} must be divisible by num_heads={heads}.",
            hint=f"Use {features - features % heads} or {features - features % heads + heads} "
            "features, or another number of heads; by default there are as many features as "
            "inputs_q has.",
        )
    key_heads = heads
    if num_kv_heads is not None:
        key_heads = positive(num_kv_heads, "num_kv_heads")
        if heads % key_heads:
            raise ArgumentError(
                f"num_heads={heads} must be divisible by num_kv_heads={key_heads}.",
                hint="Each head of keys and values serves the same number of query heads.",
            )
    return Heads(heads, key_heads, features // heads)


def key_and_value_inputs(
    inputs_q: Array, inputs_k: Array | None, inputs_v: Array | None
) -> tuple[Array, Array]:
    """The inputs of keys and values, with the defaults for those that were not given.

    Raises:
      ArgumentError: `inputs_v` was given without `inputs_k`.
      ArgumentTypeError, ShapeError: one isn't [*B, length, C].
    """
    if inputs_k is None:
        if inputs_v is not None:
            raise ArgumentError(
                "Values were given without keys: `inputs_v` is set, `inputs_k` is None.",
                hint="If both are to be the same, pass it as inputs_k and leave inputs_v out.",
            )
        inputs_k = inputs_q
    if inputs_v is None:
        inputs_v = inputs_k
    for name, x in (("inputs_q", inputs_q), ("inputs_k", inputs_k), ("inputs_v", inputs_v)):
        shape = getattr(x, "shape", None)
        if shape is None:
            raise ArgumentTypeError(
                f"'{name}' must be an array, got {str(x)[:40]!r} ({type(x).__name__})."
            )
        if len(shape) < 2:
            raise ShapeError(
                f"{name} must have at least 2 dimensions, (*batch, length, features), got shape "
                f"{shape}.",
                hint="For a single position, add a dimension of size 1 before the features.",
            )
    return inputs_k, inputs_v


def check_new_tokens(query: Array, key: Array) -> None:
    """Checks that queries and keys are those of the same new tokens, as decoding requires.

    Raises:
      ShapeError: their numbers differ.
    """
    if query.shape[-3] != key.shape[-3]:
        raise ShapeError(
            "Autoregressive cache shape error: while decoding, queries and keys are of the same "
            f"new tokens, got {query.shape[-3]} and {key.shape[-3]} of them.",
            hint="Pass inputs_q alone. Attention to another sequence needs no cache: it sees all "
            "of it at each step.",
        )


def positive(value: Any, name: str) -> int:
    """`value` as an int that is at least 1.

    Raises:
      ArgumentTypeError: it is not an integer.
      ArgumentError: it is too small.
    """
    try:
        number = operator.index(value)
    except TypeError:
        raise ArgumentTypeError(
            f"'{name}' must be an integer, got {value!r} ({type(value).__name__})."
        ) from None
    if number < 1:
        raise ArgumentError(f"'{name}' must be at least 1, got {number}.")
    return number
