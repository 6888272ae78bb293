"""Group normalization (Wu & He 2018, arXiv:1803.08494): over space and groups of channels.

    y = (x - μ) / √(σ² + ε) · scale + bias        μ, σ² over space and the channels of one group

C channels form G groups of S = C / G neighbors. With one group, this is layer normalization; with
one channel per group, it is instance normalization.
"""

from __future__ import annotations

from jax import lax

from linnet.module_core.errors import ArgumentError, ShapeError, counted
from linnet.module_core.layers import (
    Array,
    Axes,
    AxisIndexGroups,
    AxisName,
    DTypeLike,
    Shape,
    as_array,
    axes_of,
    integer,
)

from ._checks import as_mask
from ._moments import moments, normalize


def group_norm(
    x: Array,
    scale: Array | None = None,
    bias: Array | None = None,
    *,
    num_groups: int | None = 32,
    group_size: int | None = None,
    reduction_axes: Axes | None = None,
    epsilon: float = 1e-6,
    dtype: DTypeLike | None = None,
    mask: Array | None = None,
    axis_name: AxisName | None = None,
    axis_index_groups: AxisIndexGroups | None = None,
    use_fast_variance: bool = True,
    force_float32_reductions: bool = True,
) -> Array:
    """Normalizes `x` over groups of channels, then scales and shifts each channel.

    Args:
      x: [B, ..., C], any type; integers become float32.
      scale, bias: [C], or None.
      num_groups: number of groups; None if `group_size` is given.
      group_size: channels in a group; None if `num_groups` is given.
      reduction_axes: the axes over which the statistics are computed, including the last, which is
        split into groups; None for all but the first.
      epsilon, dtype, mask, axis_name, axis_index_groups, use_fast_variance,
        force_float32_reductions: see `layer_norm`.

    Returns:
      An array of the shape of `x`.

    Raises:
      ArgumentError: both or neither of `num_groups` and `group_size` are given, they don't divide
        the channels, or `reduction_axes` lacks the last axis; see also `layer_norm`.
      ShapeError, DtypeError: see `layer_norm`.

    >>> import jax.numpy as jnp
    >>> group_norm(jnp.array([[1.0, 2.0, 3.0, 70.0, 80.0, 90.0]]), num_groups=2).round(3)
    Array([[-1.225,  0.   ,  1.225, -1.225,  0.   ,  1.225]], dtype=float32)
    """
    x = as_array(x)
    if x.ndim == 0:
        raise ShapeError("inputs must have at least one dimension (the channels), got a scalar.")
    last = x.ndim - 1
    groups = count_groups(x.shape[last], num_groups, group_size)
    reduced = _reduced_axes(reduction_axes, x.ndim)
    kept = tuple(i for i in range(last) if i not in reduced)

    grouped = (*x.shape[:last], groups, x.shape[last] // groups)  # [B, ..., G, S]
    mean, variance, _ = moments(
        lax.reshape(x, grouped),
        (*(i for i in reduced if i != last), last + 1),
        dtype=dtype,
        mask=None if mask is None else lax.reshape(as_mask(mask, x.shape), grouped),
        axis_name=axis_name,
        axis_index_groups=axis_index_groups,
        use_fast_variance=use_fast_variance,
        force_float32_reductions=force_float32_reductions,
    )  # [*kept, G]
    return normalize(
        x,
        _for_each_channel(mean, grouped[-1]),  # [*kept, C]
        _for_each_channel(variance, grouped[-1]),
        scale,
        bias,
        kept=(*kept, last),
        features=(last,),
        epsilon=epsilon,
        dtype=dtype,
    )


def _for_each_channel(statistic: Array, size: int) -> Array:
    """[..., G], each value repeated for the channels of its group: [..., G · S]."""
    *outer, groups = statistic.shape
    repeated = lax.broadcast_in_dim(
        statistic, (*outer, groups, size), tuple(range(statistic.ndim))
    )  # [..., G, S]
    return lax.reshape(repeated, (*outer, groups * size))


def count_groups(channels: int, num_groups: int | None, group_size: int | None) -> int:
    if (num_groups is None) == (group_size is None):
        raise ArgumentError(
            "Exactly one of num_groups and group_size must be given, and the other must be "
            f"None; got num_groups={num_groups!r} and group_size={group_size!r}.",
            hint="num_groups is 32 by default: pass num_groups=None along with group_size.",
        )
    if group_size is not None:
        size = integer(group_size, "group_size", least=1)
        if channels % size:
            raise ArgumentError(
                f"The inputs' {counted(channels, 'channel')} cannot be split into groups of "
                f"group_size={size}.",
                hint=_divisors(channels),
            )
        return channels // size
    groups = integer(num_groups, "num_groups", least=1)
    if channels % groups:
        raise ArgumentError(
            f"The inputs' {counted(channels, 'channel')} cannot be split into "
            f"num_groups={groups} equal groups.",
            hint=_divisors(channels),
        )
    return groups


def _divisors(channels: int) -> str:
    possible = [str(n) for n in range(1, channels + 1) if channels % n == 0]
    return f"Channels are the inputs' last axis. Divisors of {channels}: {', '.join(possible)}."


def _reduced_axes(reduction_axes: Axes | None, rank: int) -> Shape:
    if reduction_axes is None:
        return (*range(1, rank - 1), rank - 1)
    reduced = axes_of(reduction_axes, rank, "reduction_axes")
    if rank - 1 not in reduced:
        raise ArgumentError(
            f"reduction_axes={reduction_axes!r} must include the last axis of the inputs, the "
            f"channels: -1 or {rank - 1}."
        )
    return reduced
