"""`place`: values from anywhere, laid out like a target, on one process or across several.

A value that every process has as a whole (a NumPy array from a file, an array on one device, a key)
is cut by each process into the parts that its devices hold: nothing is sent. A value that is
already spread over processes is moved by a compiled program.
"""

from __future__ import annotations

from typing import Any, TypeVar

import jax
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec, Sharding

from ..errors import ArgumentError, ShapeError, did_you_mean
from .leaves import by_path, is_array, is_key, mapped

T = TypeVar("T")


def place(tree: T, like: object) -> T:
    """The values of `tree`, laid out over devices like those of `like`.

    Args:
      tree: NumPy arrays, arrays of jax and typed keys, in linen variables, an nnx module or state,
        or any tree. In a program of several processes, all of them pass the same values; see
        `check_replicated`.
      like: a tree that has the same paths: arrays, `jax.ShapeDtypeStruct`s with shardings, or
        shardings. It may have further paths, and be a tree of another kind: values in a dict can be
        laid out like those of an nnx state. Where it has no sharding, a value stays as it is.

    Returns:
      `tree` with arrays of jax; values keep their dtypes. What isn't an array stays as it is.

    Raises:
      ArgumentError: `like` has no counterpart of an array, or its layout doesn't divide the array.
      ShapeError: the counterpart has another shape.

    >>> import jax, numpy as np
    >>> from jax.sharding import Mesh, NamedSharding, PartitionSpec as P
    >>> layout = NamedSharding(Mesh(np.array(jax.devices()), ("data",)), P("data"))
    >>> read = {"kernel": np.ones((8, 2), np.float32)}
    >>> place(read, {"kernel": layout})["kernel"].sharding == layout
    True
    """
    targets = by_path(like)
    missing = [p for p, x in by_path(tree).items() if is_array(x) and p not in targets]
    if missing:
        more = f" and of {len(missing) - 1} more arrays" if len(missing) > 1 else ""
        raise ArgumentError(
            f"The target has no counterpart of {missing[0]!r}{more}. "
            f"{did_you_mean(missing[0], targets)}",
            hint="Pass a target with the same paths, for example the one that was saved.",
        )

    def put(path: str, leaf: object, x: object) -> object:
        if not isinstance(x, jax.Array | np.ndarray | np.generic):
            return x
        target = targets[path]
        if is_array(target) and tuple(target.shape) != tuple(x.shape):
            raise ShapeError(
                f"{path!r} has shape {tuple(x.shape)}, and its target {tuple(target.shape)}."
            )
        layout = target if isinstance(target, Sharding) else getattr(target, "sharding", None)
        if not isinstance(layout, Sharding):
            return x
        try:
            return laid_out(x, layout)
        except ValueError as error:
            raise ArgumentError(f"{path!r} cannot be laid out by {layout}: {error}") from error

    return mapped(put, tree, keep_boxes=True)


def laid_out(x: Any, layout: Sharding) -> jax.Array:
    """An array or key with a layout, which may include devices of other processes.

    Args:
      x: the same value in all processes, or an array that is spread over the same devices.
      layout: the layout.

    Raises:
      ValueError: the layout doesn't divide the array, or keys across processes have a layout that
        is not a `NamedSharding`.
    """
    if isinstance(x, jax.core.Tracer):
        traced: jax.Array = jax.lax.with_sharding_constraint(x, layout)  # type: ignore[no-untyped-call]
        return traced
    if layout.is_fully_addressable:
        placed: jax.Array = jax.device_put(x, layout)
        return placed
    if isinstance(x, jax.Array) and not x.is_fully_addressable:
        if x.sharding.is_equivalent_to(layout, x.ndim):
            return x
        moved: jax.Array = jax.jit(_same, out_shardings=layout)(x)
        return moved
    if not is_key(x):
        values = np.asarray(x)
        return _cut(values, layout)
    data = np.asarray(jax.random.key_data(x))
    impl = jax.random.key_impl(x)
    # A key's numbers are along further axes, which are not split.
    spec = layout.spec if isinstance(layout, NamedSharding) else None
    if spec is None:
        raise ValueError("keys need a NamedSharding")
    entries = (*spec, *(None,) * (data.ndim - len(spec)))
    of_data = NamedSharding(layout.mesh, PartitionSpec(*entries))  # type: ignore[attr-defined, no-untyped-call]

    def wrapped(numbers: jax.Array) -> Any:
        return jax.random.wrap_key_data(numbers, impl=impl)

    keys: jax.Array = jax.jit(wrapped, out_shardings=layout)(_cut(data, of_data))
    return keys


def _cut(values: np.ndarray[Any, Any], layout: Sharding) -> jax.Array:
    return jax.make_array_from_callback(values.shape, layout, lambda index: values[index])


def _same(x: jax.Array) -> jax.Array:
    return x
