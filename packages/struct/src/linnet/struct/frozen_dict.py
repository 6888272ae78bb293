"""An immutable dictionary that is a pytree.

The idea: a `FrozenDict` owns one plain nested dict that is not referenced elsewhere, and never
returns a mutable part of it. A nested dict is wrapped only when it is accessed, so wrapping costs
one object, and JAX sees the plain dicts. Only dicts are frozen; the contents of a list are not.

The functions also take plain dicts, so that code need not check which of the two it has.
"""

from __future__ import annotations

from collections.abc import Hashable, ItemsView, Iterable, Iterator, KeysView, Mapping, ValuesView
from types import MappingProxyType
from typing import Any, NoReturn, Self, TypeVar, overload

import jax.tree_util

from linnet.struct._errors import message

K = TypeVar("K")
V = TypeVar("V")


class FrozenKeysView(KeysView[K]):
    """The keys of a `FrozenDict`."""

    def __repr__(self) -> str:
        return f"frozen_dict_keys({list(self)})"


class FrozenValuesView(ValuesView[V]):
    """The values of a `FrozenDict`."""

    def __repr__(self) -> str:
        return f"frozen_dict_values({list(self)})"


class FrozenItemsView(ItemsView[K, V]):
    """The pairs of key and value of a `FrozenDict`."""

    def __repr__(self) -> str:
        return f"frozen_dict_items({list(self)})"


@jax.tree_util.register_pytree_with_keys_class
class FrozenDict(Mapping[K, V]):
    """An immutable mapping, nested dicts included; a pytree whose children are sorted by key.

    The constructor takes the same arguments as `dict` and copies them. A FrozenDict equals any
    mapping with the same items, and is hashable if its values are.

    >>> from linnet.struct import FrozenDict
    >>> params = FrozenDict({"dense": {"kernel": 1.0}, "step": 3})
    >>> params["dense"]
    FrozenDict({
        kernel: 1.0,
    })
    >>> params.copy({"step": 4})["step"]
    4
    >>> params["step"] = 4
    Traceback (most recent call last):
    ...
    ValueError: FrozenDict is immutable: cannot set 'step'.
      Make a changed copy with .copy({...}), or a dict with .unfreeze().
    """

    __slots__ = ("_dict", "_hash")

    _dict: dict[K, V]
    _hash: int | None

    @overload
    def __init__(
        self, mapping: Mapping[K, V], /, *, __unsafe_skip_copy__: bool = False
    ) -> None: ...
    @overload
    def __init__(self, pairs: Iterable[tuple[K, V]], /) -> None: ...
    @overload
    def __init__(
        self: FrozenDict[str, Any], mapping: Mapping[str, Any] = ..., **kwargs: Any
    ) -> None: ...
    def __init__(
        self: FrozenDict[Any, Any],
        *args: object,
        __unsafe_skip_copy__: bool = False,
        **kwargs: object,
    ) -> None:
        # The outer dict is always copied, as in the constructor of `dict`.
        items: dict[Any, Any] = dict(*args, **kwargs)
        self._dict = items if __unsafe_skip_copy__ else _own(items)
        self._hash = None

    @classmethod
    def _wrap(cls, items: dict[Any, Any]) -> Self:
        """A FrozenDict around a dict that nothing else changes, without a copy."""
        made = cls.__new__(cls)
        made._dict = items
        made._hash = None
        return made

    def __getitem__(self, key: K) -> V:
        value = self._dict[key]
        return FrozenDict._wrap(value) if isinstance(value, dict) else value  # type: ignore[return-value]

    def __contains__(self, key: object) -> bool:
        return key in self._dict

    def __iter__(self) -> Iterator[K]:
        return iter(self._dict)

    def __len__(self) -> int:
        return len(self._dict)

    def keys(self) -> FrozenKeysView[K]:
        """The keys, in the order of insertion."""
        return FrozenKeysView(self)

    def values(self) -> FrozenValuesView[V]:
        """The values, nested dicts as FrozenDicts."""
        return FrozenValuesView(self)

    def items(self) -> FrozenItemsView[K, V]:
        """Pairs of key and value, nested dicts as FrozenDicts."""
        return FrozenItemsView(self)

    def __setitem__(self, key: K, value: V) -> NoReturn:
        self._refuse(f"cannot set {key!r}")

    def __delitem__(self, key: K) -> NoReturn:
        self._refuse(f"cannot delete {key!r}")

    def _refuse(self, what: str) -> NoReturn:
        raise ValueError(
            message(
                f"FrozenDict is immutable: {what}.",
                "Make a changed copy with .copy({...}), or a dict with .unfreeze().",
            )
        )

    def __hash__(self) -> int:
        if self._hash is None:
            # Exclusive or: two equal dicts may have been filled in different orders.
            total = 0
            for item in self.items():
                total ^= hash(item)
            self._hash = total
        return self._hash

    def __repr__(self) -> str:
        return self.pretty_repr()

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._dict,)

    def pretty_repr(self, num_spaces: int = 4) -> str:
        """The text with one line per entry, each level indented by `num_spaces`."""
        return f"FrozenDict({_pretty(self._dict, num_spaces)})"

    def copy(self, add_or_replace: Mapping[K, V] = MappingProxyType({})) -> Self:
        """A copy with entries added or replaced.

        Args:
          add_or_replace: the new entries, by key.
        """
        return type(self)({**self._dict, **_thaw(add_or_replace)})

    def pop(self, key: K) -> tuple[Self, V]:
        """A copy without `key`, and the value that it had.

        Args:
          key: the entry to leave out.

        Raises:
          KeyError: there is no such entry.

        >>> from linnet.struct import FrozenDict
        >>> rest, params = FrozenDict({"params": 1, "state": 2}).pop("params")
        >>> rest == {"state": 2}, params
        (True, 1)
        """
        value = self[key]
        return self._wrap({k: v for k, v in self._dict.items() if k != key}), value

    def unfreeze(self) -> dict[K, V]:
        """A plain nested dict with the same entries, sorted by key as JAX sorts them."""
        thawed: dict[K, V] = _copied(self._dict)
        return thawed

    def tree_flatten_with_keys(self) -> tuple[tuple[tuple[Any, Any], ...], Hashable]:
        """The values by key path and the keys, sorted, for JAX."""
        keys = self._sorted_keys()
        return tuple((jax.tree_util.DictKey(k), self._dict[k]) for k in keys), keys

    def tree_flatten(self) -> tuple[tuple[V, ...], Hashable]:
        """The values and the keys, sorted, for JAX."""
        keys = self._sorted_keys()
        return tuple(self._dict[k] for k in keys), keys

    @classmethod
    def tree_unflatten(cls, keys: tuple[K, ...], values: Iterable[V]) -> Self:
        """The inverse of `tree_flatten`, for JAX."""
        return cls._wrap(dict(zip(keys, values, strict=True)))

    def _sorted_keys(self) -> tuple[K, ...]:
        try:
            return tuple(sorted(self._dict))  # type: ignore[type-var]
        except TypeError:
            raise TypeError(
                message(
                    f"FrozenDict: the keys {list(self._dict)} cannot be sorted, as JAX requires.",
                    "Use keys of one type.",
                )
            ) from None


def freeze(xs: Mapping[K, V]) -> FrozenDict[K, V]:
    """An immutable copy of a nested dict.

    Args:
      xs: a dict, a FrozenDict or anything else that `dict` takes.

    >>> from linnet.struct import freeze
    >>> freeze({"a": {"b": 1}})["a"]["b"]
    1
    """
    return FrozenDict(xs)


def unfreeze(x: FrozenDict[K, V] | dict[K, V]) -> dict[K, V]:
    """A mutable copy of a FrozenDict, or of a dict that holds FrozenDicts.

    Args:
      x: a FrozenDict or a dict; anything else is returned as it is.

    >>> from linnet.struct import FrozenDict, unfreeze
    >>> unfreeze({"a": FrozenDict({"b": 1})})
    {'a': {'b': 1}}
    """
    thawed: dict[K, V] = _thaw(x)
    return thawed


def copy(
    x: FrozenDict[K, V] | dict[K, V],
    add_or_replace: Mapping[K, V] = MappingProxyType({}),
) -> FrozenDict[K, V] | dict[K, V]:
    """A copy of either kind of dict with entries added or replaced.

    Args:
      x: a FrozenDict or a dict; it is not changed.
      add_or_replace: the new entries, by key.

    Returns:
      The same kind of dict as `x`.

    Raises:
      TypeError: `x` is neither a FrozenDict nor a dict.

    >>> from linnet.struct import copy
    >>> copy({"a": 1, "b": 2}, {"b": 3})
    {'a': 1, 'b': 3}
    """
    if isinstance(x, FrozenDict):
        return x.copy(add_or_replace)
    return {**_plain("copy", x), **add_or_replace}


def pop(x: FrozenDict[K, V] | dict[K, V], key: K) -> tuple[FrozenDict[K, V] | dict[K, V], V]:
    """A copy of either kind of dict without `key`, and the value that it had.

    Args:
      x: a FrozenDict or a dict; it is not changed.
      key: the entry to leave out.

    Returns:
      The same kind of dict as `x`, and the value.

    Raises:
      KeyError: there is no such entry.
      TypeError: `x` is neither a FrozenDict nor a dict.

    >>> from linnet.struct import pop
    >>> pop({"params": 1, "state": 2}, "params")
    ({'state': 2}, 1)
    """
    if isinstance(x, FrozenDict):
        return x.pop(key)
    rest = _plain("pop", x)
    return rest, rest.pop(key)


def pretty_repr(x: object, num_spaces: int = 4) -> str:
    """The text of either kind of dict, one line per entry; for anything else, its `repr`.

    Args:
      x: anything.
      num_spaces: the number of spaces by which each level is indented.

    >>> from linnet.struct import pretty_repr
    >>> print(pretty_repr({"dense": {"bias": 0}}))
    {
        dense: {
            bias: 0,
        },
    }
    """
    if isinstance(x, FrozenDict):
        return x.pretty_repr(num_spaces)
    return _pretty(x, num_spaces)


def _plain(function: str, x: object) -> dict[Any, Any]:
    if not isinstance(x, dict):
        raise TypeError(f"{function}: expected a FrozenDict or a dict, got {type(x).__name__}.")
    copied: dict[Any, Any] = _copied(x)
    return copied


def _own(x: Any) -> Any:
    """`x` with its dicts copied, so that nothing else refers to them; FrozenDicts are unwrapped."""
    if isinstance(x, FrozenDict):
        return x._dict  # shared between FrozenDicts, which never change it
    if isinstance(x, dict):
        return {key: _own(value) for key, value in x.items()}
    return x


def _thaw(x: object) -> Any:
    """`x` as plain dicts that the caller may change: FrozenDicts unwrapped, dicts copied."""
    if isinstance(x, FrozenDict):
        return _copied(x._dict)
    if isinstance(x, dict):
        return {key: _thaw(value) for key, value in x.items()}
    return x


def _copied(x: Any) -> Any:
    """`x` with its dicts, lists and tuples copied, dicts sorted by key, as `jax.tree.map` would."""
    if isinstance(x, dict):
        try:
            keys = sorted(x)
        except TypeError:  # JAX could not flatten it, but it is a valid dict
            keys = list(x)
        return {key: _copied(x[key]) for key in keys}
    if type(x) in (list, tuple):
        return type(x)(_copied(value) for value in x)
    return x


def _pretty(x: object, num_spaces: int) -> str:
    if not isinstance(x, dict):
        return repr(x)
    if not x:
        return "{}"
    lines = "".join(f"{key}: {_pretty(value, num_spaces)},\n" for key, value in x.items())
    indent = " " * num_spaces
    return "{\n" + "".join(indent + line for line in lines.splitlines(True)) + "}"
