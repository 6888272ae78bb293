"""The kinds of variables, and the linen collections that correspond to some of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, overload

from ...errors import ArgumentError, did_you_mean
from .variable import Variable

A = TypeVar("A")
V = TypeVar("V", bound=type[Variable[Any]])

_type_of_name: dict[str, type[Variable[Any]]] = {}
_name_of_type: dict[type[Variable[Any]], str] = {}


@overload
def register_variable_name(
    name: str, typ: None = None, *, overwrite: bool = False
) -> Callable[[V], V]: ...
@overload
def register_variable_name(name: str, typ: V, *, overwrite: bool = False) -> V: ...
def register_variable_name(
    name: str, typ: V | None = None, *, overwrite: bool = False
) -> V | Callable[[V], V]:
    """Registers a type of variable under a collection name; a class decorator without `typ`.

    Raises:
      ArgumentError: the name is already registered, and `overwrite` is False.

    >>> @register_variable_name("moments")
    ... class Moment(Variable):
    ...     pass
    >>> variable_name_from_type(Moment)
    'moments'
    """
    if typ is None:
        return lambda cls: register_variable_name(name, cls, overwrite=overwrite)
    taken = _type_of_name.get(name)
    if taken is not None and taken is not typ and not overwrite:
        raise ArgumentError(
            f"The name {name!r} already belongs to {taken.__name__}.",
            hint="Choose another, or pass overwrite=True.",
        )
    _type_of_name[name] = typ
    _name_of_type[typ] = name
    return typ


def variable_type_from_name(
    name: str, /, *, base: type[Variable[Any]] = Variable, allow_register: bool = False
) -> type[Variable[Any]]:
    """The type of variable that is registered under `name`.

    Args:
      name: name of a collection.
      base: base class of a newly created type.
      allow_register: creates and registers a type if none is registered.

    Raises:
      ArgumentError: no type is registered, and `allow_register` is False.
    """
    if name not in _type_of_name:
        if not allow_register:
            raise ArgumentError(
                f"Name {name!r} is not registered. {did_you_mean(name, _type_of_name)}",
                hint="Register it with register_variable_name, or pass allow_register=True.",
            )
        register_variable_name(name, type(name, (base,), {"__module__": __name__}))
    return _type_of_name[name]


def variable_name_from_type(typ: type[Variable[Any]], /, *, allow_register: bool = False) -> str:
    """The collection name of a type of variable.

    Raises:
      ArgumentError: the type has no name and can't be registered under its class name.
    """
    if typ not in _name_of_type:
        name = typ.__name__
        if not allow_register or _type_of_name.get(name, typ) is not typ:
            raise ArgumentError(
                f"Type {name} is not registered under a name.",
                hint="Register it with register_variable_name, or pass allow_register=True.",
            )
        register_variable_name(name, typ)
    return _name_of_type[typ]


@register_variable_name("params")
class Param(Variable[A]):
    """A learnable parameter."""


class LoRAParam(Param[A]):
    """A parameter of a low-rank adapter (`LoRA`)."""


@register_variable_name("batch_stats")
class BatchStat(Variable[A]):
    """A running statistic, such as those of `BatchNorm`."""


@register_variable_name("cache")
class Cache(Variable[A]):
    """A decoder's cache of the previous tokens."""


@register_variable_name("intermediates")
class Intermediate(Variable[A]):
    """An intermediate value, recorded by `sow` or `capture`."""


@register_variable_name("perturbations")
class Perturbation(Intermediate[A]):
    """Zeros added to an intermediate value, to get its gradient; see `perturb`."""


class RngState(Variable[A]):
    """The state of a stream of random keys."""


class RngKey(RngState[A]):
    """The key that a stream starts from."""


class RngCount(RngState[A]):
    """The number of keys drawn from a stream."""


class OptState(Variable[A]):
    """The state of an optimizer."""


class OptArray(OptState[A]):
    """An array of an optimizer's state that doesn't belong to a single variable."""


class OptVariable(OptState[A]):
    """An array of an optimizer's state that mirrors a variable of the model."""


class MetricState(Variable[A]):
    """The accumulated state of a metric."""
