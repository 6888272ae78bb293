"""Python's operators for variables: each applies to the value and returns the result.

A variable is a container, not an array: `v + 1` is an array, and `v += 1` is not supported, since
it would either replace the variable with an array or write to it implicitly.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from ...typing import Output

if TYPE_CHECKING:
    import numpy as np
    from jax.typing import DTypeLike

A = TypeVar("A")

_SYMBOLS = {
    "add": "+",
    "sub": "-",
    "mul": "*",
    "truediv": "/",
    "floordiv": "//",
    "mod": "%",
    "pow": "**",
    "matmul": "@",
    "and_": "&",
    "or_": "|",
    "xor": "^",
    "lshift": "<<",
    "rshift": ">>",
}


def _truth(value: Any) -> bool:
    """The truth value of a variable.

    Programs write `if self.bias:` for an optional variable, and code that is traced doesn't know
    the numbers: an array with axes counts as true if its first axis isn't empty, like a list.
    """
    return len(value) > 0 if getattr(value, "ndim", 0) else bool(value)


_COMPARISONS = ["eq", "ne", "lt", "le", "gt", "ge"]
_UNARY = ["neg", "pos", "abs", "invert"]
_CONVERSIONS: dict[str, Callable[..., Any]] = {
    "float": float,
    "int": int,
    "complex": complex,
    "bool": _truth,
    "index": operator.index,
    "round": round,
    "trunc": math.trunc,
    "floor": math.floor,
    "ceil": math.ceil,
    "len": len,
}


class Operators(Generic[A]):
    """Defines the operators for a class with `get_value`."""

    __slots__ = ()

    if TYPE_CHECKING:  # set by the loops at the end of this file; operators of arrays return arrays

        def __add__(self, other: object, /) -> A: ...
        def __radd__(self, other: object, /) -> A: ...
        def __sub__(self, other: object, /) -> A: ...
        def __rsub__(self, other: object, /) -> A: ...
        def __mul__(self, other: object, /) -> A: ...
        def __rmul__(self, other: object, /) -> A: ...
        def __truediv__(self, other: object, /) -> A: ...
        def __rtruediv__(self, other: object, /) -> A: ...
        def __floordiv__(self, other: object, /) -> A: ...
        def __rfloordiv__(self, other: object, /) -> A: ...
        def __mod__(self, other: object, /) -> A: ...
        def __rmod__(self, other: object, /) -> A: ...
        def __pow__(self, other: object, /) -> A: ...
        def __rpow__(self, other: object, /) -> A: ...
        def __matmul__(self, other: object, /) -> A: ...
        def __rmatmul__(self, other: object, /) -> A: ...
        def __and__(self, other: object, /) -> A: ...
        def __rand__(self, other: object, /) -> A: ...
        def __or__(self, other: object, /) -> A: ...
        def __ror__(self, other: object, /) -> A: ...
        def __xor__(self, other: object, /) -> A: ...
        def __rxor__(self, other: object, /) -> A: ...
        def __lshift__(self, other: object, /) -> A: ...
        def __rlshift__(self, other: object, /) -> A: ...
        def __rshift__(self, other: object, /) -> A: ...
        def __rrshift__(self, other: object, /) -> A: ...
        def __lt__(self, other: object, /) -> A: ...
        def __le__(self, other: object, /) -> A: ...
        def __gt__(self, other: object, /) -> A: ...
        def __ge__(self, other: object, /) -> A: ...
        def __neg__(self) -> A: ...
        def __pos__(self) -> A: ...
        def __abs__(self) -> A: ...
        def __invert__(self) -> A: ...
        def __float__(self) -> float: ...
        def __int__(self) -> int: ...
        def __complex__(self) -> complex: ...
        def __bool__(self) -> bool: ...
        def __index__(self) -> int: ...
        def __round__(self, ndigits: int | None = None, /) -> A: ...
        def __len__(self) -> int: ...

        # Attributes of arrays, found by `__getattr__`; methods of arrays return arrays.
        @property
        def shape(self) -> tuple[int, ...]: ...
        @property
        def ndim(self) -> int: ...
        @property
        def size(self) -> int: ...
        @property
        def dtype(self) -> np.dtype[Any]: ...
        @property
        def T(self) -> A: ...
        def astype(self, dtype: DTypeLike | None) -> A: ...
        def reshape(self, *shape: object) -> A: ...
        def sum(self, axis: int | tuple[int, ...] | None = None) -> A: ...
        def mean(self, axis: int | tuple[int, ...] | None = None) -> A: ...

    # NumPy arrays leave an operator to an operand of higher priority, instead of converting it to
    # NumPy, which fails for traced values; jax arrays have priority 100.
    __array_priority__ = 101

    def get_value(self) -> Any:
        raise AttributeError("get_value")

    def __divmod__(self, other: object) -> tuple[A, A]:
        result: tuple[A, A] = divmod(self.get_value(), _value_of(other))
        return result

    def __rdivmod__(self, other: object) -> tuple[A, A]:
        result: tuple[A, A] = divmod(_value_of(other), self.get_value())
        return result

    def __iter__(self) -> Iterator[Any]:
        return iter(self.get_value())

    def __contains__(self, item: object) -> bool:
        return item in self.get_value()

    def __call__(self, *args: object, **kwargs: object) -> Output:
        return self.get_value()(*args, **kwargs)

    __hash__ = None  # type: ignore[assignment]


def _value_of(x: object) -> object:
    return x.get_value() if isinstance(x, Operators) else x


def _binary(function: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    def method(self: Operators[Any], other: object) -> object:
        return function(self.get_value(), _value_of(other))

    return method


def _reflected(function: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    def method(self: Operators[Any], other: object) -> object:
        return function(_value_of(other), self.get_value())

    return method


def _unary(function: Callable[..., Any]) -> Callable[..., Any]:
    def method(self: Operators[Any], *args: object) -> object:
        return function(self.get_value(), *args)

    return method


def _no_assignment(name: str) -> Callable[[Any, Any], Any]:
    symbol = _SYMBOLS[name]

    def method(self: Operators[Any], other: object) -> object:
        raise NotImplementedError(
            f"{type(self).__name__} has no in-place operators: write"
            f" `variable[...] {symbol}= x` (or `variable.value {symbol}= x`)."
        )

    return method


for _name in _SYMBOLS:  # including the reflected operators
    _function = getattr(operator, _name)
    _bare = _name.rstrip("_")
    setattr(Operators, f"__{_bare}__", _binary(_function))
    setattr(Operators, f"__r{_bare}__", _reflected(_function))
    setattr(Operators, f"__i{_bare}__", _no_assignment(_name))
for _name in _COMPARISONS:
    setattr(Operators, f"__{_name}__", _binary(getattr(operator, _name)))
for _name in _UNARY:
    setattr(Operators, f"__{_name}__", _unary(getattr(operator, _name)))
for _name, _function in _CONVERSIONS.items():
    setattr(Operators, f"__{_name}__", _unary(_function))
