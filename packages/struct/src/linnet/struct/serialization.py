"""Trees of arrays as state dicts and as bytes, in the format that Flax reads and writes.

The idea: a tree becomes a state dict (`_state_dict`), and the state dict becomes one msgpack
object. Values that msgpack does not support (arrays, NumPy scalars and complex numbers) are written
as an extension type whose payload is again msgpack: shape, name of the dtype, elements in C order.
An array too large for one extension, or a typed PRNG key, is written as a dict with a marker; a
reader that doesn't know the marker still reads it as a dict.

Reading only builds numbers, strings, lists, dicts and arrays of numbers: the bytes cannot name a
class or a function, or make Python execute code.

msgpack is an optional dependency: `pip install linnet-struct[msgpack]`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from types import ModuleType
from typing import Any, TypeVar, overload

import jax
import jax.numpy as jnp
import numpy as np

from linnet.struct._errors import message
from linnet.struct._state_dict import (
    StateDictError,
    current_path,
    from_state_dict,
    is_serializable,
    register_serialization_state,
    to_state_dict,
)

T = TypeVar("T")

__all__ = [
    "MAX_CHUNK_SIZE",
    "InvalidBytesError",
    "NotSerializableError",
    "StateDictError",
    "current_path",
    "from_bytes",
    "from_state_dict",
    "is_serializable",
    "msgpack_restore",
    "msgpack_serialize",
    "register_serialization_state",
    "to_bytes",
    "to_state_dict",
]

HINT = "_serialization_hint"
"""Name of an attribute of unserializable classes that says what to serialize instead."""

MAX_CHUNK_SIZE = 2**30
"""The maximum number of bytes per chunk; larger arrays are written in several chunks."""

# An extension holds at most 2**32 - 1 bytes, including the array's header.
_LARGEST_EXTENSION = 2**32 - 2**16

# Extension types, numbered as in Flax.
_NDARRAY, _COMPLEX, _NPSCALAR = 1, 2, 3

_CHUNKED = "__msgpack_chunked_array__"
_PRNG_KEY = "__msgpack_prng_key__"


class InvalidBytesError(ValueError):
    """The bytes were not written by `to_bytes`, or are incomplete."""


class NotSerializableError(TypeError):
    """A tree holds something that cannot be serialized."""


def to_bytes(target: object) -> bytes:
    """Serializes a tree's leaves to bytes.

    Args:
      target: a tree as `to_state_dict` takes it; its leaves are arrays, NumPy scalars, typed PRNG
        keys, numbers (including complex ones), bools, strings, bytes and None.

    Raises:
      NotSerializableError: (a TypeError) a leaf is something else, or an array that other
        processes hold parts of; the message names its path.
      ImportError: msgpack is not installed.

    >>> from linnet.struct import serialization
    >>> encoded = serialization.to_bytes({"step": 3, "sizes": [1, 2]})
    >>> serialization.from_bytes({"step": 0, "sizes": [0, 0]}, encoded)
    {'step': 3, 'sizes': [1, 2]}
    """
    return msgpack_serialize(to_state_dict(target), in_place=True)


@overload
def from_bytes(target: None, encoded_bytes: bytes) -> Any: ...
@overload
def from_bytes(target: T, encoded_bytes: bytes) -> T: ...
def from_bytes(target: object, encoded_bytes: bytes) -> object:
    """A copy of a tree with the leaves that were written by `to_bytes`.

    Args:
      target: a tree with the desired structure, or None for the state dict as it is.
      encoded_bytes: the bytes that `to_bytes` returned for a tree of that structure.

    Returns:
      A new tree; its arrays are read-only NumPy arrays. If the target's array is spread over
      devices, the new one is a jax array with the same layout.

    Raises:
      InvalidBytesError: (a ValueError) the bytes are cut off, or are something else.
      StateDictError: (a ValueError) the tree that was written has a different structure.
      ImportError: msgpack is not installed.

    >>> import jax.numpy as jnp
    >>> from linnet.struct import serialization
    >>> encoded = serialization.to_bytes({"w": jnp.ones(2), "step": 3})
    >>> serialization.from_bytes({"w": jnp.zeros(2), "step": 0}, encoded)
    {'w': array([1., 1.], dtype=float32), 'step': 3}
    """
    return from_state_dict(target, msgpack_restore(encoded_bytes))


def msgpack_serialize(pytree: object, in_place: bool = False) -> bytes:
    """Serializes a tree of dicts and lists to bytes.

    Args:
      pytree: dicts, lists and the leaves that `to_bytes` takes; other containers go through
        `to_state_dict` first.
      in_place: True to keep the order of dicts, as `to_bytes` does; False to sort them by key. The
        tree is not changed in either case.

    Raises:
      NotSerializableError: (a TypeError) the tree holds something else, or an array that other
        processes hold parts of; the message names its path.
      ImportError: msgpack is not installed.

    >>> from linnet.struct import serialization
    >>> serialization.msgpack_serialize({"b": 1, "a": 1j}, in_place=True).hex(" ")
    '82 a1 62 01 a1 61 c7 13 02 92 cb 00 00 00 00 00 00 00 00 cb 3f f0 00 00 00 00 00 00'
    """
    msgpack = _import_msgpack("msgpack_serialize")
    try:
        plain = _writable(pytree, ".", ordered=not in_place, largest=MAX_CHUNK_SIZE)
        packed: bytes = msgpack.packb(plain, default=_as_extension, strict_types=True)
    except (ValueError, OverflowError, RecursionError) as error:
        raise NotSerializableError(f"the tree cannot be serialized: {error}.") from error
    return packed


def msgpack_restore(encoded_pytree: bytes) -> Any:
    """The tree that `msgpack_serialize` wrote.

    Args:
      encoded_pytree: bytes, or anything with the buffer protocol.

    Returns:
      Dicts, lists and leaves. Arrays are read-only NumPy arrays; typed PRNG keys are restored as
      such.

    Raises:
      InvalidBytesError: (a ValueError) the bytes are cut off, or are something else.
      TypeError: `encoded_pytree` is not bytes.
      ImportError: msgpack is not installed.

    >>> from linnet.struct import serialization
    >>> encoded = serialization.msgpack_serialize({"a": [1, 2, 3]})
    >>> serialization.msgpack_restore(encoded)
    {'a': [1, 2, 3]}
    >>> serialization.msgpack_restore(encoded[:-1])  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ...
    linnet.struct.serialization.InvalidBytesError: 6 bytes cannot be read as a tree: ...
      Is the file truncated, or was it written by another program?
    """
    msgpack = _import_msgpack("msgpack_restore")
    if not isinstance(encoded_pytree, bytes | bytearray | memoryview):
        raise TypeError(f"msgpack_restore: expected bytes, got {type(encoded_pytree).__name__}.")
    try:
        tree = msgpack.unpackb(encoded_pytree, ext_hook=_from_extension, strict_map_key=False)
        return _read_markers(tree)
    # Errors that msgpack raises for foreign bytes, and errors from wrong types in a valid object.
    except (ValueError, TypeError, RecursionError, OverflowError) as error:
        size = memoryview(encoded_pytree).nbytes
        reason = str(error).rstrip(".") or type(error).__name__
        raise InvalidBytesError(
            message(
                f"{size} byte{'s' * (size != 1)} cannot be read as a tree: {reason}.",
                "Is the file truncated, or was it written by another program?",
            )
        ) from error


# Writing.


def _writable(x: Any, path: str, *, ordered: bool, largest: int) -> object:
    """`x` in a form that msgpack and `_extension` can write: NumPy arrays, large ones in chunks."""
    ty = type(x)
    if ty is dict:
        _check_keys(x, path)
        return {
            key: _writable(x[key], f"{path}/{key}", ordered=ordered, largest=MAX_CHUNK_SIZE)
            for key in (_sorted(x) if ordered else x)
        }
    if ty is list:
        # Flax splits only arrays in dicts; in lists, we split only arrays that do not fit whole.
        return [
            _writable(item, f"{path}/{i}", ordered=ordered, largest=_LARGEST_EXTENSION)
            for i, item in enumerate(x)
        ]
    if isinstance(x, jax.Array):
        _check_is_here(x, path)
        if jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
            return _key_as_dict(x, path, largest)
    if isinstance(x, np.ndarray | jax.Array):
        return _as_chunks(_checked_array(x, path), largest)
    if isinstance(x, np.generic):
        _check_dtype(x.dtype, path)
        return x
    if ty is int and not -(2**63) <= x < 2**64:
        raise NotSerializableError(f"{path}: the integer {x} does not fit into 64 bits.")
    if x is None or ty in (bool, int, float, complex, str, bytes, bytearray, memoryview):
        return x
    if ty in _msgpack_types():
        return x
    hint = getattr(x, HINT, None)
    raise NotSerializableError(
        message(
            f"{path}: objects of class {ty.__name__} cannot be serialized.",
            hint
            or "Containers go through to_state_dict first, as to_bytes does; for a class of your"
            " own, see register_serialization_state.",
        )
    )


def _msgpack_types() -> tuple[type, ...]:
    """Types of values that msgpack itself returns: times, and extensions of other programs."""
    msgpack = _import_msgpack("msgpack_serialize")
    return msgpack.Timestamp, msgpack.ExtType


def _sorted(xs: dict[Any, Any]) -> list[Any]:
    try:
        return sorted(xs)
    except TypeError:
        return list(xs)


def _check_keys(xs: dict[Any, Any], path: str) -> None:
    for key in xs:
        if key is not None and type(key) not in (str, int, float, bool, bytes):
            raise NotSerializableError(
                f"{path}: the key {key!r} of a dict cannot be serialized; "
                f"it is {type(key).__name__}, not a string or a number."
            )
        if key in (_CHUNKED, _PRNG_KEY):
            raise NotSerializableError(f"{path}: the key {key!r} is reserved by the format.")


def _check_is_here(x: jax.Array, path: str) -> None:
    if isinstance(x, jax.core.Tracer) or x.is_fully_addressable or x.is_fully_replicated:
        return
    raise NotSerializableError(
        message(
            f"{path}: an array of shape {x.shape} is spread over several processes, and this one"
            " has only a part of it.",
            "Gather the tree in all processes: jax.experimental.multihost_utils.process_allgather("
            "tree, tiled=True); or save it with orbax, where each process writes its part.",
        )
    )


def _checked_array(x: object, path: str) -> np.ndarray:
    if isinstance(x, np.ma.MaskedArray):
        raise NotSerializableError(
            message(
                f"{path}: a masked array cannot be serialized: its mask would be lost.",
                "Serialize its `data` and its `mask` separately.",
            )
        )
    array = np.asarray(x)
    _check_dtype(array.dtype, path)
    # Only the name of a dtype is written, and it does not include the byte order.
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))


def _check_dtype(dtype: np.dtype[Any], path: str) -> None:
    if not _is_number(dtype):
        raise NotSerializableError(
            message(
                f"{path}: an array of dtype {dtype} cannot be serialized.",
                "Arrays of numbers, bools, times and durations can; write strings as a list.",
            )
        )


def _is_number(dtype: np.dtype[Any]) -> bool:
    # isbuiltin is 2 for the dtypes that ml_dtypes adds: bfloat16, float8_*, int4, …
    return dtype.kind in "biufcmM" or dtype.isbuiltin == 2


def _as_chunks(array: np.ndarray, largest: int) -> object:
    """An array, or a dict with its shape and its elements in pieces of at most `largest` bytes."""
    if array.nbytes <= largest:
        return array
    flat = array.reshape(-1)
    step = max(1, largest // array.dtype.itemsize)
    chunks = [flat[start : start + step] for start in range(0, flat.size, step)]
    return {
        _CHUNKED: True,
        "shape": {str(i): size for i, size in enumerate(array.shape)},
        "chunks": {str(i): chunk for i, chunk in enumerate(chunks)},
    }


def _key_as_dict(key: jax.Array, path: str, largest: int) -> dict[str, Any]:
    impl: Any = jax.random.key_impl(key)
    if not isinstance(impl, str):  # an implementation that JAX doesn't know by name
        raise NotSerializableError(
            message(
                f"{path}: a PRNG key of the unregistered kind {impl} cannot be serialized.",
                "Write jax.random.key_data(key).",
            )
        )
    data = np.asarray(jax.random.key_data(key))
    return {_PRNG_KEY: True, "impl": impl, "data": _as_chunks(data, largest)}


def _as_extension(x: object) -> object:
    """The extension for a leaf that msgpack doesn't support; anything else is returned as it is."""
    if isinstance(x, complex) and not isinstance(x, np.generic):
        return _packed(_COMPLEX, (x.real, x.imag))
    if not isinstance(x, np.ndarray | np.generic | jax.Array):
        return x
    array = np.asarray(x)
    code = _NPSCALAR if isinstance(x, np.generic) else _NDARRAY
    return _packed(code, (array.shape, array.dtype.name, array.tobytes()))


def _packed(code: int, content: tuple[Any, ...]) -> object:
    msgpack = _import_msgpack("msgpack_serialize")
    return msgpack.ExtType(code, msgpack.packb(content, use_bin_type=True))


# Reading. The errors raised here become an InvalidBytesError.


def _from_extension(code: int, data: bytes) -> object:
    """The leaf of an extension; one that another program wrote is kept as it is."""
    msgpack = _import_msgpack("msgpack_restore")
    if code not in (_NDARRAY, _COMPLEX, _NPSCALAR):
        return msgpack.ExtType(code, data)
    content = msgpack.unpackb(data)
    if code == _COMPLEX:
        real, imag = content
        return complex(real, imag)
    shape, name, data = content
    if not (isinstance(name, str) and isinstance(data, bytes)):
        raise ValueError("an array lacks its dtype or its elements")
    array = _array(shape, name, data)
    return array[()] if code == _NPSCALAR else array


def _array(shape: Sequence[int], name: str, data: bytes) -> np.ndarray:
    # np.dtype parses a small language; only plain names are passed to it.
    dtype = np.dtype(name) if re.fullmatch(r"[a-z]\w*(\[\w+\])?", name, re.ASCII) else None
    if dtype is None or dtype.name != name or not _is_number(dtype):
        raise ValueError(f"there is an array of the unknown dtype {name!r}")
    size = math.prod(_checked_shape(shape))
    if len(data) != size * dtype.itemsize:
        raise ValueError(
            f"an array of shape {tuple(shape)} and dtype {name} has {len(data)}"
            f" byte{'s' * (len(data) != 1)}"
            f" instead of {size * dtype.itemsize}"
        )
    return np.frombuffer(data, dtype).reshape(shape)


def _checked_shape(shape: object) -> list[int]:
    if not isinstance(shape, list) or not all(type(n) is int and n >= 0 for n in shape):
        raise ValueError(f"{shape!r} is not the shape of an array")
    return shape


def _read_markers(x: object) -> object:
    """`x` with the dicts that encode chunked arrays and PRNG keys replaced by their values."""
    if isinstance(x, list):
        return [_read_markers(item) for item in x]
    if not isinstance(x, dict):
        return x
    x = {key: _read_markers(value) for key, value in x.items()}
    if _CHUNKED in x:
        shape, chunks = _as_list(x.get("shape")), _as_list(x.get("chunks"))
        return np.concatenate(chunks).reshape(_checked_shape(shape))
    if _PRNG_KEY in x:
        data: Any = x.get("data")
        return jax.random.wrap_key_data(data, impl=x.get("impl"))
    return x


def _as_list(xs: object) -> list[Any]:
    if not isinstance(xs, dict) or any(str(i) not in xs for i in range(len(xs))):
        raise ValueError("an array in chunks lacks its shape or some of its chunks")
    return [xs[str(i)] for i in range(len(xs))]


def _import_msgpack(function: str) -> ModuleType:
    try:
        import msgpack  # type: ignore[import-untyped,import-not-found,unused-ignore]
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            message(
                f"{function} needs msgpack, which is not installed.",
                'python -m pip install "linnet-struct[msgpack]"',
            ),
            name="msgpack",
        ) from error
    module: ModuleType = msgpack
    return module
