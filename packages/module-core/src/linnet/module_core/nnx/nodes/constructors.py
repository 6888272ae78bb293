"""Checks the keywords of a constructor, so that an error can suggest the right one.

`__new__` calls `check_keywords`. Python binds the arguments of `__init__` later, and Python's error
names only the wrong keyword.
"""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from ...errors import ArgumentTypeError, did_you_mean

F = TypeVar("F", bound=Callable[..., Any])

_PASSES_ON = "_linnet_locates"


def mark(method: F) -> F:
    """Marks a wrapper of this library, which passes all arguments on to the wrapped method."""
    setattr(method, _PASSES_ON, True)
    return method


def is_marked(method: object) -> bool:
    """Whether a method is a wrapper of this library, which locates errors."""
    return getattr(method, _PASSES_ON, False) is True


def check_keywords(cls: type, keywords: Iterable[str]) -> None:
    """Checks that the constructor of a class takes these keywords.

    A constructor that is not written in Python, or that a decorator wraps, is not checked.

    Raises:
      ArgumentTypeError: it does not; the hint lists the keywords that it takes.
    """
    init: Any = cls.__init__  # type: ignore[misc]
    if is_marked(init):
        init = init.__wrapped__
    if not isinstance(init, types.FunctionType):
        return
    code = init.__code__
    if code.co_flags & inspect.CO_VARKEYWORDS:
        return
    known = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    for name in keywords:
        if name not in known:
            raise ArgumentTypeError(
                f"{cls.__name__}.__init__() got an unexpected keyword argument {name!r}.",
                hint=did_you_mean(name, known[max(1, code.co_posonlyargcount) :]),
            )
