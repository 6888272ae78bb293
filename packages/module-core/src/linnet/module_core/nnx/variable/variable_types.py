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
def register_variable_name(name: str, typ: Any = None, *, overwrite: bool = False) -> Any:
    """Gives a type of variable the name of a collection; without `typ`, a class decorator.

    Raises:
      ArgumentError: the name is taken, and not to be overwritten.

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
            f"The name {name!r} belongs to {taken.__name__} already.",
            hint="Choose another, or pass overwrite=True.",
        )
    _type_of_name[name] = typ
    _name_of_type[typ] = name
    return typ


def variable_type_from_name(
    name: str, /, *, base: type[Variable[Any]] = Variable, allow_register: bool = False
) -> type[Variable[Any]]:
    """The type of variable that goes by `name`.

    Args:
      name: of a collection.
      base: what a type made here derives from.
      allow_register: makes and registers a type where there is none.

    Raises:
      ArgumentError: there is none, and none may be made.
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
    """The name of a type of variable.

    Raises:
      ArgumentError: it has none, and may not be given its class name.
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
    """A parameter: what an optimizer learns."""


class LoRAParam(Param[A]):
    """A parameter of a low-rank adapter (`LoRA`)."""


@register_variable_name("batch_stats")
class BatchStat(Variable[A]):
    """A running statistic, as `BatchNorm` keeps."""


@register_variable_name("cache")
class Cache(Variable[A]):
    """What a decoder remembers of the tokens before."""


@register_variable_name("intermediates")
class Intermediate(Variable[A]):
    """A value recorded on the way, by `sow` or `capture`."""


@register_variable_name("perturbations")
class Perturbation(Intermediate[A]):
    """Zeros added to a value on the way, whose gradient is the value's; see `perturb`."""


class RngState(Variable[A]):
    """The state of a stream of random keys."""


class RngKey(RngState[A]):
    """The key that a stream starts from."""


class RngCount(RngState[A]):
    """How many keys a stream has given out."""


class OptState(Variable[A]):
    """The state of an optimizer."""


class OptArray(OptState[A]):
    """An array of an optimizer's state that belongs to no one variable."""


class OptVariable(OptState[A]):
    """An array of an optimizer's state that mirrors a variable of the model."""


class MetricState(Variable[A]):
    """What a metric has added up."""
