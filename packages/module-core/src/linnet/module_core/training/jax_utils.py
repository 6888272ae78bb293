"""Data on the devices of this process for `jax.pmap`, scans over several axes, partial evaluation.

A replicated array has one more axis than the original: the first, of which each device holds one
entry. jax has removed its own functions for such arrays; here they are arrays with an ordinary
sharding, on a mesh of one axis.
"""

from __future__ import annotations

import collections
import functools
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from ..errors import ArgumentError, ShapeError, counted, describe
from ..linen.tracing import (
    COMPUTED,
    CONSTANT,
    classify_outputs,
    compute_outputs,
    constant_output,
)

__all__ = [
    "pad_shard_unpad",
    "partial_eval_by_shape",
    "pmean",
    "prefetch_to_device",
    "replicate",
    "scan_in_dim",
    "unreplicate",
]

T = TypeVar("T")
C = TypeVar("C")
X = TypeVar("X")
Y = TypeVar("Y")

_AXIS = "_device_put_sharded"


def replicate(tree: T, devices: Sequence[Any] | None = None, axis_name: str = _AXIS) -> T:
    """Copies each array of a tree to several devices, along a new first axis.

    Args:
      tree: a tree of arrays and numbers.
      devices: the devices to copy to; by default, those of this process.
      axis_name: the name of the mesh axis.

    Returns:
      The tree with arrays of [devices, ...].

    >>> unreplicate(replicate({"step": 3}))["step"].item()
    3
    """
    sharding = _over(devices, axis_name)
    count = sharding.mesh.size

    def copied(x: object) -> jax.Array:
        array = x if isinstance(x, jax.Array) else np.asarray(x)
        copies = jnp.broadcast_to(array[None], (count, *array.shape))
        placed: jax.Array = jax.device_put(copies, sharding)
        return placed

    copies: T = jax.tree.map(copied, tree)
    return copies


def unreplicate(tree: T) -> T:
    """The first device's entry of each array in a tree, on that device."""
    first: T = jax.tree.map(lambda x: x[0], tree)
    return first


def pmean(xs: T, axis_name: str) -> T:
    """`jax.lax.pmean`."""
    mean: T = lax.pmean(xs, axis_name)  # type: ignore[no-untyped-call]
    return mean


def prefetch_to_device(
    iterator: Iterable[T],
    size: int,
    devices: Sequence[Any] | None = None,
    axis_name: str = _AXIS,
) -> Iterator[T]:
    """Copies batches to the devices before they are used, so that copies overlap computations.

    Args:
      iterator: trees of arrays of [devices, ...].
      size: how many batches are on the devices at a time; 2 is usually enough.
      devices: the devices to copy to; by default, those of this process.
      axis_name: the name of the mesh axis.

    Yields:
      The trees, each array with one entry of its first axis on each device.

    Raises:
      ArgumentError: `size` is below 1.
    """
    if size < 1:
        raise ArgumentError(f"prefetch_to_device: size is {size}, expected 1 or more.")
    return _prefetched(iter(iterator), size, _over(devices, axis_name))


def _prefetched(iterator: Iterator[T], size: int, sharding: NamedSharding) -> Iterator[T]:
    put = functools.partial(jax.tree.map, lambda x: jax.device_put(x, sharding))
    ready = collections.deque(map(put, itertools.islice(iterator, size)))
    while ready:
        yield ready.popleft()
        ready.extend(map(put, itertools.islice(iterator, 1)))


def _over(devices: Sequence[jax.Device] | None, axis_name: str) -> NamedSharding:
    """The sharding of arrays with one entry of the first axis on each device."""
    if devices is None:
        devices = jax.local_devices()
    if not devices:
        raise ArgumentError(
            "There are no devices in `devices`.", hint="Leave it out for this process's devices."
        )
    return NamedSharding(Mesh(np.array(devices), (axis_name,)), PartitionSpec(axis_name))  # type: ignore[no-untyped-call]


def pad_shard_unpad(
    wrapped: Callable[..., Any],
    static_argnums: Sequence[int] = (0,),
    static_argnames: Sequence[str] = (),
    static_return: bool = False,
) -> Callable[..., Any]:
    """Turns a function of sharded batches into one of batches of any size.

    Arguments are padded with zeros to a multiple of the number of devices and split over them;
    results are joined, and the padding is cut off. It is meant for evaluation, where the last batch
    is smaller: a mean over the batch would contain the padding.

    Args:
      wrapped: a function of arrays of [devices, B / devices, ...], usually from `jax.pmap`.
      static_argnums: positions of arguments that are passed on as they are: usually parameters.
      static_argnames: names of such arguments.
      static_return: whether results are passed on as they are.

    Returns:
      A function of arrays of [B, ...]. Its argument `min_device_batch` is the minimum number of
      rows for each device, so that batches of a few sizes are compiled once.

    Raises:
      ShapeError: arguments have first axes of different sizes, or there are none to split.
    """

    @functools.wraps(wrapped)
    def padded(*args: object, min_device_batch: int | None = None, **kwargs: object) -> object:
        devices = jax.local_device_count()
        split = [a for i, a in enumerate(args) if i not in static_argnums]
        split += [a for name, a in kwargs.items() if name not in static_argnames]
        sizes: set[int | None] = {
            np.shape(x)[0] if np.ndim(x) else None for x in jax.tree.leaves(split)
        }
        if len(sizes) != 1 or None in sizes:
            found = ", ".join(sorted(map(str, sizes))) or "none"
            raise ShapeError(
                f"pad_shard_unpad: all arguments to split must have one batch size, got {found}.",
                hint="Name the others in `static_argnums` or `static_argnames`.",
            )
        batch = sizes.pop() or 0
        each = max(-(-batch // devices), min_device_batch or 0)

        def to_devices(x: object) -> jax.Array | np.ndarray[Any, Any]:
            array: Any = x if isinstance(x, jax.Array) else np.asarray(x)
            numpy = jnp if isinstance(array, jax.core.Tracer) else np
            if missing := each * devices - batch:
                zeros = numpy.zeros((missing, *array.shape[1:]), array.dtype)
                array = numpy.concatenate([numpy.asarray(array), zeros])
            rows: jax.Array | np.ndarray[Any, Any] = array.reshape(devices, each, *array.shape[1:])
            return rows

        def from_devices(x: object) -> jax.Array | np.ndarray[Any, Any]:
            array: Any = x if isinstance(x, jax.core.Tracer) else np.asarray(jax.device_get(x))
            rows: jax.Array | np.ndarray[Any, Any]
            rows = array.reshape(devices * each, *array.shape[2:])[:batch]
            return rows

        shard = functools.partial(jax.tree.map, to_devices)
        result = wrapped(
            *(a if i in static_argnums else shard(a) for i, a in enumerate(args)),
            **{n: a if n in static_argnames else shard(a) for n, a in kwargs.items()},
        )
        return result if static_return else jax.tree.map(from_devices, result)

    return padded


def scan_in_dim(
    body_fn: Callable[[C, X], tuple[C, Y]],
    init: C,
    xs: X,
    axis: int | Sequence[int] = (0,),
    unroll: int | Sequence[int] = (1,),
    keepdims: bool = False,
) -> tuple[C, Y]:
    """`jax.lax.scan` over any axis, or over several, the last one fastest.

    Args:
      body_fn: a function of a carry and a slice that returns both.
      init: the initial carry.
      xs: a tree of arrays with the same sizes along `axis`.
      axis: the axes to scan over.
      unroll: how many iterations to unroll along each axis.
      keepdims: whether slices keep the axes, at size 1.

    Returns:
      The final carry, and the results with the axes where they were in `xs`.

    Raises:
      ArgumentError: `axis` and `unroll` have different lengths.

    >>> xs = jnp.arange(6).reshape(2, 3)
    >>> total, sums = scan_in_dim(lambda c, x: (c + x, c + x), 0, xs, axis=(0, 1))
    >>> total.item(), sums.tolist()
    (15, [[0, 1, 3], [6, 10, 15]])
    """
    axes = (axis,) if isinstance(axis, int) else tuple(axis)
    unrolls = (unroll,) * len(axes) if isinstance(unroll, int) else tuple(unroll)
    if unrolls == (1,):
        unrolls = (1,) * len(axes)
    if len(unrolls) != len(axes):
        raise ArgumentError(
            "scan_in_dim: expected one value of unroll for each axis, got"
            f" {counted(len(axes), 'axis', 'axes')} and {counted(len(unrolls), 'value')}.",
            hint="Give one number for all axes, or one for each.",
        )
    inner = tuple(range(len(axes)))

    def body(carry: C, slices: X) -> tuple[C, Y]:
        if not keepdims:
            return body_fn(carry, slices)
        kept = jax.tree.map(lambda x: jnp.expand_dims(x, axes), slices)
        carry, results = body_fn(carry, kept)
        return carry, jax.tree.map(lambda y: jnp.squeeze(y, axes), results)

    def over(depth: int, carry: C, slices: X) -> tuple[C, Y]:
        if depth == len(axes):
            return body(carry, slices)
        step = functools.partial(over, depth + 1)
        return lax.scan(step, carry, slices, unroll=unrolls[depth])

    moved = jax.tree.map(lambda x: jnp.moveaxis(x, axes, inner), xs)
    carry, results = over(0, init, moved)
    return carry, jax.tree.map(lambda y: jnp.moveaxis(y, inner, axes), results)


def partial_eval_by_shape(
    fn: Callable[..., Any], input_spec: Sequence[Any], *args: object, **kwargs: object
) -> Any:  # what the user's function returns
    """Evaluates a function as far as possible without the values of its first arguments.

    Args:
      fn: the function.
      input_spec: the unknown arguments: a shape (of float32), a pair of a shape and a dtype, or
        anything with a shape and a dtype.
      *args: its other arguments, which are known.
      **kwargs: keyword arguments, which are known.

    Returns:
      What `fn` returns: arrays where they don't depend on the unknown arguments,
      `jax.ShapeDtypeStruct` where they do.

    >>> known, unknown = partial_eval_by_shape(lambda x: (jnp.ones(1), x + 1), [(2, 3)])
    >>> known.tolist(), unknown.shape
    ([1.0], (2, 3))
    """
    specs = [_abstract(spec) for spec in input_spec]
    structure: list[Any] = []

    def flat(*inputs: object) -> list[Any]:
        leaves, treedef = jax.tree.flatten(fn(*inputs, *args, **kwargs))
        structure[:] = [treedef]
        return leaves

    program = jax.make_jaxpr(flat)(*specs)
    kinds = classify_outputs(program)
    wanted = [i for i, kind in enumerate(kinds) if kind == COMPUTED]
    values = dict(zip(wanted, compute_outputs(program, wanted, specs), strict=True))
    values |= {i: constant_output(program, i) for i, kind in enumerate(kinds) if kind == CONSTANT}
    found = [
        jnp.asarray(values[i], aval.dtype)
        if i in values
        else jax.ShapeDtypeStruct(aval.shape, aval.dtype)  # type: ignore[no-untyped-call]
        for i, aval in enumerate(program.out_avals)
    ]
    return jax.tree.unflatten(structure[0], found)


def _abstract(spec: object) -> jax.ShapeDtypeStruct:
    if hasattr(spec, "shape") and hasattr(spec, "dtype"):
        shape, dtype = spec.shape, spec.dtype
    elif isinstance(spec, tuple | list) and all(isinstance(n, int | np.integer) for n in spec):
        shape, dtype = tuple(spec), jnp.float32
    elif isinstance(spec, tuple | list) and len(spec) == 2:
        shape, dtype = spec
    else:
        raise ArgumentError(
            f"partial_eval_by_shape: an element of input_spec is {describe(spec)}, expected a"
            " shape, a pair of a shape and a dtype, or a jax.ShapeDtypeStruct.",
            hint="Pass arguments whose values are known after `input_spec`.",
        )
    return jax.ShapeDtypeStruct(tuple(shape), dtype)  # type: ignore[no-untyped-call]
