"""`place`: values from anywhere, laid out like a target, on one process or across several."""

from __future__ import annotations

from typing import TypeVar

import jax
import numpy as np
from jax.sharding import Sharding

from ..errors import ArgumentError, ShapeError, did_you_mean
from ..placing import laid_out, on_devices
from .leaves import by_path, is_array, mapped

T = TypeVar("T")


def place(tree: T, like: object) -> T:
    """The values of `tree`, laid out over devices like those of `like`.

    Args:
      tree: NumPy arrays, jax arrays and typed keys, in linen variables, an nnx module or state,
        or any tree. In a program of several processes, all of them pass the same values; see
        `check_replicated`.
      like: a tree that has the same paths: arrays, `jax.ShapeDtypeStruct`s with shardings, or
        shardings. It may have additional paths, and be a tree of a different kind: values in a dict
        can be laid out like those of an nnx state. Where it has no sharding, a value stays as it
        is.

    Returns:
      `tree` with jax arrays; values keep their dtypes. Anything that isn't an array is unchanged.

    Raises:
      ArgumentError: `like` has no counterpart for an array; or the counterpart's layout doesn't
        divide the array, or is on an abstract mesh while no matching mesh of devices is set.
      ShapeError: the counterpart has a different shape.

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
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise ArgumentError(
            f"The target has no counterpart for {missing[0]!r}{more}. "
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
        layout = on_devices(layout, path)
        try:
            return laid_out(x, layout)
        except ValueError as error:
            raise ArgumentError(f"{path!r} cannot be laid out by {layout}: {error}") from error

    return mapped(put, tree, keep_boxes=True)
