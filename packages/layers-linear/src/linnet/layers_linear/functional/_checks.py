"""One integer for each spatial dimension."""

from __future__ import annotations

from collections.abc import Sequence

from linnet.module_core.errors import ArgumentError, counted
from linnet.module_core.layers import Shape, integers


def per_dimension(value: object, rank: int, name: str, *, least: int = 1) -> Shape:
    """One integer for each of `rank` spatial dimensions.

    A single integer applies to all of them; None means 1 for each.

    Raises:
      ArgumentError: the number of integers isn't the number of dimensions.
    """
    if value is None:
        return (1,) * rank
    numbers = integers(value, name, least=least)
    if not isinstance(value, Sequence) and len(numbers) == 1:
        return numbers * rank
    if len(numbers) != rank:
        raise ArgumentError(
            f"'{name}' has {counted(len(numbers), 'entry', 'entries')}, but the window has "
            f"{counted(rank, 'spatial dimension')}: {name}={value!r}.",
            hint=f"Pass one int for all dimensions, or a sequence of {counted(rank, 'int')}.",
        )
    return numbers
