"""Adds the location of the failing module to errors.

An error is located in the innermost module that it passes through. The path to that module is known
only in the modules around it: each one that the error passes through looks for the innermost one
among its submodules, and replaces the path so far with the path to it. So the path begins at the
module that the user called, and no path is computed unless an error is raised.

    In blocks[0].attention (Attention), method __call__.

The message of an error from this library begins with the path; any other error has it in a note.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

from ...config import config
from ...errors import LinnetError
from ...layout import ambiguous
from ...mismatched import mismatch
from ...tracebacks import strip
from ..nodes.constructors import is_marked as does_locate
from ..nodes.constructors import mark
from .iteration import iter_graph
from .operation_names import named

F = TypeVar("F", bound=Callable[..., Any])

__all__ = ["does_locate", "locate", "locates", "mark"]


def locates(method: F) -> F:
    """Wraps a method of a module so that its errors and its operations name the module."""

    @functools.wraps(method)
    def wrapper(self: object, /, *args: object, **kwargs: object) -> object:
        try:
            if config.flax_profile:
                return named(method, self, args, kwargs)
            return method(self, *args, **kwargs)
        except Exception as error:
            if isinstance(error, TypeError) and not hasattr(error, "_linnet_place"):
                note = mismatch(error, method, (self, *args), kwargs)
                locate(error, self, method.__name__)
                if note is not None:
                    error.add_note(note)
            else:
                locate(error, self, method.__name__)
            strip(error)
            raise

    return mark(wrapper)  # type: ignore[return-value]


class _Place:
    """The location attached to an error while it leaves a model."""

    def __init__(self, module: object, method: str) -> None:
        self.module = module
        self.method = method
        self.text: str | None = None


def locate(error: Exception, module: object, method: str) -> None:
    """Updates the location of an error that passes through `module` to the path from `module`."""
    place: _Place | None = getattr(error, "_linnet_place", None)
    if place is None:
        if getattr(error, "_linnet_noted", False) or getattr(error, "where", None) is not None:
            return  # already located by an inner linen module
        place = _Place(module, method)
        try:
            error._linnet_place = place  # type: ignore[attr-defined]
        except AttributeError:
            return
    path = _path_to(place.module, module)
    if path is None:
        return
    cls = type(place.module).__name__
    where = f"{path} ({cls})" if path else cls
    if isinstance(error, LinnetError):
        if error.where == place.text:
            error.where = place.text = where
        return
    text = f"In {where}, method {place.method}."
    notes: list[str] = getattr(error, "__notes__", [])
    if place.text in notes:
        notes[notes.index(place.text)] = text
    else:
        error.add_note(text)
        hint = ambiguous(error) or _abstract(error)
        if hint is not None:
            error.add_note(hint)
    place.text = text


def _abstract(error: Exception) -> str | None:
    """A hint for an error about a shape where an array is required."""
    if not isinstance(error, TypeError) or "ShapeDtypeStruct" not in str(error):
        return None
    return (
        "The module is abstract, as from nnx.eval_shape: its variables hold shapes. Give them"
        " arrays with nnx.update(module, state), or make the module itself: nnx.jit(Model)(...)."
    )


def _path_to(module: object, root: object) -> str | None:
    if module is root:
        return ""
    try:
        path = next((path for path, value in iter_graph(root) if value is module), None)
    except Exception:  # a partly initialized object; the original error matters
        return None
    if path is None:
        return None
    parts = (f".{k}" if isinstance(k, str) and k.isidentifier() else f"[{k!r}]" for k in path)
    return "".join(parts).removeprefix(".")
