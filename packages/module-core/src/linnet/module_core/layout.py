"""Splits arrays over devices as their types specify.

On a mesh with explicit axes (the default of `jax.make_mesh`), the type of an array specifies which
dimensions are split over which axes, and JAX raises an error for an operation whose result could be
split in more than one way. A layer has more information than JAX: the batch dimensions of its
output are split like those of its input. Everything here follows from this rule.

Without such a mesh, these functions only inspect the type of the array, which takes 1 µs in a
trace.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import jax
from jax import lax
from jax.sharding import AbstractMesh, AxisType, NamedSharding, PartitionSpec

from ._compat import auto_axes, bernoulli, reshard

T = TypeVar("T")


def layout_of(x: object) -> NamedSharding | None:
    """The layout of `x`, or None if its type doesn't split any dimension."""
    try:
        sharding: Any = jax.typeof(x).sharding
    except TypeError:  # an array-like object, such as a quantized weight of another library
        return None
    if sharding.mesh.empty or not any(sharding.spec):
        return None
    if isinstance(x, jax.Array) and not isinstance(x, jax.core.Tracer):
        # The mesh of an array has devices, but the mesh of its type has none: outside a trace
        # and without a mesh that is set, only the mesh of the array works.
        sharding = NamedSharding(x.sharding.mesh, sharding.spec)  # type: ignore[attr-defined]
    layout: NamedSharding = sharding
    return layout


def is_on_mesh(x: object) -> bool:
    """Whether `x` is on a mesh of several devices, split or not."""
    try:
        mesh = jax.typeof(x).sharding.mesh
    except TypeError:
        return False
    return not mesh.empty and mesh.size > 1


def entries_of(layout: NamedSharding | None, rank: int) -> tuple[Any, ...]:
    """The mesh axis or axes that each of `rank` dimensions is split over, or None."""
    entries = () if layout is None else tuple(layout.spec)
    return entries + (None,) * (rank - len(entries))


def split(layout: NamedSharding, entries: Iterable[Any]) -> NamedSharding:
    """A layout on the same mesh that splits each dimension as `entries` specify.

    An axis splits only one dimension, the first that names it.
    """
    used: set[Any] = set()
    kept = []
    for entry in entries:
        axes = entry if isinstance(entry, tuple) else () if entry is None else (entry,)
        kept.append(None if used.intersection(axes) else entry)
        used.update(axes)
    return NamedSharding(layout.mesh, PartitionSpec(*kept))  # type: ignore[no-untyped-call]


def laid_out(x: T, layout: NamedSharding | None) -> T:
    """Moves `x` to `layout`; None leaves it unchanged."""
    return x if layout is None else reshard(x, layout)


def like(x: jax.Array, other: jax.Array) -> jax.Array:
    """Splits `x` like `other`, to whose shape it broadcasts; gathers it if `other` isn't split."""
    of_other = layout_of(other)
    layout = of_other or layout_of(x)
    if layout is None:
        return x
    entries = entries_of(of_other, other.ndim)[other.ndim - x.ndim :]
    return reshard(
        x, split(layout, (None if n == 1 else e for n, e in zip(x.shape, entries, strict=True)))
    )


def spread(array: jax.Array, dimensions: tuple[int, ...], x: jax.Array) -> jax.Array:
    """Broadcasts `array`, along `dimensions` of `x`, to the shape and layout of `x`."""
    # Without the layout, the gradient with respect to `array` sums an array of the shape of `x`
    # that every device gathers as a whole.
    return lax.broadcast_in_dim(array, x.shape, dimensions, out_sharding=layout_of(x))


def coins(key: jax.Array, keep: float, shape: tuple[int, ...], x: jax.Array) -> jax.Array:
    """Draws booleans that are True with probability `keep`; `shape` broadcasts to that of `x`.

    They are split like `x`, so that each device draws only those that it needs.
    """
    layout = layout_of(x)
    if layout is None:
        return jax.random.bernoulli(key, keep, shape)
    entries = entries_of(layout, x.ndim)[x.ndim - len(shape) :]
    wanted = (None if n == 1 else e for n, e in zip(shape, entries, strict=True))
    return bernoulli(key, keep, shape, split(layout, wanted))


def leading(x: jax.Array, batch: Sequence[Any], layout: NamedSharding | None) -> jax.Array:
    """Splits the first dimensions of `x` as `batch` specifies, and leaves the others unchanged."""
    if layout is None or x.ndim < len(batch):
        return x
    rest = entries_of(layout_of(x), x.ndim)[len(batch) :]
    return reshard(x, split(layout, (*batch, *rest)))


def gathered(x: jax.Array, *dimensions: int) -> jax.Array:
    """Gathers `x` along those of `dimensions` that its type splits.

    Used before slicing along a dimension, which JAX supports only if the slice boundaries lie
    between the parts of different devices.
    """
    layout = layout_of(x)
    if layout is None:
        return x
    entries = list(entries_of(layout, x.ndim))
    if all(entries[i] is None for i in dimensions):
        return x
    for i in dimensions:
        entries[i] = None
    return reshard(x, split(layout, entries))


def whole(x: T, *dimensions: int) -> T:
    """Gathers `x` along `dimensions` (counted from the end) if it may be split along them.

    Used for arrays that a loop slices: XLA would gather them again in each iteration. On a mesh
    with automatic axes, the layout of an array is unknown, so this is a constraint that leaves the
    other dimensions free.
    """
    mesh = _mesh_of_automatic_axes(x)
    if mesh is None:
        return x
    rank = len(jax.typeof(x).shape)
    entries: list[Any] = [PartitionSpec.UNCONSTRAINED] * rank
    for i in dimensions:
        entries[i] = None
    layout = NamedSharding(mesh, PartitionSpec(*entries))  # type: ignore[no-untyped-call]
    constrained: T = lax.with_sharding_constraint(x, layout)  # type: ignore[no-untyped-call]
    return constrained


def whole_pair(a: jax.Array, b: jax.Array, *dimensions: int) -> tuple[jax.Array, jax.Array]:
    """`whole` of two arrays that differ in the last dimension only, gathered together."""
    if _mesh_of_automatic_axes(a) is None or a.dtype != b.dtype:
        return whole(a, *dimensions), whole(b, *dimensions)
    # Where nothing is gathered, XLA removes the concatenation and the slices.
    both = whole(lax.concatenate([a, b], a.ndim - 1), *dimensions)
    return both[..., : a.shape[-1]], both[..., a.shape[-1] :]


def _mesh_of_automatic_axes(x: object) -> AbstractMesh | None:
    """The mesh on which XLA chooses the layout of `x`; None if its type specifies the layout."""
    mesh: AbstractMesh = jax.typeof(x).sharding.mesh
    if mesh.empty or not isinstance(x, jax.core.Tracer):
        return None
    if mesh.size == 1 or any(t != AxisType.Auto for t in mesh.axis_types):
        return None
    return mesh


def ambiguous(error: Exception) -> str | None:
    """A hint for jax's error that the layout of a result is ambiguous; None for other errors."""
    if type(error).__name__ != "ShardingTypeError":
        return None
    return (
        "The axes of this mesh are explicit. Pass out_sharding= to a layer that takes it, run the "
        "module within jax.sharding.auto_axes, or make the mesh with axes of AxisType.Auto."
    )


def automatic(function: Callable[..., Any], layout: object) -> Callable[..., Any]:
    """Traces a function of arrays as if on a mesh without explicit axes.

    Used for arithmetic in which JAX would require a sharding for every intermediate result.

    Args:
      function: takes arrays and None; values that it closes over must not be split.
      layout: layout of the result, or a tree of those of its parts.
    """
    return auto_axes(function, layout)


DotDimensions = tuple[tuple[Sequence[int], Sequence[int]], tuple[Sequence[int], Sequence[int]]]
"""The dimensions of a `lax.dot_general`: contracted ones of both operands, then batch ones."""

Labels = Sequence[Any]
"""A label for each dimension, like the letters in an einsum equation."""


def product_layout(
    x: jax.Array, kernel: jax.Array, labels: Callable[[], tuple[Labels, Labels, Labels]]
) -> NamedSharding | None:
    """The layout of the product of `x` and `kernel`, or None if JAX doesn't require it.

    Each dimension of the product is split as in `x`, or as in the kernel if it comes from the
    kernel, unless the mesh axis is already used.

    Args:
      x: the first operand.
      kernel: the second operand.
      labels: returns the labels of the dimensions of `x`, of the kernel and of the product; labels
        that aren't in the product are summed over. Called only if both operands are split;
        otherwise JAX infers the layout.
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


def dot_layout(
    x: jax.Array, kernel: jax.Array, dimension_numbers: DotDimensions
) -> NamedSharding | None:
    """The `product_layout` of a `lax.dot_general`."""

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
