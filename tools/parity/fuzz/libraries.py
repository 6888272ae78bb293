"""The two libraries under the same names, and in some arms plain Python as a third."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace
from typing import Any

import flax.core
import flax.linen
import flax.nnx
import flax.serialization
import flax.struct
import flax.traverse_util

import linnet.linen
import linnet.nnx
import linnet.struct.serialization
import linnet.struct.traverse_util


@dataclasses.dataclass(frozen=True, eq=False)
class Library:
    """The modules that a program uses.

    Attributes:
      name: the name of the library.
      linen, nnx: the two styles.
      struct: dataclasses, FrozenDict, state dicts and bytes, traversals.
      eager: whether functions run without their transforms.
    """

    name: str
    linen: Any = None
    nnx: Any = None
    struct: Any = None
    eager: bool = False


def _library(package: Any, frozen: Any) -> Library:
    """The `Library` of a package, given also the module that has FrozenDict."""
    struct = SimpleNamespace(
        dataclass=package.struct.dataclass,
        field=package.struct.field,
        FrozenDict=frozen.FrozenDict,
        freeze=frozen.freeze,
        unfreeze=frozen.unfreeze,
        serialization=getattr(package, "serialization", None) or package.struct.serialization,
        traverse_util=getattr(package, "traverse_util", None) or package.struct.traverse_util,
    )
    return Library(package.__name__, package.linen, package.nnx, struct)


FLAX = _library(flax, flax.core)
LINNET = _library(linnet, linnet.struct)
EAGER = dataclasses.replace(LINNET, name="eager", eager=True)
PYTHON = Library("python")
