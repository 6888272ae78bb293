"""Explains errors of `jax.jit` in terms of the arguments of the user's function.

jax only sees the flat lists made from a call. The functions here inspect the call again after an
error, so successful calls cost nothing.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax

from ...errors import ArgumentTypeError
from ..structure.bundle import is_node
from .naming import Place, arrays_of_call, donation_misfit, places_of_argument, sharding_misfit


class Refused(NamedTuple):
    """A call for which `jax.jit` raised an error.

    Attributes:
      fun: the user's function.
      names: the names of its parameters.
      static_positions, static_names: the static arguments.
      args, kwargs: the arguments.
      shardings: the shardings for each positional argument, if the user gave any.
      plain: the positional arguments that are neither static nor donated, with holes.
      donated: the donated arguments, by position or name, with holes.
    """

    fun: Callable[..., Any]
    names: Sequence[str]
    static_positions: Sequence[int]
    static_names: Sequence[str]
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    shardings: Sequence[Any] | None
    plain: Sequence[Any]
    donated: Mapping[Any, Any]

    def name(self, i: int) -> str:
        """The name of a positional argument."""
        return self.names[i] if i < len(self.names) else f"argument {i}"


def explained(error: Exception, call: Refused) -> Exception | None:
    """The error to raise instead of jax's error; None to keep jax's error, perhaps with a note.

    Args:
      error: an error raised before the function ran or after it was compiled; errors within the
        function belong to the user.
      call: the call.
    """
    if isinstance(error, TypeError):
        return _not_data(call)
    note = donation_misfit(arrays_of_call(call.args, call.kwargs, call.names), bool(call.donated))
    if note is not None:
        error.add_note(note)
        return None
    return None if call.shardings is None else sharding_misfit(_arrays(call), "jit")


def raised_in(error: Exception, function: Callable[..., Any]) -> bool:
    """Whether an error was raised by a function or by a function that it called."""
    code = function.__code__
    return any(frame.f_code is code for frame, _ in traceback.walk_tb(error.__traceback__))


def _not_data(call: Refused) -> ArgumentTypeError | None:
    """The error about an argument that holds a value other than an array."""
    named = [(call.name(i), a) for i, a in enumerate(call.args) if i not in call.static_positions]
    named += [(n, v) for n, v in call.kwargs.items() if n not in call.static_names]
    for name, argument in named:
        for leaf in jax.tree_util.tree_leaves(argument, is_leaf=is_node):
            if is_node(leaf) or _is_data(leaf):
                continue
            return ArgumentTypeError(
                f"nnx.jit of {getattr(call.fun, '__name__', 'a function')}: {name!r} holds"
                f" {leaf!r:.60} of type {type(leaf).__name__}, which is not an array.",
                hint=(
                    "If it is part of the program, make it static: nnx.jit(..., "
                    f"static_argnames={name!r}). Make your own class an nnx.Module, or register "
                    "it as a pytree with jax."
                ),
            )
    return None


def _arrays(call: Refused) -> list[Place]:
    """The arrays outside the objects; those inside were checked before the call."""
    plain = iter(call.plain)
    places: list[Place] = []
    for i, sharding in enumerate(call.shardings or ()):
        if i in call.static_positions:
            continue
        detached = call.donated[i] if i in call.donated else next(plain)
        name = call.name(i)
        places += places_of_argument(sharding, detached, name, f"in_shardings of {name}")
    return places


def _is_data(x: object) -> bool:
    if hasattr(x, "__jax_array__"):
        return True
    try:
        jax.numpy.result_type(x)
    except TypeError:
        return False
    return not isinstance(x, str)
