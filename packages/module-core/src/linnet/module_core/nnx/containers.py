"""`List`, `Dict` and `Sequential`: containers that are modules.

Plain lists and dicts also work as attributes. These classes are for users who want a container with
the methods of a module, or who come from Flax.
"""

from __future__ import annotations

import inspect
from collections.abc import (
    Callable,
    Iterable,
    Iterator,
    Mapping,
    MutableMapping,
    MutableSequence,
)
from typing import Any, Generic, TypeVar, overload

from ..errors import ArgumentError
from ..typing import Output
from .module import Module

A = TypeVar("A")


def _order(name: str) -> tuple[int, Any]:
    return (0, int(name)) if name.isdigit() else (1, name)


class List(Module, MutableSequence[A], Generic[A]):
    """A list that is a module; items are stored as attributes '0', '1' ..., with integers in paths.

    >>> from linnet.module_core import nnx
    >>> items = nnx.List([nnx.Param(1.0), nnx.Param(2.0)])
    >>> len(items), nnx.to_flat_state(nnx.state(items)).paths
    (2, ((0,), (1,)))
    """

    _length: int

    def __init__(self, it: Iterable[A] | None = None, /) -> None:
        self._length = 0
        for item in it or ():
            self.append(item)

    @staticmethod
    def _path_key(name: str) -> object:
        return int(name) if name.isdigit() else name

    _attribute_order = staticmethod(_order)
    _takes_captures = False

    def _items(self) -> list[A]:
        return [self.__dict__[str(i)] for i in range(self._length)]

    def _replace(self, items: list[A]) -> None:
        for i, item in enumerate(items):
            if self.__dict__.get(str(i), _ABSENT) is not item:
                setattr(self, str(i), item)
        for i in range(len(items), self._length):
            delattr(self, str(i))
        self._length = len(items)

    @overload
    def __getitem__(self, index: int) -> A: ...
    @overload
    def __getitem__(self, index: slice) -> list[A]: ...
    def __getitem__(self, index: Any) -> Any:
        return self._items()[index]

    def __setitem__(self, index: Any, value: Any) -> None:
        items = self._items()
        items[index] = value
        self._replace(items)

    def __delitem__(self, index: int | slice) -> None:
        items = self._items()
        del items[index]
        self._replace(items)

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[A]:
        i = 0
        while i < self._length:  # like any list, includes items appended during the loop
            yield self.__dict__[str(i)]
            i += 1

    def insert(self, index: int, value: A) -> None:
        """Inserts an item before `index`."""
        items = self._items()
        items.insert(index, value)
        self._replace(items)

    def append(self, value: A) -> None:
        """Appends an item."""
        setattr(self, str(self._length), value)
        self._length += 1

    def __eq__(self, other: object) -> bool:
        """Whether `other` is a `List` with equal items."""
        return isinstance(other, List) and self._items() == other._items()

    __hash__ = None  # type: ignore[assignment]


_ABSENT = object()


class Dict(Module, MutableMapping[str, A], Generic[A]):
    """A dict with string keys that is a module; items are attributes.

    >>> from linnet.module_core import nnx
    >>> d = nnx.Dict(a=nnx.Param(1.0))
    >>> d.a is d["a"]
    True
    """

    def __init__(
        self,
        mapping: Mapping[str, A] | Iterable[tuple[str, A]] | None = None,
        /,
        **items: A,
    ) -> None:
        for name, value in {**dict(mapping or {}), **items}.items():
            setattr(self, name, value)

    def __getitem__(self, key: str) -> A:
        try:
            found: A = self.__dict__[key]
        except KeyError:
            raise KeyError(f"{key!r} is not in this Dict, which has {list(self)}") from None
        return found

    def __setitem__(self, key: str, value: A) -> None:
        setattr(self, key, value)

    def __delitem__(self, key: str) -> None:
        self[key]  # raises KeyError
        delattr(self, key)

    def __getattr__(self, name: str) -> A:  # for type checkers; attributes are found first
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def __iter__(self) -> Iterator[str]:
        return iter(list(self.__dict__))

    def __len__(self) -> int:
        return len(self.__dict__)

    def __hash__(self) -> int:
        return object.__hash__(self)

    def __eq__(self, other: object) -> bool:
        return self is other


class Sequential(Module):
    """Applies functions and modules in sequence.

    The first gets the arguments; each following one gets the previous output, unpacked if it is a
    tuple (into positional arguments) or a dict (into keyword arguments). An empty sequence returns
    its input.

    Args:
      *fns: modules or functions.

    >>> from linnet.module_core import nnx
    >>> import jax.numpy as jnp
    >>> nnx.Sequential(jnp.sin, jnp.abs)(jnp.zeros(2)).tolist()
    [0.0, 0.0]
    """

    def __init__(self, *fns: Callable[..., Any]) -> None:
        for i, f in enumerate(fns):
            if f is None:
                raise ArgumentError(
                    f"Sequential takes functions and modules, got None at {i}.",
                    hint="Leave unused layers out: nnx.Sequential(*[layer for layer in layers if"
                    " layer is not None]).",
                )
            if not callable(f):
                raise ArgumentError(
                    f"Sequential takes functions and modules, got {type(f).__name__} at {i}.",
                    hint="Unpack a list: nnx.Sequential(*layers).",
                )
        self.layers = List(fns)

    def __call__(self, *args: Any, rngs: object = None, **kwargs: Any) -> Output:
        """Applies all in order, and returns the output of the last.

        Args:
          *args: arguments of the first.
          rngs: passed to each that takes `rngs`.
          **kwargs: keyword arguments of the first.
        """
        if not self.layers:
            return args[0] if len(args) == 1 else args or kwargs or None
        output: Any = None
        for i, f in enumerate(self.layers):
            if i > 0:
                if isinstance(output, tuple):
                    args, kwargs = output, {}
                elif isinstance(output, dict):
                    args, kwargs = (), dict(output)
                else:
                    args, kwargs = (output,), {}
            if rngs is not None and _takes_rngs(f):
                kwargs = {**kwargs, "rngs": rngs}
            output = f(*args, **kwargs)
        return output


def _takes_rngs(f: Callable[..., Any]) -> bool:
    try:
        parameters = inspect.signature(f).parameters.values()
    except (TypeError, ValueError):
        return False
    return any(p.name == "rngs" or p.kind is p.VAR_KEYWORD for p in parameters)
