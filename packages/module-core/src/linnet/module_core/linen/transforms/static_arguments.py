"""The static arguments of a lifted method, which are passed unchanged instead of traced.

A number or a name selects an argument however the call passes it. Numbers count the module: `self`
is 0. All other arguments are traced. If Python evaluates a flag among them, an error says which
argument that is and how to make it static.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import jax
import numpy as np

from ...errors import ArgumentError, describe, did_you_mean
from ...records import Record
from ..lifting import Lift

Parameters = Sequence[inspect.Parameter]


class StaticArguments(Record):
    """The user's `static_argnums` and `static_argnames`.

    Attributes:
      numbers: argument numbers; negative ones count from the last positional argument of a call.
      names: argument names.
      first: the number of the first argument after the module.
      option: the name of the option that gave the numbers.
    """

    numbers: tuple[int, ...]
    names: frozenset[str]
    first: int
    option: str

    def __init__(
        self,
        numbers: tuple[int, ...],
        names: frozenset[str],
        first: int = 1,
        option: str = "static_argnums",
    ) -> None:
        vars(self).update(numbers=numbers, names=names, first=first, option=option)

    @classmethod
    def of(
        cls,
        numbers: int | Iterable[int],
        names: str | Iterable[str] = (),
        *,
        first: int = 1,
        option: str = "static_argnums",
    ) -> StaticArguments:
        """Creates an instance from the options as users pass them."""
        return cls(
            (numbers,) if isinstance(numbers, int) else tuple(numbers),
            frozenset((names,) if isinstance(names, str) else names),
            first,
            option,
        )

    def resolve(self, lift: Lift) -> tuple[tuple[int, ...], frozenset[str]]:
        """The static arguments of one call: positions among `lift.args`, and names of keywords.

        Raises:
          ArgumentError: a number or name selects the module, or an argument that the method lacks.
        """
        if not self.numbers and not self.names:
            return (), frozenset()
        n = len(lift.args)
        positions = {i - self.first if i >= 0 else n + i for i in self.numbers}
        parameters = parameters_after_module(lift.call)
        if any(i < 0 for i in positions):
            raise ArgumentError(
                f"{self.option}={_text(self.numbers)} names the module, or a missing argument.",
                hint=self._numbering(parameters),
            )
        if parameters is None:
            return tuple(sorted(i for i in positions if i < n)), self.names
        kinds = {p.kind for p in parameters}
        by_position = [p for p in parameters if p.kind in _POSITIONAL]
        last = max(positions, default=-1)
        if last >= len(by_position) and inspect.Parameter.VAR_POSITIONAL not in kinds:
            raise ArgumentError(
                f"{self.option}={_text(self.numbers)} names argument {last + self.first} of "
                f"{_name(lift.call)}, which has {len(by_position)} after the module.",
                hint=self._numbering(parameters),
            )
        known = [p.name for p in parameters if p.kind in _NAMED]
        unknown = [name for name in self.names if name not in known]
        if unknown and inspect.Parameter.VAR_KEYWORD not in kinds:
            raise ArgumentError(
                f"static_argnames names {unknown[0]!r}, which {_name(lift.call)} does not take.",
                hint=did_you_mean(unknown[0], known),
            )
        names = {by_position[i].name for i in positions if i < len(by_position)}
        positions |= {i for i, p in enumerate(by_position) if p.name in self.names}
        return tuple(sorted(i for i in positions if i < n)), self.names | names

    def refuse_arrays(self, lift: Lift, positions: Sequence[int], names: Iterable[str]) -> None:
        """Checks that static arguments, which are compared by value, hold no arrays.

        Raises:
          ArgumentError: one of them holds an array.
        """
        static = {f"argument {i + self.first}": lift.args[i] for i in positions}
        static |= {name: lift.kwargs[name] for name in names if name in lift.kwargs}
        for name, value in static.items():
            if isinstance(value, jax.Array | np.ndarray):
                raise ArgumentError(
                    f"{self.option}={_text(self.numbers)} makes {name} static, but it is "
                    f"{describe(value)}.",
                    hint=self._numbering(parameters_after_module(lift.call)),
                )

    def _numbering(self, parameters: Parameters | None) -> str:
        if parameters is None:
            return f"The first argument after the module has number {self.first}."
        numbered = [
            f"{p.name} is {i}"
            for i, p in enumerate((p for p in parameters if p.kind in _POSITIONAL), self.first)
        ]
        module = "self is 0, " if self.first else ""
        counted = "The numbers count the module: " if self.first else "The numbers begin after it: "
        names = " static_argnames takes names instead." if self.option == "static_argnums" else ""
        return f"{counted}{module}{', '.join(numbered)}.{names}"

    @contextmanager
    def explained(
        self, lift: Lift, positions: Sequence[int], names: Iterable[str]
    ) -> Iterator[None]:
        """Adds a note to an error: which traced argument may be its cause, and how to fix that.

        Args:
          lift: the call.
          positions, names: its static arguments.
        """
        try:
            yield
        except TypeError as error:
            if not isinstance(error, LOOKS_INSIDE) and not _about_types(error):
                raise
            parameters = parameters_after_module(lift.call)
            traced = {i: x for i, x in enumerate(lift.args) if i not in positions}
            flags: list[str] = []
            how: list[str] = []
            for i, value in traced.items():
                if is_setting(value):
                    name = _parameter_name(parameters, i)
                    flags.append(name or f"argument {i + self.first}")
                    how.append(f"{flags[-1]} is {i + self.first}")
            for name, value in lift.kwargs.items():
                if name not in names and is_setting(value):
                    flags.append(name)
                    how.append(f"{name} is passed by keyword")
            if flags:
                error.add_note(self._flags_note(flags, how))
            raise

    def _flags_note(self, flags: Sequence[str], how: Sequence[str]) -> str:
        now = (
            f"static_argnums={_text(self.numbers)} names other arguments"
            if self.numbers
            else "no argument is static"
        )
        counted = (
            "the numbers count the module (self is 0)" if self.first else "self is not counted"
        )
        verb = "is" if len(flags) == 1 else "are"
        return (
            f"{', '.join(flags)} of a lifted method {verb} traced, so Python can't branch on the "
            f"value: {now}. In static_argnums {counted}: {', '.join(how)}. Or use names: "
            f"static_argnames={tuple(flags)!r}."
        )


def parameters_after_module(call: Callable[..., Any]) -> Parameters | None:
    """The parameters of a lifted method or function after the module; None if unavailable."""
    known: Parameters | None
    try:
        known = call._parameters  # type: ignore[attr-defined]
    except AttributeError:
        known = call._parameters = _parameters(call)  # type: ignore[attr-defined]
    return known


def _parameters(call: Callable[..., Any]) -> Parameters | None:
    try:
        parameters = tuple(inspect.signature(call).parameters.values())
    except (TypeError, ValueError):
        return None
    return parameters[1:] if parameters and parameters[0].kind in _POSITIONAL else parameters


_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
_NAMED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)

# Errors for a traced value used as a concrete one: in `if`, as an index, as a NumPy array.
LOOKS_INSIDE = (jax.errors.ConcretizationTypeError, jax.errors.TracerArrayConversionError)


def _about_types(error: TypeError) -> bool:
    # jax refuses to trace a string, for example, and its error does not name the module.
    return "as an abstract array" in str(error) or "is not a valid JAX type" in str(error)


def is_setting(value: object) -> bool:
    """Whether an argument is a plain Python value: a flag, a number, a name, a function."""
    leaves = jax.tree.leaves(value)
    return bool(leaves) and not any(hasattr(leaf, "dtype") for leaf in leaves)


def _parameter_name(parameters: Parameters | None, i: int) -> str | None:
    named = [p.name for p in parameters or () if p.kind in _POSITIONAL]
    return named[i] if i < len(named) else None


def _name(call: Callable[..., Any]) -> str:
    return getattr(inspect.unwrap(call), "__qualname__", "the function")


def _text(numbers: Sequence[int]) -> str:
    return f"({numbers[0]},)" if len(numbers) == 1 else repr(tuple(numbers))
