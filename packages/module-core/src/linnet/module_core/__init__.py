"""The module systems of Linnet.

`linen` has immutable modules whose variables live outside them, and `nnx` has modules that own
their variables. `boxes` defines values with metadata, `errors` all errors, `dtypes` the rule for
computation dtypes, `config` the switches, `typing` the names for annotations, `training` the other
parts of a training loop, `sharding` the layouts of whole models on a mesh, and `weights` loads
parameters from PyTorch and from files. Each is loaded on first use: importing one style never
imports the other.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from . import boxes as boxes
    from . import config as config
    from . import dtypes as dtypes
    from . import errors as errors
    from . import linen as linen
    from . import nnx as nnx
    from . import sharding as sharding
    from . import training as training
    from . import typing as typing
    from . import weights as weights

from .__about__ import __version__ as __version__

_PARTS = (
    "boxes",
    "config",
    "dtypes",
    "errors",
    "linen",
    "nnx",
    "sharding",
    "training",
    "typing",
    "weights",
)

__all__ = ["__version__", *_PARTS]


if not TYPE_CHECKING:  # a type checker would mistake every misspelled name for one of these

    def __getattr__(name: str) -> object:
        if name in _PARTS:
            return import_module(f".{name}", __name__)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
