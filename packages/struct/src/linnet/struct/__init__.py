"""Containers for JAX: immutable dataclasses and frozen dictionaries, and their serialization.

Importing this module costs almost nothing on top of `jax`, since it loads only the two containers.
`serialization` and `traverse_util` are loaded on first access, and msgpack only by the functions
that read or write bytes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from linnet.struct._dataclass import PyTreeNode, TNode, dataclass, field
from linnet.struct.frozen_dict import FrozenDict, copy, freeze, pop, pretty_repr, unfreeze

if TYPE_CHECKING:
    from linnet.struct import serialization, traverse_util

__all__ = [
    "FrozenDict",
    "PyTreeNode",
    "TNode",
    "copy",
    "dataclass",
    "field",
    "freeze",
    "pop",
    "pretty_repr",
    "serialization",
    "traverse_util",
    "unfreeze",
]

_LAZY = ("serialization", "traverse_util")


if not TYPE_CHECKING:  # a type checker would take every misspelled name for one of these

    def __getattr__(name: str) -> object:
        if name in _LAZY:
            from importlib import import_module

            return import_module(f"{__name__}.{name}")
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY})
