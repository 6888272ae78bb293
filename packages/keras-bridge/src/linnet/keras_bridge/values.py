"""Converts values of a module's fields to JSON and back.

Most fields hold numbers, names, shapes, dtypes, functions and other modules. Each kind that JSON
lacks is written as a dict with one key that begins with "@" and names the kind; any other value
raises an error that names its place. Reading creates only values of these kinds.
"""

from __future__ import annotations

import base64
import dataclasses
import enum
import functools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import EllipsisType
from typing import Any

import jax
import jax.numpy as jnp
import keras
import numpy as np
from jax.typing import DTypeLike

from linnet.module_core.errors import ArgumentError, describe
from linnet.struct import FrozenDict

from . import initializers, modules, names
from .place import Place

# Larger arrays belong in the weights; a configuration should be readable.
_MOST_NUMBERS = 4096

_PLAIN = (str, int, type(None))

_OF_FUNCTIONS = (
    "Use a function defined at the top level of a module (functools.partial binds arguments), "
    "or register it: keras.saving.register_keras_serializable()(function). An initializer may "
    "be one of jax.nn.initializers or linnet.initializers."
)
_OF_VALUES = (
    "Give the module methods get_config and from_config, as Keras's layers have, and register "
    "its class: @keras.saving.register_keras_serializable()."
)


def to_json(value: object, where: Place) -> object:
    """A value as JSON.

    Args:
      value: any value of the kinds below.
      where: its place, for the error.

    Raises:
      ArgumentError: the value is of a different kind.
    """
    if isinstance(value, bool) or type(value) in _PLAIN:
        return value
    for matches, name, write, _ in _KINDS:
        if matches(value):
            return {f"@{name}": write(value, where)}
    if isinstance(value, float):
        return value
    if type(value) is list:
        return [to_json(v, where.item(i)) for i, v in enumerate(value)]
    raise ArgumentError(
        f"{where} holds {describe(value)}, which has no name that it can be saved under.",
        hint=_OF_FUNCTIONS if callable(value) else _OF_VALUES,
    )


def from_json(stored: object, where: Place) -> Any:
    """The value that `to_json` wrote.

    Args:
      stored: JSON.
      where: its place, for the error.

    Raises:
      ArgumentError: it is of none of the kinds, or a name in it isn't found.
    """
    if isinstance(stored, list):
        return [from_json(v, where.item(i)) for i, v in enumerate(stored)]
    if not isinstance(stored, dict):
        return stored
    if len(stored) == 1:
        ((tag, content),) = stored.items()
        for _, name, _, read in _KINDS:
            if tag == f"@{name}":
                return read(content, where)
    raise ArgumentError(
        f"{where} is stored in an unknown form, with the keys {sorted(stored)}.",
        hint="Was the file written by a newer version of linnet-keras-bridge?",
    )


def module_to_json(module: object, where: Place) -> dict[str, Any]:
    """A module as JSON; see `modules.to_config`."""
    return modules.to_config(module, where, to_json)


def module_from_json(stored: object, where: Place) -> object:
    """The module that `module_to_json` wrote; see `modules.from_config`."""
    return modules.from_config(stored, where, from_json)


# For each kind: whether a value belongs to it, its name, writing, reading.


def _items(value: Mapping[Any, object], where: Place) -> object:
    return [[to_json(k, where), to_json(v, where.item(k))] for k, v in value.items()]


def _read_items(stored: Iterable[tuple[object, object]], where: Place) -> dict[Any, Any]:
    return {from_json(k, where): from_json(v, where.item(k)) for k, v in stored}


def _sequence(value: Iterable[object], where: Place) -> object:
    return to_json(list(value), where)


def _is_special_float(value: object) -> bool:
    return type(value) is float and not math.isfinite(value)


def _is_scalar_type(value: object) -> bool:
    # np.float32 is a scalar class; jnp.float32 only behaves like one.
    return _is_of_numpy(value) or (
        isinstance(getattr(value, "dtype", None), np.dtype)
        and getattr(jnp, getattr(value, "__name__", ""), None) is value
    )


def _is_of_numpy(value: object) -> bool:
    return isinstance(value, type) and issubclass(value, np.generic)


def _scalar_type(value: DTypeLike, where: Place) -> object:
    return {"name": np.dtype(value).name, "of": "numpy" if _is_of_numpy(value) else "jax"}


def _read_scalar_type(stored: dict[str, str], where: Place) -> object:
    dtype = jnp.dtype(stored["name"])
    return getattr(jnp, stored["name"]) if stored["of"] == "jax" else dtype.type


def _is_array(value: object) -> bool:
    return isinstance(value, (np.ndarray, np.generic, jax.Array))


def _array(value: Any, where: Place) -> object:
    if isinstance(value, jax.core.Tracer):
        raise ArgumentError(
            f"{where} holds a value that jax is tracing, which can't be saved.",
            hint="Create the layer outside functions that jax transforms.",
        )
    is_key = jnp.issubdtype(value.dtype, jax.dtypes.prng_key)
    stored = {
        "of": "jax" if isinstance(value, jax.Array) else "numpy",
        "key": str(jax.random.key_impl(value)) if is_key else None,
        "is_scalar": isinstance(value, np.generic),
        "shape": list(value.shape),
        "dtype": value.dtype.name,
    }
    if where.abstract:
        return stored
    if value.size > _MOST_NUMBERS:
        raise ArgumentError(
            f"{where} holds {describe(value)}, which is too large for a configuration.",
            hint=(
                f"Up to {_MOST_NUMBERS} numbers are saved with the module; make a larger array "
                "one of its variables."
            ),
        )
    numbers = np.asarray(jax.random.key_data(value) if is_key else value)
    data = base64.b64encode(numbers.tobytes()).decode("ascii")
    return {**stored, "dtype": numbers.dtype.name, "data": data}


def _read_array(stored: dict[str, Any], where: Place) -> object:
    shape, key = tuple(stored["shape"]), stored["key"]
    if "data" not in stored:
        if key is not None:
            zeros = jax.random.split(jax.random.key(0, impl=key), math.prod(shape))
            return zeros.reshape(shape)
        numbers = np.zeros(shape, jnp.dtype(stored["dtype"]))
    else:
        data = base64.b64decode(stored["data"], validate=True)
        numbers = np.frombuffer(data, jnp.dtype(stored["dtype"]))
        if key is not None:
            words = numbers.reshape(*shape, -1)
            return jax.random.wrap_key_data(jnp.asarray(words), impl=key)
        numbers = numbers.reshape(shape).copy()
    if stored["of"] == "jax":
        return jnp.asarray(numbers)
    return numbers[()] if stored["is_scalar"] else numbers


def _is_function(value: object) -> bool:
    return callable(value) and names.reference(value) is not None


def _read_function(stored: object, where: Place) -> object:
    found = names.find(stored, where)
    if not callable(found) or (isinstance(found, type) and not _is_own_class(found)):
        raise ArgumentError(f"{where} should be a function, got {describe(found)}.")
    return found


def _is_own_class(cls: type) -> bool:
    """Whether a field may plausibly hold the class: one of modules, variables, or data."""
    return modules.is_written_class(cls) or dataclasses.is_dataclass(cls)


def _partial(value: functools.partial[object], where: Place) -> object:
    return [
        to_json(value.func, where.field("func")),
        to_json(list(value.args), where.field("args")),
        _items(value.keywords, where.field("keywords")),
    ]


def _read_partial(stored: Sequence[Any], where: Place) -> object:
    func, args, keywords = stored
    return functools.partial(
        from_json(func, where.field("func")),
        *from_json(args, where.field("args")),
        **_read_items(keywords, where.field("keywords")),
    )


def _enum(value: enum.Enum, where: Place) -> object:
    return {"class": _enum_class(value), "member": value.name}


def _enum_class(value: object) -> object:
    return names.reference(type(value))


def _is_enum(value: object) -> bool:
    return isinstance(value, enum.Enum) and _enum_class(value) is not None


def _read_enum(stored: dict[str, Any], where: Place) -> object:
    found = names.find(stored["class"], where)
    if not (isinstance(found, type) and issubclass(found, enum.Enum)):
        raise ArgumentError(f"{where} should be a member of an enum, got {describe(found)}.")
    return found[stored["member"]]


def _is_data(value: object) -> bool:
    """An instance of a dataclass, or a named tuple, that is not a module."""
    if isinstance(value, type) or names.reference(type(value)) is None:
        return False
    return dataclasses.is_dataclass(value) or (
        isinstance(value, tuple) and hasattr(value, "_fields")
    )


def _data(value: object, where: Place) -> object:
    if isinstance(value, tuple):
        field_names = value._fields  # type: ignore[attr-defined]
    else:
        assert dataclasses.is_dataclass(value)
        field_names = [f.name for f in dataclasses.fields(value) if f.init]
    return {
        "class": names.reference(type(value)),
        "fields": {name: to_json(getattr(value, name), where.field(name)) for name in field_names},
    }


def _read_data(stored: dict[str, Any], where: Place) -> object:
    found = names.find(stored["class"], where)
    is_tuple = isinstance(found, type) and issubclass(found, tuple) and hasattr(found, "_fields")
    if not (isinstance(found, type) and (dataclasses.is_dataclass(found) or is_tuple)):
        raise ArgumentError(f"{where} should be a dataclass, got {describe(found)}.")
    fields = {name: from_json(v, where.field(name)) for name, v in stored["fields"].items()}
    return found(**fields)


def _initializer(value: object, where: Place) -> object:
    made = initializers.call_of(value)
    assert made is not None
    library, factory, arguments = made
    return [library, factory, {k: to_json(v, where.field(k)) for k, v in arguments.items()}]


def _read_initializer(stored: tuple[str, str, dict[str, object]], where: Place) -> object:
    library, factory, arguments = stored
    read = {k: from_json(v, where.field(k)) for k, v in arguments.items()}
    return initializers.make(library, factory, read, where)


def _is_of_keras(value: object) -> bool:
    return hasattr(type(value), "get_config") and not modules.is_module(value)


def _of_keras(value: object, where: Place) -> object:
    return keras.saving.serialize_keras_object(value)


def _read_of_keras(stored: object, where: Place) -> object:
    return keras.saving.deserialize_keras_object(stored)


def _is_axes(value: object) -> bool:
    return isinstance(value, jax.sharding.PartitionSpec)


_Kind = tuple[Callable[[Any], bool], str, Callable[[Any, Place], Any], Callable[[Any, Place], Any]]

_KINDS: tuple[_Kind, ...] = (
    (_is_special_float, "float", lambda v, w: repr(v), lambda s, w: float(s)),
    (
        lambda v: isinstance(v, complex),
        "complex",
        lambda v, w: [v.real, v.imag],
        lambda s, w: complex(*s),
    ),
    (lambda v: isinstance(v, EllipsisType), "ellipsis", lambda v, w: None, lambda s, w: ...),
    (
        lambda v: isinstance(v, slice),
        "slice",
        lambda v, w: to_json([v.start, v.stop, v.step], w),
        lambda s, w: slice(*from_json(s, w)),
    ),
    (
        _is_axes,
        "partition_spec",
        _sequence,
        lambda s, w: jax.sharding.PartitionSpec(*from_json(s, w)),  # type: ignore[no-untyped-call]
    ),
    (lambda v: type(v) is tuple, "tuple", _sequence, lambda s, w: tuple(from_json(s, w))),
    (lambda v: type(v) is dict, "dict", _items, _read_items),
    (
        lambda v: type(v) is FrozenDict,
        "frozen_dict",
        _items,
        lambda s, w: FrozenDict(_read_items(s, w)),
    ),
    (
        lambda v: type(v) is set,
        "set",
        lambda v, w: to_json(sorted(v, key=repr), w),
        lambda s, w: set(from_json(s, w)),
    ),
    (
        lambda v: type(v) is frozenset,
        "frozenset",
        lambda v, w: to_json(sorted(v, key=repr), w),
        lambda s, w: frozenset(from_json(s, w)),
    ),
    (lambda v: isinstance(v, np.dtype), "dtype", lambda v, w: v.name, lambda s, w: jnp.dtype(s)),
    (_is_scalar_type, "scalar_type", _scalar_type, _read_scalar_type),
    (_is_array, "array", _array, _read_array),
    (modules.is_module, "module", module_to_json, module_from_json),
    (lambda v: initializers.call_of(v) is not None, "initializer", _initializer, _read_initializer),
    (lambda v: type(v) is functools.partial, "partial", _partial, _read_partial),
    (_is_enum, "enum", _enum, _read_enum),
    (_is_function, "function", lambda v, w: names.reference(v), _read_function),
    (_is_of_keras, "keras", _of_keras, _read_of_keras),
    (_is_data, "data", _data, _read_data),
)
