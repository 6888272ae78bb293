"""Explains errors of `jax.jit` in terms of the arguments of the user's function.

jax only has the flat lists that a call became; this file goes through the call once more after the
error, so it costs nothing otherwise.
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
    """A call that `jax.jit` refused.

    Attributes:
      fun: the user's function.
      names: of its parameters.
      static_positions, static_names: which arguments are part of the program.
      args, kwargs: the arguments.
      shardings: for each positional argument, if the user gave some.
      plain: the positional arguments that are neither static nor donated, with holes.
      donated: those that are donated, by position or name, with holes.
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
        """What the user calls a positional argument."""
        return self.names[i] if i < len(self.names) else f"argument {i}"


def explained(error: Exception, call: Refused) -> Exception | None:
    """The error to raise in place of jax's; None if it stays, perhaps with a note.

    Args:
      error: what left the call before the function ran, or after it was compiled: an error within
        the function is the user's own.
      call: what was called.
    """
    if isinstance(error, TypeError):
        return _not_data(call)
    note = donation_misfit(arrays_of_call(call.args, call.kwargs, call.names), bool(call.donated))
    if note is not None:
        error.add_note(note)
        return None
    return None if call.shardings is None else sharding_misfit(_arrays(call), "jit")


def raised_in(error: Exception, function: Callable[..., Any]) -> bool:
    """Whether an error was raised while a function ran, by it or by what it called."""
    code = function.__code__
    return any(frame.f_code is code for frame, _ in traceback.walk_tb(error.__traceback__))


def _not_data(call: Refused) -> ArgumentTypeError | None:
    """Names the argument that holds something that is not an array."""
    named = [(call.name(i), a) for i, a in enumerate(call.args) if i not in call.static_positions]
    named += [(n, v) for n, v in call.kwargs.items() if n not in call.static_names]
    for name, argument in named:
        for leaf in jax.tree_util.tree_leaves(argument, is_leaf=is_node):
            if is_node(leaf) or _is_data(leaf):
                continue
            return ArgumentTypeError(
                f"nnx.jit of {getattr(call.fun, '__name__', 'a function')}: {name!r} holds"
                f" {leaf!r:.60} of type {type(leaf).__name__}, which is not an array.",
                hint=f"If it is part of the program, nnx.jit(..., static_argnames={name!r}); a"
                " class of your own is to be an nnx.Module, or a pytree of jax.",
            )
    return None


def _arrays(call: Refused) -> list[Place]:
    """The arrays beside the objects', which were looked at before the call."""
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
