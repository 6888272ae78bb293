"""Saves modules, variables and other trees of arrays as safetensors files, and loads them.

A tensor is named by its path, "params/dense/kernel". Tensors are read and written one by one, so
the host's memory holds at most one of them in addition to the arrays themselves, or one device's
piece of a tensor that is split over devices.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, cast, overload

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Sharding

from .. import nnx
from ..arrays import check_is_here
from ..boxes import contents, is_axis_metadata, replace_boxed
from ..errors import ArgumentError, ArgumentTypeError, DtypeError, ShapeError, did_you_mean
from ..sharding.leaves import path_part
from .placing import place_of, placed
from .safetensors import Tensor, Tensors, name_of, opened, write

T = TypeVar("T")

_KEYS = "linnet.keys"


@dataclass
class _Entry:
    """A value of a tree: its current value, how to replace it, and the variable that holds it."""

    value: Any
    put: Callable[[Any], None]
    variable: nnx.Variable[Any] | None = None


@overload
def load(path: str | os.PathLike[str]) -> Tensors: ...
@overload
def load(path: str | os.PathLike[str], target: T) -> T: ...
def load(path: str | os.PathLike[str], target: Any = None) -> Any:
    """The tensors of a safetensors file, or a tree or module that has them as its values.

    Args:
      path: a file, the index of several (`model.safetensors.index.json`), or a folder with one of
        them called `model.safetensors`.
      target: an object like the saved one, with any values: an nnx module, linen variables, or any
        tree. Each value keeps its dtype and sharding, and may be a `jax.ShapeDtypeStruct`. A
        variable that holds only such a struct is laid out on the current mesh as its metadata
        specifies. None returns the tensors by name, as `from_torch` takes them.

    Returns:
      A mapping of names to tensors, each of which is read by `numpy.asarray`. With a target, the
      nnx module, whose variables were replaced, or a new tree.

    Raises:
      ArgumentError: the file is not in this format, is truncated, or has names that
        differ from the target's; or a sharding is on an abstract mesh.
      ShapeError, DtypeError: a tensor or sharding doesn't fit. All of this is checked before
        anything is changed.

    >>> import pathlib, tempfile
    >>> import numpy as np
    >>> path = pathlib.Path(tempfile.mkdtemp(), "model.safetensors")
    >>> save(path, {"params": {"kernel": np.ones((2, 3), np.float32)}})
    >>> load(path)["params/kernel"].shape
    (2, 3)
    >>> load(path, {"params": {"kernel": jax.ShapeDtypeStruct((2, 3), "bfloat16")}})
    {'params': {'kernel': Array([[1, 1, 1],
           [1, 1, 1]], dtype=bfloat16)}}
    """
    tensors = opened(Path(path))
    if target is None:
        return tensors
    entries, result = _entries(target)
    keys = _key_impls(tensors.metadata, path)
    _check(entries, tensors, keys, path)
    places = {name: place_of(e.value, repr(name), e.variable) for name, e in entries.items()}
    for name in places:
        entry = entries.pop(name)  # so that the old value is freed
        entry.put(_value(entry.value, tensors[name], keys.get(name), places[name]))
    return result()


def save(
    path: str | os.PathLike[str],
    tree: object,
    *,
    max_shard_bytes: int | None = None,
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Writes an nnx module, linen variables or another tree of arrays to a safetensors file.

    Args:
      path: the file. An existing file is replaced once the new one is complete.
      tree: arrays, typed keys and Python's numbers. A dict of names to arrays keeps these names.
      max_shard_bytes: the maximum number of bytes of tensors in one file; larger trees are divided
        among files `NAME-00001-of-00003.safetensors`, with an index
        `NAME.safetensors.index.json`.
      metadata: strings to store in the file, such as {"format": "pt"}.

    Raises:
      ArgumentError: a value can't be stored, another process has a part of it, or two have the same
        name.
      ArgumentTypeError: a value is neither an array nor a number.

    >>> import pathlib, tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp(), "model.safetensors")
    >>> save(path, {"scale": jnp.ones(3), "key": jax.random.key(0)})
    >>> sorted(load(path))
    ['key', 'scale']
    """
    path = Path(path)
    entries, _ = _entries(tree)
    values = {name: entry.value for name, entry in entries.items()}
    for name, value in values.items():
        check_is_here(value, f"{name!r}", "written by one process")
    keys = {n: str(jax.random.key_impl(v)) for n, v in values.items() if _is_key(v)}
    values = {name: _storable(name, value) for name, value in values.items()}
    for name, value in values.items():
        name_of(np.dtype(value.dtype), name)
    about = dict(metadata or {})
    if keys:
        about[_KEYS] = json.dumps(keys)
    shards = _shards(values, max_shard_bytes)
    if len(shards) < 2:
        write(path, values, about)
        return
    stem = path.name.removesuffix(".safetensors")
    weight_map: dict[str, str] = {}
    for i, names in enumerate(shards, 1):
        file = f"{stem}-{i:05}-of-{len(shards):05}.safetensors"
        write(path.with_name(file), {name: values[name] for name in names}, about)
        weight_map.update(dict.fromkeys(names, file))
    total = sum(_size(value) for value in values.values())
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    text = json.dumps(index, indent=2, ensure_ascii=False)
    path.with_name(f"{stem}.safetensors.index.json").write_text(text, encoding="utf-8")
    path.unlink(missing_ok=True)  # otherwise a folder would have two models


def _entries(tree: object) -> tuple[dict[str, _Entry], Callable[[], Any]]:
    """The values of a tree by name, and a function that makes the tree of their replacements."""
    found: dict[str, _Entry] = {}

    def add(name: str, entry: _Entry) -> None:
        if name in found:
            raise ArgumentError(f"Two values of the tree are called {name!r}.")
        found[name] = entry

    if isinstance(tree, nnx.Module):
        for path, variable in nnx.iter_graph(tree):
            if isinstance(variable, nnx.Variable):
                flat = [p for part in path for p in (part if isinstance(part, tuple) else (part,))]
                put = variable.set_value
                add("/".join(map(str, flat)), _Entry(variable.raw_value, put, variable))
        return found, lambda: tree
    flat_tree, structure = jax.tree_util.tree_flatten_with_path(tree, is_leaf=is_axis_metadata)
    values = [value for _, value in flat_tree]
    for i, (keys, value) in enumerate(flat_tree):

        def put_at(new: object, i: int = i) -> None:
            boxed = is_axis_metadata(values[i])
            values[i] = replace_boxed(values[i], new) if boxed else new

        parts = [p for p in map(path_part, keys) if p]
        add("/".join(parts) or "value", _Entry(contents(value), put_at))
    return found, lambda: jax.tree_util.tree_unflatten(structure, values)


def _is_key(value: object) -> bool:
    dtype = getattr(value, "dtype", None)
    return dtype is not None and jnp.issubdtype(dtype, jax.dtypes.prng_key)


def _storable(name: str, value: object) -> Any:
    if _is_key(value):
        return jax.random.key_data(cast(jax.Array, value))
    if isinstance(value, bool | int | float | complex):
        return np.asarray(value)
    if not hasattr(value, "shape") or not hasattr(value, "dtype"):
        raise ArgumentTypeError(
            f"{name!r} is a {type(value).__name__}, expected an array or a number.",
        )
    if isinstance(value, jax.ShapeDtypeStruct):
        raise ArgumentTypeError(f"{name!r} is only a shape and a dtype, without numbers.")
    return value


def _size(value: Any) -> int:
    size: int = math.prod(value.shape) * np.dtype(value.dtype).itemsize
    return size


def _shards(values: Mapping[str, Any], most: int | None) -> list[list[str]]:
    if most is not None and most < 1:
        raise ArgumentError(f"max_shard_bytes={most}, expected at least 1.")
    shards: list[list[str]] = [[]]
    size = 0
    for name, value in values.items():
        if most is not None and shards[-1] and size + _size(value) > most:
            shards.append([])
            size = 0
        shards[-1].append(name)
        size += _size(value)
    return shards


def _key_impls(metadata: Mapping[str, str], path: object) -> dict[str, str]:
    try:
        found = json.loads(metadata.get(_KEYS, "{}"))
    except json.JSONDecodeError:
        found = None
    if not isinstance(found, dict) or not all(isinstance(v, str) for v in found.values()):
        raise ArgumentError(f"{path} has metadata {_KEYS!r} that doesn't say what the keys are.")
    return found


def _check(
    entries: Mapping[str, _Entry], tensors: Tensors, keys: Mapping[str, str], path: object
) -> None:
    problems = [f"no tensor {n!r}. {did_you_mean(n, tensors)}" for n in entries if n not in tensors]
    problems += [f"no place for {n!r}" for n in tensors if n not in entries]
    if problems:
        lines = "".join(f"\n  {p}" for p in problems[:40])
        more = f"\n  … and {len(problems) - 40} more" if len(problems) > 40 else ""
        raise ArgumentError(
            f"{path} doesn't have the values of the target:{lines}{more}",
            hint="Weights of a PyTorch model are loaded by from_torch(target, load(path)).",
        )
    shapes: list[str] = []
    dtypes: list[str] = []
    for name, entry in entries.items():
        tensor, value = tensors[name], entry.value
        if _is_key(value) or name in keys:
            wanted = value.dtype if _is_key(value) else "an array of numbers"
            got = _key_dtype(keys.get(name))
            if got != wanted:
                dtypes.append(f"{name!r} is {got}, expected {wanted}")
                continue
            struct = jax.ShapeDtypeStruct(value.shape, got)  # type: ignore[no-untyped-call]
            data = jax.eval_shape(jax.random.key_data, struct)
            if (tensor.shape, tensor.dtype) != (data.shape, data.dtype):
                shapes.append(f"{name!r} has shape {tensor.shape}, expected {data.shape}")
            continue
        shape = tuple(np.shape(value))
        if tensor.shape != shape:
            shapes.append(f"{name!r} has shape {tensor.shape}, expected {shape}")
        dtype = np.dtype(getattr(value, "dtype", type(value)))
        if _kind(tensor.dtype) != _kind(dtype):
            dtypes.append(f"{name!r} has dtype {tensor.dtype}, expected {dtype}")
    for error, lines_of in ((ShapeError, shapes), (DtypeError, dtypes)):
        if lines_of:
            text = "".join(f"\n  {line}" for line in lines_of[:40])
            raise error(f"{path} has different values from the target:{text}")


def _key_dtype(impl: str | None) -> Any:
    """The dtype of keys of that kind, or a description if there is no such kind."""
    if impl is None:
        return "not a key"
    try:
        return jax.eval_shape(lambda: jax.random.key(0, impl=cast(Any, impl))).dtype
    except ValueError:
        return f"a key of the unknown kind {impl!r}"


def _kind(dtype: np.dtype[Any]) -> str:
    for kind in (jnp.bool_, jnp.integer, jnp.floating, jnp.complexfloating):
        if jnp.issubdtype(dtype, kind):
            return kind.__name__
    return str(dtype)


def _value(old: Any, tensor: Tensor, impl: str | None, place: Sharding | None) -> Any:
    if impl is not None:
        key = jax.random.wrap_key_data(jnp.asarray(np.asarray(tensor)), impl=cast(Any, impl))
        return key if place is None else jax.device_put(key, place)
    if isinstance(old, bool | int | float | complex):
        return type(old)(np.asarray(tensor).item())
    if isinstance(old, np.ndarray | np.generic):
        return np.asarray(np.asarray(tensor), dtype=old.dtype)
    return placed(tensor, np.dtype(old.dtype), place, own=True)
