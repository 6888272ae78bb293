"""Arrays in variables: copies that share no buffers, strong types, arrays of several processes."""

from __future__ import annotations

from typing import TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from .errors import ArgumentError

T = TypeVar("T")


def copied(value: T) -> T:
    """Copies the arrays of a tree into new buffers; other leaves are kept.

    A jitted function that donates its arguments deletes their buffers, and raises an error if a
    buffer is passed twice. A copy must therefore not share any, not even inside a traced function,
    whose outputs would otherwise share one buffer.
    """
    if isinstance(value, jax.Array):  # the usual case: not a tree
        return _copied_leaf(value)
    copies: T = jax.tree.map(_copied_leaf, value)
    return copies


def _copied_leaf(x: T) -> T:
    if isinstance(x, jax.Array):
        return jnp.copy(x)  # type: ignore[return-value]
    return x.copy() if isinstance(x, np.ndarray) else x


def strong(value: T) -> T:
    """Converts the arrays of a tree to strong types.

    `jnp.full(3, 0.5)` has a weak type, but the result of its first update doesn't: a jitted step
    would be compiled for each of the two types.
    """
    if isinstance(value, jax.Array):  # the usual case: not a tree
        return _strong_leaf(value)
    result: T = jax.tree.map(_strong_leaf, value)
    return result


def as_strong_as(value: T, before: object) -> T:
    """Makes a number or weakly typed array strong if it replaces a strongly typed array.

    A jitted step passes the variable on to the next step; with a strong type in both, one program
    is enough for both steps.
    """
    if not isinstance(before, jax.Array) or getattr(before, "weak_type", False):
        return value
    if not (isinstance(value, (int, float, complex)) or getattr(value, "weak_type", False)):
        return value
    if jnp.result_type(value) != before.dtype or getattr(value, "shape", ()) != before.shape:
        return value
    return _converted(value, before)


def _converted(value: T, to: jax.Array) -> T:
    return jax.lax.convert_element_type(value, to.dtype)  # type: ignore[arg-type, return-value]


def _strong_leaf(x: T) -> T:
    if isinstance(x, jax.Array) and getattr(x, "weak_type", False):
        return _converted(x, x)
    return x


def is_here(x: object) -> bool:
    """Whether this process can read all of an array: it isn't spread over several processes."""
    if not isinstance(x, jax.Array) or isinstance(x, jax.core.Tracer):
        return True
    return x.is_fully_addressable or x.is_fully_replicated


def check_is_here(x: object, what: str, action: str) -> None:
    """Checks that this process can read all of an array.

    Args:
      x: an array; anything else is accepted.
      what: a description of it, with its path.
      action: the participle of the action that needs the whole array, such as "pickled".

    Raises:
      ArgumentError: other processes have a part of it.
    """
    if is_here(x):
        return
    shape = getattr(x, "shape", None)
    raise ArgumentError(
        f"{what} cannot be {action}: it has shape {shape} and is spread over several"
        " processes, of which this one has only a part.",
        hint="Gather it in all processes: jax.experimental.multihost_utils.process_allgather(tree,"
        " tiled=True); or save it with orbax, where each process writes its part.",
    )
