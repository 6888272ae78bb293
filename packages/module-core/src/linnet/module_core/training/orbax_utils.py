"""orbax's arguments for each array of a tree, under the names that programs written for Flax use.

Current versions of orbax don't need these arguments to read and write a tree. The arguments specify
how an array is restored: with the target's sharding at the same path, or as a NumPy array if the
target has no sharding there.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from ..errors import MissingExtraError
from ..typing import PyTree

__all__ = [
    "is_multi_device_array",
    "maybe_construct_transformations",
    "restore_args_from_target",
    "save_args_from_target",
]


def is_multi_device_array(value: object) -> bool:
    """Whether a value is an array that no device holds as a whole.

    >>> import jax.numpy as jnp
    >>> is_multi_device_array(jnp.ones(3))
    False
    """
    return isinstance(value, jax.Array) and not value.is_fully_replicated


def save_args_from_target(target: PyTree) -> PyTree:
    """The `SaveArgs` of orbax for each leaf of `target`.

    Raises:
      MissingExtraError: orbax is not installed.
    """
    library = _orbax()
    return jax.tree.map(lambda _: library.SaveArgs(), target)


def restore_args_from_target(target: PyTree, mesh: Mesh | None = None) -> PyTree:
    """How orbax restores each leaf of `target`.

    Args:
      target: arrays, or `jax.ShapeDtypeStruct`s. A leaf with a sharding is restored as a jax array
        with that sharding. Python numbers and strings next to such arrays are restored as they are;
        anything else is restored as a NumPy array.
      mesh: the mesh to restore arrays on, with the partition specs that they have; an array on one
        device is then replicated.

    Raises:
      MissingExtraError: orbax is not installed.
    """
    library = _orbax()
    mixed = any(getattr(leaf, "sharding", None) is not None for leaf in jax.tree.leaves(target))

    def arguments(leaf: object) -> object:
        sharding, dtype = getattr(leaf, "sharding", None), getattr(leaf, "dtype", None)
        if sharding is None and mixed and isinstance(leaf, int | float | str | bytes):
            return library.RestoreArgs(restore_type=type(leaf))
        if sharding is None:
            return library.RestoreArgs(restore_type=np.ndarray, dtype=dtype if mixed else None)
        if mesh is not None:
            sharding = NamedSharding(mesh, getattr(sharding, "spec", PartitionSpec()))  # type: ignore[no-untyped-call]
        if dtype is not None and jnp.issubdtype(dtype, jax.dtypes.prng_key):
            dtype = np.dtype(np.uint32)  # orbax stores the data of a key
        return library.ArrayRestoreArgs(dtype=dtype, sharding=sharding)

    return jax.tree.map(arguments, target)


def maybe_construct_transformations(
    target: PyTree, transforms: Mapping[str, object] | None
) -> Mapping[str, object]:
    """Transformations for orbax: the given ones, or those that restore what `target` leaves out.

    Returns:
      `transforms` unless it is None; otherwise, for the path of each None in `target`, a
      `Transform` that restores what the file has there.

    Raises:
      MissingExtraError: a transformation is needed, and orbax is not installed.
    """
    if transforms is not None:
        return transforms
    leaves = jax.tree_util.tree_leaves_with_path(target, is_leaf=lambda x: x is None)
    unknown = ["/".join(map(_name, path)) for path, leaf in leaves if leaf is None]
    return {path: _orbax().Transform(use_fallback=True) for path in unknown}


def _name(key: object) -> str:
    for attribute in ("key", "idx", "name"):
        if hasattr(key, attribute):
            return str(getattr(key, attribute))
    return str(key)


def _orbax() -> Any:  # a library that is not installed with this package
    try:
        return import_module("orbax.checkpoint")
    except ModuleNotFoundError:
        raise MissingExtraError(
            "The arguments are orbax's, and orbax is not installed.",
            hint="Install orbax-checkpoint.",
        ) from None
