"""Checks the arguments of attention before JAX does, with errors that say how to fix them.

B batch (any number of dimensions), Q queries, K keys, H heads, G heads that share a key head,
D depth of queries and keys, E depth of values.
"""

from __future__ import annotations

from typing import Literal, NamedTuple, TypeAlias, get_args

from linnet.module_core.errors import ArgumentError, ShapeError, did_you_mean
from linnet.module_core.layers import Array, Shape

Implementation: TypeAlias = Literal["exact", "chunked", "cudnn", "auto"]
IMPLEMENTATIONS = get_args(Implementation)


class Sizes(NamedTuple):
    """The sizes that follow from the shapes of query and key."""

    batch: Shape
    queries: int
    keys: int
    heads: int
    key_heads: int
    depth: int

    @property
    def logits(self) -> Shape:
        """[*B, H, Q, K]."""
        return (*self.batch, self.heads, self.queries, self.keys)


def sizes_of(query: Shape, key: Shape, value: Shape | None = None) -> Sizes:
    """The sizes of an attention call.

    Args:
      query: [*B, Q, H, D].
      key: [*B, K, H/G, D].
      value: [*B, K, H/G, E], or None.

    Raises:
      ShapeError: they don't fit together.
    """
    given = f"query {query}, key {key}" + ("" if value is None else f", value {value}")
    shapes = {"query": query, "key": key} | ({} if value is None else {"value": value})
    for what, shape in shapes.items():
        if len(shape) < 3:
            raise ShapeError(
                f"{what} must have at least 3 dimensions, (*batch, length, heads, depth), got "
                f"shape {shape}.",
                hint="For a single head, add a dimension of size 1 before the last.",
            )
        if shape[:-3] != query[:-3]:
            raise ShapeError(
                f"The batch dimensions of query, key and value must match, got {given}.",
                hint="The batch dimensions are all but the last three (length, heads, depth).",
            )
        if shape[-2] != key[-2]:
            divides = what == "query" and key[-2] > 0 and shape[-2] % key[-2] == 0
            if not divides:
                raise ShapeError(
                    "The value must have as many heads as the key, and the query as many or a "
                    f"multiple: got {given}.",
                    hint=(
                        "The heads are the second-to-last dimension; groups of query heads may "
                        "share a key head."
                    ),
                )
    if query[-1] != key[-1]:
        raise ShapeError(
            f"query and key must have the same depth (their last dimension): got {given}."
        )
    if value is not None and value[-3] != key[-3]:
        raise ShapeError(
            f"key and value must have the same length (their third-to-last dimension): got {given}."
        )
    return Sizes(query[:-3], query[-3], key[-3], query[-2], key[-2], query[-1])


def check_broadcast(array: Array, sizes: Sizes, what: str) -> None:
    """Checks that a mask or bias fits the logits.

    Heads, queries and keys must broadcast to those of the logits. The array may have more batch
    dimensions than the logits; the output then has them too.

    Raises:
      ShapeError: it doesn't broadcast.
    """
    shape: Shape = array.shape
    logits = sizes.logits
    inner = all(a in (1, b) for a, b in zip(shape[::-1][:3], logits[::-1], strict=False))
    batch = zip(shape[:-3][::-1], sizes.batch[::-1], strict=False)
    if inner and all(a == b or 1 in (a, b) for a, b in batch):
        return
    raise ShapeError(
        f"{what} has shape {shape}, which doesn't broadcast to that of the logits, "
        f"(*batch, heads, queries, keys) = {logits}.",
        hint=(
            "Did the lengths change, or is the heads dimension missing? `make_attention_mask` "
            "adds it: (*batch, 1, queries, keys)."
        ),
    )


def check_implementation(name: object) -> str:
    """`name`, if it is an implementation of attention.

    Raises:
      ArgumentError: it isn't.
    """
    if name not in IMPLEMENTATIONS:
        raise ArgumentError(
            f"implementation={name!r} is unknown. {did_you_mean(str(name), IMPLEMENTATIONS)}",
            hint=(
                "'exact' computes all logits at once; 'chunked' computes them block by block, "
                "in memory that is linear in the length; 'cudnn' runs on an NVIDIA GPU; 'auto' "
                "chooses by the length."
            ),
        )
    return str(name)
