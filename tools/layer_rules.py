"""The values that every layer accepts, and the errors that it raises for all other values.

The rules are those of `linnet.module_core.layers.checks`. Here they are tested on a whole layer:
each argument that is a size, an axis or a rate gets values that break its rule, and each input gets
values that are not arrays. `contracts` and `nnx_contracts` do so for each row of their tables.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from linnet.module_core.errors import ArgumentError, ArgumentTypeError

AXES = ("axis", "axes")


def require_rules_of_arguments(arguments: Mapping[str, Any], call: Callable[..., Any]) -> None:
    """Passes values that break the rule of each argument that has one.

    Args:
      arguments: a layer's arguments, by name, with valid values.
      call: makes the layer with a different value for one of the arguments, and calls it.
    """
    for name, value in arguments.items():
        for wrong, error, words in _wrong(name, value):
            with pytest.raises(error, match=words):
                call(**{name: wrong})


def _wrong(name: str, value: Any) -> Iterator[tuple[Any, type[Exception], str]]:
    several = isinstance(value, tuple | list) and len(value) > 0
    first = value[0] if several else value
    if isinstance(first, int) and not isinstance(first, bool):
        here = re.escape(f"'{name}[0]'" if several else f"'{name}'")

        def as_given(wrong: Any) -> Any:
            return (wrong, *value[1:]) if several else wrong

        yield (
            as_given(float(first)),
            ArgumentTypeError,
            rf"{here} must be an integer, got {first}\.0 \(float\)\.\s+Write {first}, or divide",
        )
        yield (as_given("many"), ArgumentTypeError, rf"{here} must be an int")
        words = rf"{here} must be at least [01], got -99\."
        if name.endswith(AXES):
            words = rf"{name}=.* is out of range: the .* have \d dimensions\.\s+Valid axes are"
        yield as_given(-99), ArgumentError, words
    elif name.endswith("rate") or name == "momentum":
        for strange in ("0.5", [0.5]):
            yield strange, ArgumentTypeError, rf"'{name}' must be a number within \[0, 1\], got "
        for outside in (1.5, -0.5, float("nan")):
            yield outside, ArgumentError, rf"'{name}' must be within \[0, 1\], got "
    elif name == "epsilon":
        yield "0.5", ArgumentTypeError, rf"'{name}' must be a number, got '0\.5' \(str\)\."
        yield -0.5, ArgumentError, rf"'{name}' must be at least 0, got -0\.5\."


def require_rule_of_inputs(inputs: tuple[Any, ...], call: Callable[..., Any]) -> None:
    """Passes the last input as nested lists, which are accepted, and as non-numeric values.

    Args:
      inputs: arrays that fit.
      call: the layer.
    """
    call(*inputs[:-1], inputs[-1].tolist())
    for wrong in ("text", [[1.0], 2.0], object()):
        kind = type(wrong).__name__
        with pytest.raises(ArgumentTypeError, match=rf"must be an array of numbers, got {kind}: "):
            call(*inputs[:-1], wrong)
