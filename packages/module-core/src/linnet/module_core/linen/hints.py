"""Notes for errors: guesses at the mistake behind them.

An error from jax or from the user's code does not mention modules. This file examines it together
with the call that raised it, and adds a note about the likely intention.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from linnet.struct import FrozenDict

from ..errors import describe

if TYPE_CHECKING:
    from .module import Module


def taken_for_array(error: Exception, module: Module) -> str | None:
    """The submodule that `error` is about, if one was passed on instead of its output."""
    if not isinstance(error, TypeError):
        return None
    # jax's error names the class of the value that isn't an array: is it one of the submodules?
    for name, child in module._state.children.items():
        cls = type(child)
        if f"<class '{cls.__module__}.{cls.__qualname__}'>" in str(error):
            return f"That is the submodule {name} itself: {cls.__name__}(...) must still be called."
    return None


def changed_in_place(error: Exception, module: object) -> str | None:
    """The attribute that is stored immutably, if `error` says that it can't be changed."""
    text = str(error)
    kind: type
    if isinstance(error, AttributeError | TypeError) and " tuple" in text.replace("'", " "):
        kind, was, written = tuple, "list", "[...]"
    elif isinstance(error, ValueError | AttributeError | TypeError) and "FrozenDict" in text:
        kind, was, written = FrozenDict, "dict", "{...}"
    else:
        return None
    owner = getattr(error, "obj", None)
    holders = {n: v for n, v in vars(module).items() if type(v) is kind}
    names = [n for n, v in holders.items() if v is owner] or list(holders)
    if not names:
        return None
    name = names[0]
    return (
        f"A module keeps an assigned {was} as a {kind.__name__} (self.{', self.'.join(names)}), "
        f"because it would not notice later changes. Build the {was} first, then assign it: "
        f"{name} = {written}; self.{name} = {name}."
    )


def variable_in_arithmetic(error: Exception) -> str | None:
    """What to write if `error` says that a variable is not an operand."""
    if not isinstance(error, TypeError) or not str(error).startswith("unsupported operand"):
        return None
    if "'Variable'" not in str(error):
        return None
    return "A Variable refers to a value: write variable.value, as in variable.value += 1."


def still_packed(
    module: Module, fun: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> str | None:
    """The argument or field that is still a pair (output, variables)."""
    fields = vars(module)
    values: dict[str, Any] = {f"self.{name}": fields.get(name) for name in module._fields}
    try:
        values |= inspect.signature(fun).bind(module, *args, **kwargs).arguments
    except (TypeError, ValueError):
        return None
    for name, value in values.items():
        if is_output_with_variables(value):
            return (
                f"{name} is a tuple of {describe(value[0])} and a dict of "
                f"{', '.join(map(repr, value[1]))}. apply with mutable=... and init_with_output "
                "return such a pair; unpack it: y, updates = model.apply(...)."
            )
    return None


def is_output_with_variables(value: object) -> bool:
    """Whether `value` looks like what `apply` with `mutable`, or `init_with_output`, returns."""
    return (
        type(value) is tuple
        and len(value) == 2
        and hasattr(value[0], "shape")
        and isinstance(value[1], Mapping)
    )
