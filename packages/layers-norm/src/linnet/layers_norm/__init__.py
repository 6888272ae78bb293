"""Normalization layers, in one mathematics and two styles.

`functional` holds the arithmetic as pure functions of arrays; the modules in `linen` declare
parameters and call it, those in `nnx` own their variables and call it. Each is imported on first
use, so that one style never imports the other.
"""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import TYPE_CHECKING

from .__about__ import __version__

if TYPE_CHECKING:
    from . import functional, linen, nnx

__all__ = ["__version__", "functional", "linen", "nnx"]


def __getattr__(name: str) -> ModuleType:
    if name in ("functional", "linen", "nnx"):
        return importlib.import_module(f".{name}", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
