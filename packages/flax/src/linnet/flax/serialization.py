"""The names of `flax.serialization`, from `linnet.struct.serialization`."""

from collections.abc import Callable, Iterator, Mapping, MutableMapping
from typing import Any, TypeAlias

from linnet.struct import FrozenDict
from linnet.struct._state_dict import _handlers
from linnet.struct.serialization import *  # noqa: F403
from linnet.struct.serialization import (
    _as_extension,
    _from_extension,
    from_state_dict,
    is_serializable,
    register_serialization_state,
    to_state_dict,
)

_Functions: TypeAlias = tuple[Callable[..., Any], Callable[..., Any]]


class _Registry(MutableMapping[type, _Functions]):
    """The classes whose instances become state dicts, and the two functions of each.

    Libraries ask whether a class is in it; each struct dataclass is, though only classes that were
    registered by name are listed.
    """

    def __contains__(self, ty: object) -> bool:
        return isinstance(ty, type) and is_serializable(ty)

    def __getitem__(self, ty: type) -> _Functions:
        if ty not in self:
            raise KeyError(ty)
        return _handlers.get(ty, (to_state_dict, from_state_dict))

    def __setitem__(self, ty: type, functions: _Functions) -> None:
        register_serialization_state(ty, *functions, override=True)

    def __delitem__(self, ty: type) -> None:
        if ty not in self:
            raise KeyError(ty)
        _handlers.pop(ty, None)  # A struct dataclass stays what its definition makes it.

    def __iter__(self) -> Iterator[type]:
        return iter({dict: 0, list: 0, tuple: 0, FrozenDict: 0, **_handlers})

    def __len__(self) -> int:
        return len(list(iter(self)))


_STATE_DICT_REGISTRY = _Registry()

# Programs that use msgpack themselves pass them as `default=` and `ext_hook=`.
_msgpack_ext_pack = _as_extension
_msgpack_ext_unpack = _from_extension


def _dict_state_dict(xs: Mapping[Any, Any]) -> dict[str, Any]:
    """The state dict of a mapping of any class."""
    state: dict[str, Any] = to_state_dict(dict(xs))
    return state


def _restore_dict(xs: Mapping[Any, Any], states: Mapping[str, Any]) -> dict[Any, Any]:
    """A dict like a mapping of any class, from its state dict."""
    return from_state_dict(dict(xs), dict(states))
