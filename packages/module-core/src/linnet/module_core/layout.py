"""How arrays are split over devices, if their type says so.

On a mesh with explicit axes (`jax.make_mesh`'s default), an array's type says which of its
dimensions are split over which axes, and JAX raises an error for an operation whose result could be
split in more than one way. A layer knows more than JAX: the batch of its output is split like that
of its input. Everything here follows from this rule.

Without such a mesh there is nothing to do, which one look at the type shows: 1 µs in a trace.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jax
from jax import lax
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from ._compat import auto_axes, bernoulli, reshard


def layout_of(x: object) -> NamedSharding | None:
    """How `x` is split, or None if its type splits no dimension."""
    try:
        sharding: Any = jax.typeof(x).sharding
    except TypeError:  # an array-like object: say, another library's quantized weight
        return None
    if sharding.mesh.empty or not any(sharding.spec):
        return None
    if isinstance(x, jax.Array) and not isinstance(x, jax.core.Tracer):
        # The mesh of an array has devices, that of its type has none: outside a trace, without a
        # mesh that is set, only the former works.
        sharding = NamedSharding(x.sharding.mesh, sharding.spec)  # type: ignore[attr-defined]
    layout: NamedSharding = sharding
    return layout


def is_on_mesh(x: object) -> bool:
    """Whether `x` lives on a mesh of several devices, split or not."""
    try:
        mesh = jax.typeof(x).sharding.mesh
    except TypeError:
        return False
    return not mesh.empty and mesh.size > 1


def entries_of(layout: NamedSharding | None, rank: int) -> tuple[Any, ...]:
    """For each of `rank` dimensions the mesh axis, or axes, that it is split over, or None."""
    entries = () if layout is None else tuple(layout.spec)
    return entries + (None,) * (rank - len(entries))


def split(layout: NamedSharding, entries: Iterable[Any]) -> NamedSharding:
    """The layout on the same mesh that splits each dimension as `entries` say.

    An axis splits one dimension only: the first that names it.
    """
    used: set[Any] = set()
    kept = []
    for entry in entries:
        axes = entry if isinstance(entry, tuple) else () if entry is None else (entry,)
        kept.append(None if used.intersection(axes) else entry)
        used.update(axes)
    return NamedSharding(layout.mesh, PartitionSpec(*kept))  # type: ignore[no-untyped-call]


def laid_out(x: object, layout: NamedSharding | None) -> Any:
    """`x`, moved to `layout`; None leaves it unchanged."""
    return x if layout is None else reshard(x, layout)


def like(x: Any, other: Any) -> Any:
    """`x`, split as `other`, to whose shape it broadcasts."""
    layout = layout_of(other)
    if layout is None:
        return x
    entries = entries_of(layout, other.ndim)[other.ndim - x.ndim :]
    return reshard(
        x, split(layout, (None if n == 1 else e for n, e in zip(x.shape, entries, strict=True)))
    )


def spread(array: Any, dimensions: tuple[int, ...], x: Any) -> Any:
    """`array`, along `dimensions` of `x`, broadcast to the shape of `x` and split like it."""
    # Without the layout the gradient by `array` is a sum over a whole array of the shape of `x`:
    # each device gathers it.
    return lax.broadcast_in_dim(array, x.shape, dimensions, out_sharding=layout_of(x))


def coins(key: Any, keep: float, shape: tuple[int, ...], x: Any) -> Any:
    """Booleans of `shape`, which broadcasts to that of `x`: True with probability `keep`.

    They are split like `x`, so that each device draws those that it needs.
    """
    layout = layout_of(x)
    if layout is None:
        return jax.random.bernoulli(key, keep, shape)
    entries = entries_of(layout, x.ndim)[x.ndim - len(shape) :]
    wanted = (None if n == 1 else e for n, e in zip(shape, entries, strict=True))
    return bernoulli(key, keep, shape, split(layout, wanted))


def leading(x: Any, batch: Sequence[Any], layout: NamedSharding | None) -> Any:
    """`x`, its first dimensions split as `batch` says, the others as they are."""
    if layout is None or x.ndim < len(batch):
        return x
    rest = entries_of(layout_of(x), x.ndim)[len(batch) :]
    return reshard(x, split(layout, (*batch, *rest)))


def whole(x: object, *dimensions: int) -> Any:
    """`x`, gathered along `dimensions` (counted from the end) if it may be split along them.

    Used for what a loop slices: XLA would gather it again in each iteration. On a mesh with
    automatic axes the split of an array is unknown, so this is a constraint that leaves the other
    dimensions free.
    """
    mesh = jax.typeof(x).sharding.mesh
    if mesh.empty or not isinstance(x, jax.core.Tracer):
        return x
    if mesh.size == 1 or any(t != AxisType.Auto for t in mesh.axis_types):
        return x
    entries: list[Any] = [PartitionSpec.UNCONSTRAINED] * x.ndim
    for i in dimensions:
        entries[i] = None
    layout = NamedSharding(mesh, PartitionSpec(*entries))  # type: ignore[no-untyped-call]
    return lax.with_sharding_constraint(x, layout)  # type: ignore[no-untyped-call]


def ambiguous(error: Exception) -> str | None:
    """A hint for jax's error that a result's split is ambiguous; None for another error."""
    if type(error).__name__ != "ShardingTypeError":
        return None
    return (
        "The axes of this mesh are explicit. Pass out_sharding= to a layer that takes it, run the "
        "module within jax.sharding.auto_axes, or make the mesh with axes of AxisType.Auto."
    )


def automatic(function: Callable[..., Any], layout: NamedSharding) -> Callable[..., Any]:
    """`function` of arrays, traced as on a mesh whose axes are not explicit.

    For arithmetic in which JAX would require a sharding for every intermediate result.

    Args:
      function: takes arrays and None; what it closes over must not be split.
      layout: of the result.
    """
    return auto_axes(function, layout)


Labels = Sequence[Any]
"""A label for each dimension, as the letters in an einsum's equation."""


def product_layout(
    x: Any, kernel: Any, labels: Callable[[], tuple[Labels, Labels, Labels]]
) -> NamedSharding | None:
    """How the product of `x` and `kernel` is split, or None if JAX doesn't require it.

    Each dimension of the product is split as it was in `x`, or as it was in the kernel if it comes
    from there, unless the axis is taken already.

    Args:
      x: the first operand.
      kernel: the second operand.
      labels: gives the labels of the dimensions of `x`, of the kernel and of the product; labels
        that aren't in the product are summed over. Called if both operands are split; otherwise JAX
        decides by itself.
    """
    first, second = layout_of(x), layout_of(kernel)
    if first is None or second is None:
        return None
    of_x, of_kernel, of_product = labels()
    entries = dict(zip(of_kernel, entries_of(second, kernel.ndim), strict=True))
    for label, entry in zip(of_x, entries_of(first, x.ndim), strict=True):
        if entry is not None or label not in entries:
            entries[label] = entry
    return split(first, (entries.get(label) for label in of_product))


def dot_layout(x: Any, kernel: Any, dimension_numbers: Any) -> NamedSharding | None:
    """`product_layout` of `lax.dot_general`."""

    def labels() -> tuple[Labels, Labels, Labels]:
        (contracted, of_kernel), (batch, kernel_batch) = dimension_numbers
        names: list[Any] = [("kernel", i) for i in range(kernel.ndim)]
        for mine, theirs in ((contracted, of_kernel), (batch, kernel_batch)):
            for i, j in zip(mine, theirs, strict=True):
                names[j] = i
        own = [i for i in range(x.ndim) if i not in (*contracted, *batch)]
        new = [name for name in names if isinstance(name, tuple)]
        return range(x.ndim), names, [*batch, *own, *new]

    return product_layout(x, kernel, labels)
