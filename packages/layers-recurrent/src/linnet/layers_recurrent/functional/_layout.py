"""Carries on a mesh with explicit axes, split like the batch of the inputs.

A loop requires the carry to have the same type before and after a step, and the type includes how
an array is split. Kernels whose columns are split would split the features of the carry as well:
they are gathered after each step, since the next one multiplies all of them by its kernels.
"""

from __future__ import annotations

from typing import Any, TypeVar

import jax
import jax.numpy as jnp

from linnet.module_core.layers import Array
from linnet.module_core.layout import entries_of, layout_of, leading, like

C = TypeVar("C")


def laid_out_as(xs: Array, time_axis: int, carry: C, features: int = 1) -> C:
    """The carry, a tree of [*batch, ...], with its batch split like the batch of the inputs.

    Args:
      xs: [*batch, *features], with time at `time_axis`.
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


def as_before(after: C, before: C) -> C:
    """The carry after a step, a tree of arrays, split as before the step."""
    forms: list[Any] = [jax.tree.structure(x) for x in (after, before)]
    if forms[0] != forms[1]:
        return after  # the loop's error message is clearer
    split: C = jax.tree.map(
        lambda new, old: like(new, old) if jnp.ndim(new) == jnp.ndim(old) else new, after, before
    )
    return split
