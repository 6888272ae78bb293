"""Carries on a mesh with explicit axes, split like the batch of the inputs.

A loop requires the carry to have the same type before and after a step, and the type includes how
an array is split.
"""

from __future__ import annotations

from typing import TypeVar

import jax

from linnet.module_core.layers import Array
from linnet.module_core.layout import entries_of, layout_of, leading

C = TypeVar("C")


def laid_out_as(xs: Array, time_axis: int, carry: C, features: int = 1) -> C:
    """The carry, a tree of [*batch, ...], with its batch split like the batch of the inputs.

    Args:
      xs: [*batch, *features], and time at `time_axis`.
      time_axis: which dimension of `xs` is time.
      carry: the carry; an entry without the batch dimensions stays as it is.
      features: number of feature dimensions.
    """
    layout = layout_of(xs)
    if layout is None:
        return carry
    entries = list(entries_of(layout, xs.ndim))
    shape = list(xs.shape)
    del entries[time_axis], shape[time_axis]
    rank = xs.ndim - 1 - features
    batch = shape[:rank]
    laid_out: C = jax.tree.map(
        lambda c: leading(c, entries[:rank], layout) if list(c.shape[:rank]) == batch else c, carry
    )
    return laid_out
