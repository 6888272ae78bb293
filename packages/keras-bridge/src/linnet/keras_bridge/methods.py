"""Which method a layer calls, and with which arguments.

Keras passes a layer its inputs and whether it is being trained. A method gets the inputs first, and
`training` if it has a parameter of that name. A method that needs more arguments, or whose flag has
a different name, raises an error when the layer is made: called without the flag, a model would
silently train without dropout.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

from linnet.module_core.errors import ArgumentError, ArgumentTypeError, describe, did_you_mean
from linnet.module_core.typing import PyTree

# Names of the training flag in other libraries.
_OTHER_NAMES = ("train", "is_training", "deterministic", "use_running_average", "inference")


class Method(NamedTuple):
    """A method of a module, ready to be called.

    Attributes:
      function: a function whose first argument is the module.
      name: its name in the module's class; None for a function that is not one of its methods.
      takes_training: whether it has a parameter `training`.
      inputs_by_name: whether `inputs` is not its first parameter.
    """

    function: Callable[..., Any]
    name: str | None
    takes_training: bool
    inputs_by_name: bool

    def arguments(self, inputs: PyTree, training: bool) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Positional and keyword arguments of a call, after the module."""
        flags = {"training": training} if self.takes_training else {}
        return ((), {"inputs": inputs, **flags}) if self.inputs_by_name else ((inputs,), flags)


def find_method(module: object, method: object, layer: str) -> Method:
    """The method from the user's argument: None, a name, or a method or function of a module.

    Args:
      module: the module.
      method: the user's argument.
      layer: the layer's class, for errors.

    Raises:
      ArgumentTypeError: it is none of these.
      ArgumentError: the method does not exist, or takes different arguments.
    """
    cls = type(module)
    name = "__call__" if method is None else method
    if not isinstance(name, str):
        name = _name_of(cls, method)
    if name is not None:
        # Not the metaclass's attribute: every class has a `__call__`.
        found = any(name in vars(base) for base in cls.__mro__)
        function: Any = getattr(cls, name) if found else None
        if not callable(function):
            public = [n for n in dir(cls) if not n.startswith("_") and callable(getattr(cls, n))]
            raise ArgumentError(
                f"{cls.__name__} has no method {name!r}.",
                hint=(
                    f"{did_you_mean(name, public)} A function that takes the module, the inputs "
                    f"and, optionally, `training` also works: {layer}(module, method=function)."
                ),
            )
    elif callable(method) and not isinstance(method, type):
        function = getattr(method, "__func__", method)
    else:
        raise ArgumentTypeError(
            f"method should be a method of {cls.__name__}, its name, or a function of a "
            f"{cls.__name__}, got {describe(method)}."
        )
    return _checked(function, name, cls)


def _name_of(cls: type, method: object) -> str | None:
    """The name under which the class has this method, bound or not."""
    function = getattr(method, "__func__", method)
    name = getattr(function, "__name__", None)
    if not isinstance(name, str) or not callable(function):
        return None
    known = inspect.unwrap(getattr(cls, name, _nothing))
    return name if known is inspect.unwrap(function) else None


def _nothing() -> None:
    """A placeholder for a method that a class lacks."""


def _checked(function: Callable[..., Any], name: str | None, cls: type) -> Method:
    what = f"{cls.__name__}.{name}" if name else f"{getattr(function, '__name__', function)}"
    called = _called(function, name)
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):  # written in C, without a signature
        return Method(function, name, False, False)
    if not parameters or parameters[0].kind in (
        inspect.Parameter.KEYWORD_ONLY,
        inspect.Parameter.VAR_KEYWORD,
    ):
        # Not the metaclass's `__call__`, which makes instances.
        own = next((vars(c)["__call__"] for c in cls.__mro__ if "__call__" in vars(c)), None)
        raise _other_parameters(
            what,
            parameters,
            "it takes no module as its first argument",
            _example(_parameters(own), cls, "module("),
        )
    example = _example(parameters, cls, called)
    rest = {p.name: p for p in parameters[1:]}
    positional = [
        p for p in rest.values() if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
    ]
    varies = any(p.kind is p.VAR_POSITIONAL for p in parameters)
    by_name = "inputs" in rest and (not positional or positional[0].name != "inputs")
    if not by_name and not varies and (not positional or positional[0].name == "training"):
        raise _other_parameters(what, parameters, "it takes no inputs", example)
    first = "inputs" if by_name else positional[0].name if positional else None
    for p in rest.values():
        if p.name in (first, "training") or p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD):
            continue
        if p.default is p.empty:
            raise _other_parameters(
                what, parameters, f"it needs {p.name!r}, which Keras doesn't pass", example
            )
        if p.name in _OTHER_NAMES and isinstance(p.default, bool) and "training" not in rest:
            raise _other_parameters(
                what,
                parameters,
                f"it would always be called with {p.name}={p.default}",
                example,
            )
    return Method(function, name, "training" in rest, by_name)


def _other_parameters(
    what: str, parameters: list[inspect.Parameter], why: str, example: str
) -> ArgumentError:
    listed = ", ".join(str(p.replace(annotation=p.empty)) for p in parameters)
    return ArgumentError(
        f"{what} has the parameters ({listed}), expected the module, `inputs` and, optionally, "
        f"`training`: {why}.",
        hint="Pass a function that calls it, for example\n" + example,
    )


def _called(function: Callable[..., Any], name: str | None) -> str:
    """The code of a call to the given method or function, up to its first argument."""
    if name is not None:
        return "module(" if name == "__call__" else f"module.{name}("
    own = getattr(function, "__name__", "")
    return f"{own if own.isidentifier() else 'function'}(module, "


def _parameters(function: Callable[..., object] | None) -> list[inspect.Parameter]:
    """A method's parameters; without a method or signature, the module and its inputs."""
    try:
        return list(inspect.signature(function).parameters.values())  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return list(inspect.signature(lambda self, inputs: None).parameters.values())


def _example(parameters: list[inspect.Parameter], cls: type, called: str) -> str:
    """Code of a suitable function, which passes the required arguments and the training flag.

    Args:
      parameters: the parameters of the method that it calls, the module first.
      cls: the module's class.
      called: the beginning of the call.
    """
    rest = parameters[1:]
    flag = next((p.name for p in rest if p.name in (*_OTHER_NAMES, "training")), None)
    others = [p for p in rest if p.name != flag and p.kind is not p.VAR_KEYWORD]
    needed = [p for p in others if p.default is p.empty and p.kind is not p.VAR_POSITIONAL]
    # Keyword-only parameters, and those after the flag, are passed by name.
    by_name = any(p.kind is p.KEYWORD_ONLY for p in needed) or bool(rest and rest[0].name == flag)
    comment = f"  # a {cls.__name__}"
    if len(needed) > 1:
        given = ["**inputs" if by_name else "*inputs"]
        comment += f"; inputs is Keras's {'dict' if by_name else 'list'} of them"
    elif by_name:
        given = [f"{p.name}=inputs" for p in needed]
    else:
        given = ["inputs"] if any(p.kind is not p.KEYWORD_ONLY for p in others) else []
    takes = "module, inputs"
    if flag is not None:
        takes += ", training"
        inverted = flag in ("deterministic", "use_running_average", "inference")
        given.append(f"{flag}={'not ' * inverted}training")
    call = (called + ", ".join(given)).removesuffix(", ")
    return f"    def method({takes}):\n        return {call}){comment}"
