"""An initializer as a factory's name and arguments, which can be compared, printed and pickled.

`jax.nn.initializers` returns closures. They never compare equal, they print as an address, and they
cannot be pickled, nor can a module that holds one. Here a factory returns a `Recipe`, whose name
and arguments determine equality, repr and pickle. The arithmetic is that of JAX, bit for bit.

A recipe is hashable, so it can be a static argument of one jitted function: if recipe, shape and
dtype are repeated, as in the layers of a deep network, drawing adds one call equation to a traced
program instead of tracing the generator again, and runs one program instead of ten when eager.
"""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Hashable, Mapping
from functools import cache, partial
from importlib import import_module
from typing import Any, NoReturn, Protocol, Self

import jax
import numpy as np
from jax import Array
from jax.typing import DTypeLike

from . import _checks as checks
from ._threefry import is_quicker, may_be_quicker, with_rounds_written_out

Shape = tuple[Any, ...]
"""Ints, or the symbolic dimensions of `jax.export`."""


_AS_MADE: Any = type("AsMade", (), {"__repr__": lambda self: "<that of the factory>"})()


class Initializer(Protocol):
    """Any function of a key, a shape and a dtype that returns an array of that shape and dtype.

    Use this type in annotations: this package's initializers satisfy it, and so do your functions.
    The array may be in a box that describes its layout, such as those of `nn.with_partitioning`.
    """

    def __call__(self, key: Any, shape: Any, dtype: Any, /) -> Any:
        """Draws an array."""
        ...


class Recipe(ABC):
    """An initializer made by a factory of this package: immutable, hashable, picklable.

    Args:
      name: the factory's name.
      arguments: all checked arguments of the factory except `dtype`, in the order of its signature.
      dtype: the default dtype of calls.
    """

    __slots__ = ("__name__", "_arguments", "_dtype", "_hash", "_identity", "_is_static")

    __name__: str
    _arguments: Mapping[str, Any]
    _dtype: np.dtype[Any]
    _hash: int
    _identity: Hashable
    _is_static: bool

    def __init__(self, name: str, arguments: Mapping[str, Any], dtype: DTypeLike | None) -> None:
        default = checks.dtype_of(name, dtype)
        identity = (name, default, *((k, _identity(v)) for k, v in arguments.items()))
        for slot, value in {
            "__name__": name,
            "_arguments": arguments,
            "_dtype": default,
            "_identity": identity,
            "_hash": hash(identity),
            "_is_static": not any(isinstance(v, jax.core.Tracer) for v in arguments.values()),
        }.items():
            object.__setattr__(self, slot, value)

    @property
    def draws(self) -> Recipe | None:
        """The recipe itself; None if an argument is traced, as equal recipes may then differ.

        Libraries use it to draw several arrays in one program (`linnet.module_core.draws`).
        """
        return self if self._is_static else None

    def quick_key(self, key: object, shape: Shape) -> object:
        """`key`, or a key that draws the same bits and compiles more quickly.

        Libraries use it for a jitted loop of draws (`linnet.module_core.linen`), since the calls
        inside it get traced keys. Call it outside the loop.

        Args:
          key: a PRNG key, typed or raw.
          shape: the shape of all draws together.
        """
        return _converted(key) if is_quicker(key, shape) else key

    def __call__(
        self,
        key: object,
        shape: object,
        dtype: DTypeLike | None = _AS_MADE,
        out_sharding: object = None,
    ) -> Array:
        """Draws an array.

        Args:
          key: a PRNG key, typed or raw.
          shape: the array's shape: ints.
          dtype: the array's dtype; by default, the one given to the factory. None means float64, as
            everywhere in JAX.
          out_sharding: the array's sharding, as for `jax.numpy.zeros`; only if
            `jax.nn.initializers` takes it too.

        Returns:
          [*shape] in `dtype`, or in its 32-bit counterpart where x64 is disabled.

        Raises:
          TypeError: key, shape or dtype is of the wrong type.
          ValueError: shape or dtype does not fit this initializer.
        """
        shape = checks.shape_of(self, shape)
        wanted = self._dtype if dtype is _AS_MADE else checks.dtype_of(self, dtype)
        # No warning: float64 is the default even where x64 is disabled.
        wanted = jax.dtypes.canonicalize_dtype(wanted)
        placed = checks.placed(self, out_sharding)
        staged = type(key) is _staged()
        quicker: bool | None = not placed and is_quicker(key, shape)
        if staged and not placed and may_be_quicker(key, shape):
            quicker = None  # the platform decides
        concrete = not isinstance(key, jax.core.Tracer)
        if self._is_static and (staged or concrete) and not self._folds(wanted):
            checks.key_of(self, key)
            static = {"recipe": self, "shape": shape, "dtype": wanted, "quicker": quicker}
            result: Array = _draw_once(key, **static, placed=tuple(placed.items()))
            return result
        if quicker:
            key = _converted(key)
        return self._draw(key, shape, wanted, **placed)

    def _folds(self, dtype: np.dtype[Any]) -> bool:
        """Whether the draw has two consecutive multiplications by constants.

        Compiled together, they become one, and the last bits differ. An eager `jax.checkpoint`
        compiles equation by equation, so it would compute JAX's result from two equations and ours
        from one.
        """
        return False

    @abstractmethod
    def _draw(self, key: object, shape: Shape, dtype: np.dtype[Any], **placed: object) -> Array:
        """Checks shape and dtype, and draws with JAX."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Recipe) and self._identity == other._identity

    def __hash__(self) -> int:
        return self._hash

    def __repr__(self) -> str:
        """The call that makes this initializer, without arguments that have the default value."""
        parts = []
        for parameter in inspect.signature(_factory(self.__name__)).parameters.values():
            value = self._arguments.get(parameter.name, self._dtype.name)
            if parameter.name == "dtype":
                if self._dtype != checks.dtype_of(self, None):
                    parts.append(f"dtype={value!r}")
            elif parameter.default is inspect.Parameter.empty:
                parts.append(repr(value))
            elif _identity(value) != _identity(parameter.default):
                parts.append(f"{parameter.name}={value!r}")
        return f"{self.__name__}({', '.join(parts)})"

    def __reduce__(self) -> tuple[Any, ...]:
        return _remake, (self.__name__, dict(self._arguments), self._dtype)

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(
            f"{self!r} is immutable: cannot set {name!r}. Make a new initializer instead."
        )

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"{self!r} is immutable: cannot delete {name!r}.")


@cache
def _staged() -> type:
    """The type of the tracer that represents an array while JAX traces a function into a program.

    It is not the type of an eager `vmap`'s tracers: there, one program would fold multiplications
    that JAX's initializers do one after another, and the last bits would differ.
    """
    types: list[type] = []
    jax.eval_shape(lambda x: types.append(type(x)), 0.0)
    return types[0]


_converted = jax.jit(with_rounds_written_out)


@partial(jax.jit, static_argnames=("recipe", "shape", "dtype", "quicker", "placed"))
def _draw_once(
    key: object,
    *,
    recipe: Recipe,
    shape: Shape,
    dtype: np.dtype[Any],
    quicker: bool | None,
    placed: tuple[tuple[str, Any], ...],
) -> Array:
    """An array of a recipe.

    Args:
      quicker: whether to write out threefry's rounds; None to do so if the program is for a CPU.
    """
    if quicker is None:
        draw = partial(_draw_once, recipe=recipe, shape=shape, dtype=dtype, placed=placed)
        choose: Any = jax.lax.platform_dependent
        drawn: Array = choose(
            key, cpu=partial(draw, quicker=True), default=partial(draw, quicker=False)
        )
        return drawn
    if quicker:
        key = with_rounds_written_out(key)
    return recipe._draw(key, shape, dtype, **dict(placed))


def _identity(value: object) -> Hashable:
    """The identity of `value` in comparisons: for numbers and arrays, type, bits and shape.

    `==` would not work: 0.0 equals -0.0, and NaN does not equal itself.
    """
    if isinstance(value, jax.core.Tracer):
        return id(value)
    if isinstance(value, (jax.Array, np.ndarray, np.generic)):
        array = np.asarray(value)
        return type(value).__name__, array.dtype, array.shape, array.tobytes()
    return type(value), repr(value)


def _factory(name: str) -> Any:
    return getattr(import_module(__package__ or ""), name)


def _remake(name: str, arguments: dict[str, Any], dtype: np.dtype[Any]) -> object:
    return _factory(name)(**arguments, dtype=dtype)
