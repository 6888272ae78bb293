"""Checks the arguments before JAX does, with errors that name the bad argument.

Each function takes the caller (a factory's name, or the initializer itself, which prints as the
call that made it), the argument's name if several share the check, and the value. It returns the
value in the form that the rest of the package uses.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike

from ._compat import HAS_OUT_SHARDING

Real: TypeAlias = "float | np.generic | np.ndarray[Any, Any] | jax.Array"

# Arguments of factories.


def real(who: object, name: str, value: object) -> Real:
    """A real number, not NaN; arrays and tracers of real dtype are returned unchanged.

    A Python number comes back as a float, so that `normal(1)` equals `normal(1.0)`.
    """
    if isinstance(value, jax.core.Tracer):
        return value
    if isinstance(value, (bool, int, float)):
        value = float(value)
    elif not isinstance(value, (np.generic, np.ndarray, jax.Array)) or not (
        jnp.issubdtype(value.dtype, jnp.floating) or jnp.issubdtype(value.dtype, jnp.integer)
    ):
        raise TypeError(f"{who}: {name} must be a real number, got {_shown(who, value)}")
    if np.any(np.isnan(np.asarray(value, np.float64))):
        raise ValueError(f"{who}: {name} must be a number, got {value!r}.")
    return value


def spread(who: object, name: str, value: object) -> Real:
    """A finite real number that is not negative: a scale or a standard deviation."""
    value = real(who, name, value)
    if isinstance(value, jax.core.Tracer):
        return value
    if not np.all(np.isfinite(np.asarray(value, np.float64))):
        raise ValueError(f"{who}: {name} must be finite, got {value!r}.")
    if np.any(np.asarray(value) < 0):
        raise ValueError(f"{who}: {name} must not be negative, got {value!r}.")
    return value


def choice(who: object, name: str, value: object, choices: Sequence[str]) -> str:
    """One of `choices`."""
    if not isinstance(value, str) or value not in choices:
        known = ", ".join(repr(c) for c in choices)
        raise ValueError(f"{who}: unknown {name} {value!r}, expected one of {known}.")
    return value


def axis(who: object, name: str, value: Any) -> int:
    """One axis."""
    try:
        return operator.index(value)
    except TypeError:
        raise TypeError(f"{who}: {name} must be an int, got {_shown(who, value)}") from None


def axes(who: object, name: str, value: Any) -> int | tuple[int, ...]:
    """One axis, or a sequence of them."""
    try:
        if _is_sequence(value):
            return tuple(operator.index(a) for a in value)
        return operator.index(value)
    except TypeError:
        expected = "an int or a sequence of ints"
        raise TypeError(f"{who}: {name} must be {expected}, got {_shown(who, value)}") from None


def dtype_of(who: object, value: DTypeLike | None) -> np.dtype[Any]:
    """The dtype that `value` names; None means float64, as everywhere in JAX."""
    try:
        return jnp.dtype(jnp.float64 if value is None else value)
    except TypeError:
        raise TypeError(f"{who}: dtype must be a dtype, got {value!r}.") from None


def ordered(who: object, low: str, lower: object, high: str, upper: object) -> None:
    """Checks that the lower bound is below the upper one."""
    if isinstance(lower, jax.core.Tracer) or isinstance(upper, jax.core.Tracer):
        return
    if not np.all(np.asarray(lower) < np.asarray(upper)):
        raise ValueError(
            f"{who}: {low} must be below {high}, got {low}={lower!r}, {high}={upper!r}."
        )


def fill_value(who: object, name: str, value: object) -> object:
    """A number or an array; NumPy arrays are copied, since they are mutable."""
    if isinstance(value, (np.ndarray, np.generic)):
        value = np.array(value)[()]
        numeric = value.dtype.kind in "biufcV"  # V: ml_dtypes, such as bfloat16
    else:
        numeric = isinstance(value, (bool, int, float, complex, jax.Array))
    if not numeric:
        hint = "\n  Convert a list with jax.numpy.asarray."
        raise TypeError(
            f"{who}: {name} must be a number or an array, got {value!r}."
            + (hint if isinstance(value, (list, tuple)) else "")
        )
    return value


# Arguments of initializers.


def shape_of(who: object, value: Any) -> tuple[Any, ...]:
    """Non-negative ints, or symbolic dimensions; a single int is a shape of one dimension."""
    dimensions = value if _is_sequence(value) else (value,)
    try:
        shape = tuple(d if jax.export.is_symbolic_dim(d) else operator.index(d) for d in dimensions)
    except TypeError:
        raise TypeError(f"{who}: shape must consist of ints, got {value!r}.") from None
    if any(isinstance(d, int) and d < 0 for d in shape):
        raise ValueError(f"{who}: shape must not have negative dimensions, got {shape}.")
    return shape


def has_axes(who: object, name: str, value: int | tuple[int, ...], shape: tuple[Any, ...]) -> None:
    """Checks that `shape` has the axes."""
    rank = len(shape)
    if all(-rank <= a < rank for a in ((value,) if isinstance(value, int) else value)):
        return
    if rank < 2:
        has_two_dimensions(who, shape)
    raise ValueError(
        f"{who}: {name}={value} is out of range for shape {shape}, "
        f"expected axes from {-rank} to {rank - 1}."
    )


def has_two_dimensions(who: object, shape: tuple[Any, ...]) -> None:
    """Checks that a shape has inputs and outputs."""
    if len(shape) < 2:
        raise ValueError(
            f"{who}: shape must have at least two dimensions (inputs and outputs), got {shape}.\n"
            "  Initialize a bias or a scale with zeros, ones or normal."
        )


def is_convolution(who: object, shape: tuple[Any, ...]) -> None:
    """Checks that a shape is [*window, inputs, outputs] with inputs <= outputs."""
    if not 3 <= len(shape) <= 5:
        raise ValueError(
            f"{who}: shape must have 3, 4 or 5 dimensions: one to three window dimensions, then "
            f"inputs and outputs; got {shape}."
        )
    if shape[-2] > shape[-1]:
        raise ValueError(
            f"{who}: shape must not have more inputs than outputs, got {shape} with "
            f"{shape[-2]} inputs and {shape[-1]} output{'s' * (shape[-1] != 1)}."
        )


def fills(who: object, value: Any, shape: tuple[Any, ...], dtype: np.dtype[Any]) -> None:
    """Checks that a value broadcasts to `shape`, and isn't complex in a real dtype."""
    own = np.shape(value)
    fits = len(own) <= len(shape) and all(
        n in (1, m) for n, m in zip(reversed(own), reversed(shape), strict=False)
    )
    if not fits:
        raise ValueError(f"{who}: a value of shape {own} does not broadcast to shape {shape}.")
    kind = value.dtype if hasattr(value, "dtype") else type(value)
    if jnp.issubdtype(kind, jnp.complexfloating) and not jnp.issubdtype(dtype, jnp.complexfloating):
        raise ValueError(f"{who}: a complex value does not fit dtype {dtype.name}.")


def drawable(who: object, dtype: np.dtype[Any], *, in_complex: bool) -> None:
    """Checks that random numbers can be drawn in a dtype."""
    if not jnp.issubdtype(dtype, jnp.inexact if in_complex else jnp.floating):
        expected = "floating or complex" if in_complex else "floating"
        raise ValueError(f"{who}: dtype must be {expected}, got {dtype.name}.")


def placed(who: object, out_sharding: object) -> dict[str, Any]:
    """`out_sharding` as a dict of keyword arguments for JAX, empty if it is None."""
    if out_sharding is None:
        return {}
    if not HAS_OUT_SHARDING:
        raise TypeError(
            f"{who}: this jax ({jax.__version__}) cannot initialize with out_sharding.\n"
            "  Install a newer jax, or call jax.device_put on the array."
        )
    return {"out_sharding": out_sharding}


def key_of(who: object, value: object) -> None:
    """Checks that `key` is a single PRNG key."""
    if not isinstance(value, (jax.Array, np.ndarray)):
        raise TypeError(
            f"{who}: key must be a PRNG key, got {value!r}.\n"
            "  jax.random.key(0) makes one from the seed 0."
        )
    typed = jnp.issubdtype(value.dtype, jax.dtypes.prng_key)
    if not typed and value.dtype != np.uint32:
        raise TypeError(f"{who}: key must be a PRNG key, got an array of {value.dtype.name}.")
    if value.ndim != (0 if typed else 1):
        raise ValueError(
            f"{who}: key must be a single PRNG key, got an array of {value.dtype} of shape "
            f"{value.shape}.\n"
            "  To draw once for each key, use jax.vmap."
        )


def _shown(who: object, value: object) -> str:
    """An argument of a factory, as the end of a message about it."""
    if isinstance(value, jax.Array) and jnp.issubdtype(value.dtype, jax.dtypes.prng_key):
        # kernel_init=lecun_normal: the factory gets the arguments meant for its initializer.
        return f"a PRNG key.\n  {who} makes an initializer: pass {who}(), with parentheses."
    return f"{value!r}."


def _is_sequence(value: object) -> bool:
    """Whether a value can be iterated over; false for strings and for arrays without dimensions."""
    return (
        isinstance(value, Iterable)
        and not isinstance(value, str)
        and bool(getattr(value, "ndim", 1))
    )
