"""Removes the frames of this library from tracebacks, so that they show the user's lines.

An error in a model passes through about five frames of the library for each level of modules. When
it leaves the library (from `init`, `apply`, a transform of nnx, or a call to a layer), `strip`
removes these frames from its traceback, and from the tracebacks of the errors that caused it. The
error, its causes and its notes stay unchanged; a debugger starts at the user's innermost line.

There is no cost without an error, since a `try` is free in Python. A bare `raise` adds no frame for
the function that re-raises, so no frame of the library remains.

jax does the same with its frames, and its setting also applies here:
`JAX_TRACEBACK_FILTERING=off` shows all frames, `tracebackhide` keeps them and marks them for
IPython and pytest. `config.flax_filter_frames` turns filtering off for this library alone.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from types import TracebackType
from typing import Any, ParamSpec, TypeVar

import jax

from .config import config

P = ParamSpec("P")
R = TypeVar("R")


def strip(error: BaseException) -> None:
    """Removes the library's frames from the tracebacks of `error` and its causes."""
    mode = jax.config.jax_traceback_filtering  # type: ignore[attr-defined]
    if mode == "off" or not config.flax_filter_frames:
        return
    pending: list[BaseException | None] = [error]
    seen: set[int] = set()
    while pending:
        one = pending.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        _strip_one(one, mode == "tracebackhide")
        pending += [one.__cause__, one.__context__]
        if isinstance(one, BaseExceptionGroup):
            pending += one.exceptions


def _strip_one(error: BaseException, only_hide: bool) -> None:
    kept: list[TracebackType] = []
    ours = 0
    traceback = error.__traceback__
    while traceback is not None:
        if not _is_ours(traceback):
            kept.append(traceback)
        else:
            ours += 1
            if only_hide:
                traceback.tb_frame.f_locals["__tracebackhide__"] = True
        traceback = traceback.tb_next
    if only_hide or not ours:
        return
    rebuilt: TracebackType | None = None
    for entry in reversed(kept):
        rebuilt = TracebackType(rebuilt, entry.tb_frame, entry.tb_lasti, entry.tb_lineno)
    error.__traceback__ = rebuilt


_left_out: set[str] = set()


def leave_out(path: str) -> None:
    """Removes the frames of another file, too."""
    _left_out.add(path)


def _is_ours(traceback: TracebackType) -> bool:
    frame = traceback.tb_frame
    name = str(frame.f_globals.get("__name__"))
    return name.startswith("linnet.") or frame.f_code.co_filename in _left_out


def entry(fun: Callable[P, R]) -> Callable[P, R]:
    """Wraps a function so that the tracebacks of its errors omit frames of the library."""

    @functools.wraps(fun)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return fun(*args, **kwargs)
        except Exception as error:
            strip(error)
            raise

    return wrapper


def named_after(fun: Callable[..., Any], inner: Callable[P, R]) -> Callable[P, R]:
    """Makes jax's messages show `inner` under the name of `fun`, the user function that it runs.

    jax names the function that an error is about ("true_fun is ... at ..."), and finds it by
    `__wrapped__`. The message names the arguments of `inner`, which therefore keeps its signature.

    >>> def double(x): return 2 * x
    >>> run = named_after(double, lambda values: double(values[0]))
    >>> run.__name__, inspect.unwrap(run) is double, str(inspect.signature(run))
    ('double', True, '(values)')
    """
    shown = inspect.unwrap(fun)
    called: Any = inner
    called.__name__ = called.__qualname__ = getattr(shown, "__name__", type(shown).__name__)
    if hasattr(shown, "__code__"):  # jax can't locate an object with __call__
        called.__signature__ = inspect.signature(inner)
        called.__wrapped__ = fun
    return inner
