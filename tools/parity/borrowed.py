"""Names that a module of Flax contains but does not define, and that no program imports from it."""

import __future__

import abc
import collections
import collections.abc
import contextlib
import dataclasses
import enum
import functools
import types
import typing

import typing_extensions

PYTHON = [abc, collections, collections.abc, contextlib, dataclasses, enum, functools, types]
PYTHON += [typing, typing_extensions, __future__]


def is_borrowed(name, value):
    """Whether it is a module, a type variable, or one of Python's or IPython's own names."""
    if isinstance(value, types.ModuleType | typing.TypeVar):
        return True
    if str(getattr(value, "__module__", "")).startswith("IPython."):
        return True  # only where IPython is installed
    return any(getattr(python, name, None) is value for python in PYTHON)
