"""Metadata that an initializer passes to the variable that will hold its result.

`with_metadata(init, sharding_names=...)` wraps an initializer, which then returns a
`VariableMetadata`: a value with metadata and hooks, which the constructor of `Variable` unpacks.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Generic, TypeVar

from ...errors import ArgumentError

A = TypeVar("A")
F = TypeVar("F", bound=Callable[..., Any])

HOOKS = ("on_set_value", "on_get_value", "on_create_value", "on_add_axis", "on_remove_axis")
"""Metadata keys of hooks: functions (or tuples of them) that run on the event that a key names."""


@dataclasses.dataclass
class VariableMetadata(Generic[A]):
    """A value with the metadata and hooks of the variable that will hold it."""

    raw_value: A
    on_set_value: tuple[Callable[..., Any], ...] = ()
    on_get_value: tuple[Callable[..., Any], ...] = ()
    on_create_value: tuple[Callable[..., Any], ...] = ()
    on_add_axis: tuple[Callable[..., Any], ...] = ()
    on_remove_axis: tuple[Callable[..., Any], ...] = ()
    metadata: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def all_metadata(self) -> dict[str, Any]:
        """The metadata including the hooks, in the form that a variable stores."""
        hooks = {name: getattr(self, name) for name in HOOKS}
        return {**self.metadata, **{name: h for name, h in hooks.items() if h}}


def require_one_kind(**wanted: object) -> None:
    """Raises an error if a program asks for a kind of variable that Linnet doesn't have.

    Hijax variables and mutable-array references change under jax's own transforms; they need parts
    of jax that are not public.

    Raises:
      ArgumentError: an argument is true.
    """
    for name, value in wanted.items():
        if value:
            raise ArgumentError(
                f"{name}=True is not supported: Linnet has neither references nor hijax variables.",
                hint="Leave it out: assignment changes variables, even under nnx's transforms.",
            )


def hooks_of(
    hook: Callable[..., Any] | Iterable[Callable[..., Any]] | None,
) -> tuple[Callable[..., Any], ...]:
    """Converts one function or several to a tuple."""
    if hook is None:
        return ()
    return (hook,) if callable(hook) else tuple(hook)


def merge_hooks(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    """Merges two sets of metadata; hooks of both run, those of `first` first."""
    merged = {**first, **second}
    for name in HOOKS:
        if name in first and name in second:
            merged[name] = hooks_of(first[name]) + hooks_of(second[name])
    return merged


def with_metadata(
    initializer: F,
    on_set_value: Callable[..., Any] | Sequence[Callable[..., Any]] = (),
    on_get_value: Callable[..., Any] | Sequence[Callable[..., Any]] = (),
    on_create_value: Callable[..., Any] | Sequence[Callable[..., Any]] = (),
    on_add_axis: Callable[..., Any] | Sequence[Callable[..., Any]] = (),
    on_remove_axis: Callable[..., Any] | Sequence[Callable[..., Any]] = (),
    **metadata: object,
) -> F:
    """An initializer whose result passes metadata and hooks on to its variable.

    Args:
      initializer: called with the arguments of the layer, `(key, shape, dtype)`.
      on_set_value: `hook(variable, value)`, returns the value to store.
      on_get_value: `hook(variable, value)`, returns the value that is read.
      on_create_value: `hook(variable, value)`, returns the initial value.
      on_add_axis: `hook(variable, index, name)`, called when `vmap` or `scan` stacks the value.
      on_remove_axis: `hook(variable, index, name)`, called when they slice the value.
      **metadata: additional metadata, readable as attributes of the variable.

    >>> import jax, jax.numpy as jnp
    >>> from linnet.module_core.nnx import Param, with_metadata
    >>> init = with_metadata(jax.nn.initializers.zeros, unit="volt")
    >>> Param(init(jax.random.key(0), (2,), jnp.float32)).unit
    'volt'
    """

    @functools.wraps(initializer)
    def wrapper(*args: object, **kwargs: object) -> VariableMetadata[Any]:
        return VariableMetadata(
            initializer(*args, **kwargs),
            on_set_value=hooks_of(on_set_value),
            on_get_value=hooks_of(on_get_value),
            on_create_value=hooks_of(on_create_value),
            on_add_axis=hooks_of(on_add_axis),
            on_remove_axis=hooks_of(on_remove_axis),
            metadata=metadata,
        )

    return wrapper  # type: ignore[return-value]
