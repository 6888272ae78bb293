"""Says what is wrong with gradients that don't fit the parameters of a `TrainState`.

A transformation may accept gradients that look different: one for differential privacy averages
gradients of single examples. So nothing is checked beforehand. Instead, the result is checked
before it replaces a parameter: adding an update must not change a shape. If this check or the
transformation fails, the gradients are compared with the parameters.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NoReturn, TypeVar

import jax
import jax.numpy as jnp

from .errors import ArgumentError, describe
from .typing import PyTree

T = TypeVar("T")

_MOST = 8  # paths in a message


def updated(name: str, add: Callable[..., object], params: T, updates: object, grads: object) -> T:
    """The parameters after an update.

    Args:
      name: the name of the state in the message.
      add: adds an update to a parameter.
      params: the parameters.
      updates: the updates that the transformation returned.
      grads: the gradients, for the message.

    Raises:
      ArgumentError: the trees don't fit together, or a parameter's shape would change.
    """
    after: T
    try:
        after = jax.tree.map(add, params, updates, is_leaf=_is_none)
    except (TypeError, ValueError) as error:
        explain(error, name, params, grads)
    old, new = jax.tree.leaves(params), jax.tree.leaves(after)
    if any(jnp.shape(a) != jnp.shape(b) for a, b in zip(old, new, strict=True)):
        refuse_shapes(name, params, grads)
        refuse_shapes(name, params, updates, "the updates that tx returned")
    return after


def explain(error: Exception, name: str, params: object, grads: object) -> NoReturn:
    """Raises an error about the gradients if they caused `error`, or else `error` itself."""
    try:
        _refuse_structure(name, params, grads)
        refuse_shapes(name, params, grads)
    except ArgumentError as found:
        raise found from error
    raise error


def refuse_shapes(name: str, params: object, grads: object, what: str = "grads") -> None:
    """Checks that gradients have the shapes of their parameters.

    Raises:
      ArgumentError: one has a different shape.
    """
    given = _by_path(grads)
    wrong = [
        f"{path or 'the array'} has {jnp.shape(given[path])}, expected {jnp.shape(value)}"
        for path, value in _by_path(params).items()
        if path in given and jnp.shape(given[path]) != jnp.shape(value)
    ]
    if wrong:
        raise ArgumentError(
            f"{name}: {what} don't have the shapes of the parameters: {_listed(wrong, '; ')}.",
            hint="Differentiate one loss, a scalar, with respect to state.params."
            " Average the gradients of several examples or devices first.",
        )


def _refuse_structure(name: str, params: PyTree, grads: PyTree) -> None:
    if isinstance(grads, tuple) and not isinstance(params, tuple):
        raise ArgumentError(
            f"{name}: grads is a tuple of {', '.join(map(_briefly, grads))}.",
            hint="jax.value_and_grad returns a pair: loss, grads = jax.value_and_grad(f)(...).",
        )
    wanted, given = set(_by_path(params)), set(_by_path(grads))
    if wanted == given:
        expected: Any = jax.tree.structure(params)
        if expected != jax.tree.structure(grads):
            raise ArgumentError(
                f"{name}: grads have the paths of the parameters, but other containers: "
                f"{type(grads).__name__} on top, expected {type(params).__name__}.",
                hint="Take the gradients with respect to state.params.",
            )
        return
    top = _outermost(grads)
    if top is not None and set(_by_path(grads[top])) == wanted:
        raise ArgumentError(
            f"{name}: grads has {top!r} on top, which state.params does not have.",
            hint=f"Pass grads=grads[{top!r}].",
        )
    top = _outermost(params)
    if top is not None and set(_by_path(params[top])) == given:
        raise ArgumentError(
            f"{name}: state.params has {top!r} on top, which grads does not have.",
            hint="Take the gradients with respect to state.params, or create the state with"
            f" params=variables[{top!r}].",
        )
    missing, unknown = sorted(wanted - given), sorted(given - wanted)
    parts = [f"missing: {_listed(missing)}"] * bool(missing)
    parts += [f"unknown: {_listed(unknown)}"] * bool(unknown)
    raise ArgumentError(
        f"{name}: grads don't have the structure of state.params; {'; '.join(parts)}.",
        hint="Take the gradients with respect to state.params.",
    )


def _outermost(tree: object) -> Any:
    """The only key of a mapping."""
    return next(iter(tree)) if isinstance(tree, Mapping) and len(tree) == 1 else None


def _briefly(value: object) -> str:
    """The shape of an array, or the class of another value."""
    return describe(value) if hasattr(value, "shape") else type(value).__name__


def _by_path(tree: object) -> dict[str, Any]:
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): value
        for path, value in jax.tree_util.tree_leaves_with_path(tree)
    }


def _listed(items: list[str], separator: str = ", ") -> str:
    more = f" and {len(items) - _MOST} more" if len(items) > _MOST else ""
    return separator.join(items[:_MOST]) + more


def _is_none(x: object) -> bool:
    return x is None
