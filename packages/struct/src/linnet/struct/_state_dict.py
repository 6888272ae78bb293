"""State dicts: nested plain dicts with string keys that hold only an object's arrays.

The idea: an object and a state dict are compared before anything is built. `_compare` walks both
together and records every missing key, every unknown key and every value of the wrong kind, so that
the error lists all of them and is raised before anything is changed. `_restore` then cannot fail,
except in functions that users register, which see only their own part.
"""

from __future__ import annotations

import numbers
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from typing import Any, NamedTuple, TypeVar, overload

import jax
import numpy as np

from linnet.struct._containers import container_of, is_namedtuple
from linnet.struct._errors import message
from linnet.struct._placing import in_place_of

Path = tuple[str, ...]
T = TypeVar("T")

_path: ContextVar[Path] = ContextVar("path", default=())


class StateDictError(ValueError):
    """A state dict does not fit the object that is to be restored from it.

    Attributes:
      missing: paths of the object that the state dict lacks.
      unknown: paths of the state dict that the object lacks.
      mismatched: a sentence for each value whose kind differs from the object's.
    """

    __module__ = "linnet.struct.serialization"  # where users find it

    def __init__(
        self,
        target: str,
        missing: tuple[str, ...] = (),
        unknown: tuple[str, ...] = (),
        mismatched: tuple[str, ...] = (),
    ) -> None:
        self.target = target
        self.missing = missing
        self.unknown = unknown
        self.mismatched = mismatched
        found = [
            f"{what} field{'s' * (len(paths) > 1)} {', '.join(paths)}"
            for what, paths in (("missing", missing), ("unknown", unknown))
            if paths
        ]
        text = "; ".join([*found, *mismatched])
        super().__init__(
            message(
                f"Cannot restore {target} from the state dict: {text}.",
                "Nothing was changed. Was the state saved from another model, or by another "
                "version?",
            )
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.target, self.missing, self.unknown, self.mismatched)


class _Handler(NamedTuple):
    to_state_dict: Callable[[Any], Any]
    from_state_dict: Callable[[Any, Any], Any]


_handlers: dict[type, _Handler] = {}


def register_serialization_state(
    ty: object,
    ty_to_state_dict: Callable[[Any], dict[str, Any]],
    ty_from_state_dict: Callable[[Any, dict[str, Any]], Any],
    override: bool = False,
) -> None:
    """Registers how instances of exactly this class are converted to state dicts and back.

    Args:
      ty: the class.
      ty_to_state_dict: takes an instance and returns a dict with string keys; calls `to_state_dict`
        on values of other types.
      ty_from_state_dict: takes an instance and a state dict and returns a new instance; calls
        `from_state_dict` with `name=` on values of other types.
      override: True to replace an existing registration.

    Raises:
      TypeError: `ty` is not a class.
      ValueError: the class is already serializable, and `override` is False.

    >>> from linnet.struct import serialization
    >>> class Meter:
    ...     def __init__(self, total):
    ...         self.total = total
    >>> serialization.register_serialization_state(
    ...     Meter, lambda m: {"total": m.total}, lambda m, state: Meter(state["total"])
    ... )
    >>> serialization.from_state_dict([Meter(1)], {"0": {"total": 5}})[0].total
    5
    """
    if not isinstance(ty, type):
        raise TypeError(f"register_serialization_state: expected a class, got {ty!r}.")
    taken = ty in _handlers or (container_of(ty) is not None and not is_namedtuple(ty))
    if taken and not override:
        raise ValueError(
            message(
                f"register_serialization_state: {ty.__name__} can already be serialized.",
                "Pass override=True to replace its functions.",
            )
        )
    _handlers[ty] = _Handler(ty_to_state_dict, ty_from_state_dict)


def is_serializable(target: object) -> bool:
    """Whether an object, or the instances of a class, have children that belong in a state dict.

    Args:
      target: an instance or a class.

    >>> from linnet.struct import serialization
    >>> serialization.is_serializable([1, 2]), serialization.is_serializable(1)
    (True, False)
    """
    ty = target if isinstance(target, type) else type(target)
    return ty in _handlers or container_of(ty) is not None


def current_path() -> str:
    """The path of the value being restored, for messages of registered functions; else ''."""
    return "/".join(_path.get())


def to_state_dict(target: object) -> Any:
    """A nested dict with string keys that holds the leaves of a tree.

    Args:
      target: a tree of dicts, FrozenDicts, lists, tuples, named tuples, struct dataclasses and
        registered classes. A dataclass contributes the fields that are children of the pytree.

    Returns:
      The state dict; a leaf is returned as it is.

    Raises:
      ValueError: two keys of a dict are the same as strings.
      TypeError: a registered function returned a dict with keys that are not strings.

    >>> from linnet.struct import serialization
    >>> serialization.to_state_dict({"layers": [1.0, (2.0, 3.0)]})
    {'layers': {'0': 1.0, '1': {'0': 2.0, '1': 3.0}}}
    """
    ty = type(target)
    if ty in _handlers:
        state = _handlers[ty].to_state_dict(target)
        if isinstance(state, Mapping) and (odd := [k for k in state if not isinstance(k, str)]):
            raise TypeError(
                f"to_state_dict: the state dict of {ty.__name__} has the key {odd[0]!r}; "
                "keys must be strings."
            )
        return state
    container = container_of(ty)
    if container is None:
        return target
    return {name: to_state_dict(child) for name, child in container.children(target).items()}


@overload
def from_state_dict(target: None, state: object, name: str = ".") -> Any: ...
@overload
def from_state_dict(target: T, state: object, name: str = ".") -> T: ...
def from_state_dict(target: object, state: object, name: str = ".") -> object:
    """A copy of a tree with the leaves of a state dict.

    Args:
      target: a tree with the desired structure, as for `to_state_dict`; its leaves may be anything,
        such as `jax.ShapeDtypeStruct`. None returns the state dict as it is.
      state: the state dict that `to_state_dict` returned for a tree of the same structure.
      name: the name of `target` in paths.

    Returns:
      A new tree; `target` is not changed. If an array of the target is spread over devices, an
      array that the program has not placed (such as a NumPy array from a file) is split in the same
      way. All other leaves are those of the state dict.

    Raises:
      StateDictError: (a ValueError) names all keys that are missing, unknown or of the wrong kind.

    >>> from linnet.struct import serialization
    >>> serialization.from_state_dict({"a": [0, 0]}, {"a": {"0": 1, "1": 2}})
    {'a': [1, 2]}
    >>> serialization.from_state_dict([0, 0], {"0": 1, "b": 3})  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ...
    linnet.struct.serialization.StateDictError: Cannot restore list ... missing field ./1; ...
      Nothing was changed. Was the state saved from another model, or by another version?
    """
    path = (*_path.get(), name)
    differences = _Differences([], [], [])
    _compare(target, state, path, differences)
    restored = None
    if not any(differences):
        restored = _restore(target, state, path, differences)
    if any(differences):
        raise StateDictError(type(target).__name__, *map(tuple, differences))
    return restored


class _Differences(NamedTuple):
    missing: list[str]
    unknown: list[str]
    mismatched: list[str]


def _compare(target: object, state: object, path: Path, differences: _Differences) -> None:
    """Records every difference between the structures of `state` and `target`."""
    if type(target) in _handlers:
        return
    here = "/".join(path)
    container = container_of(type(target))
    if container is None:
        if isinstance(target, _VALUES) and isinstance(state, Mapping):
            differences.mismatched.append(
                f"{here} should be {_article(target)}, not {_article(state)}"
            )
        return
    children = container.children(target)
    if not isinstance(state, Mapping):
        differences.mismatched.append(
            f"{here} should be {_article(children)}, not {_article(state)}"
        )
        return
    state = _without_legacy(target, state)
    for name, child in children.items():
        if name in state:
            _compare(child, state[name], (*path, name), differences)
        else:
            differences.missing.append(f"{here}/{name}")
    for name in state:
        if name not in children:
            kind = "" if isinstance(name, str) else f" ({type(name).__name__})"
            differences.unknown.append(f"{here}/{name}{kind}")


def _restore(target: object, state: Any, path: Path, differences: _Differences) -> object:
    """A copy of `target` with the leaves of `state`, which has its structure."""
    handler = _handlers.get(type(target))
    if handler is not None:
        token = _path.set(path)
        try:
            return handler.from_state_dict(target, state)
        except StateDictError as error:  # recorded, so that its siblings are checked, too
            differences.missing.extend(error.missing)
            differences.unknown.extend(error.unknown)
            differences.mismatched.extend(error.mismatched)
            return target
        except Exception as error:
            error.add_note(f"while restoring {'/'.join(path)} ({type(target).__name__})")
            raise
        finally:
            _path.reset(token)
    container = container_of(type(target))
    if container is None:
        return in_place_of(target, state)
    state = _without_legacy(target, state)
    restored = {
        name: _restore(child, state[name], (*path, name), differences)
        for name, child in container.children(target).items()
    }
    # After an error, nothing is built: a constructor that checks its arguments would also fail.
    return target if any(differences) else container.rebuild(target, restored)


_LEGACY = {"name", "fields", "values"}


def _without_legacy(target: Any, state: Mapping[str, Any]) -> Mapping[str, Any]:
    """The state of a named tuple in today's form; old files store field names and values."""
    if not is_namedtuple(type(target)) or set(state) != _LEGACY or set(target._fields) == _LEGACY:
        return state
    fields, values = state["fields"], state["values"]
    if not (isinstance(fields, Mapping) and isinstance(values, Mapping)):
        return state
    return {str(fields[i]): values[i] for i in fields if i in values}


# Leaves that no dict can replace. Other leaves (None, objects of unregistered classes) do not show
# what they hold, and accept any value.
_VALUES = (np.ndarray, np.generic, jax.Array, jax.ShapeDtypeStruct, numbers.Number, str, bytes)


def _article(x: object) -> str:
    if isinstance(x, Mapping):
        keys = ", ".join(map(repr, list(x)[:5])) + (", …" if len(x) > 5 else "")
        return f"a dict with the key{'s' * (len(x) > 1)} {keys}" if x else "an empty dict"
    if hasattr(x, "shape") and hasattr(x, "dtype"):
        return f"an array of shape {tuple(x.shape)}"
    name = type(x).__name__
    return f"{'an' if name[0] in 'aeiouAEIO' else 'a'} {name}" if x is not None else "None"
