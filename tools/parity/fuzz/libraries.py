"""The two libraries under one set of names, and plain Python as a third where an arm has it."""

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
import linnet.struct


@dataclasses.dataclass(frozen=True, eq=False)
class Library:
    """Where a program finds what it uses.

    Attributes:
      name: of the library.
      linen, nnx: the two styles.
      struct: dataclasses, FrozenDict, state dicts and bytes, traversals.
      eager: whether transforms are left out, and their functions run as they are.
    """

    name: str
    linen: Any = None
    nnx: Any = None
    struct: Any = None
    eager: bool = False


FLAX = Library(
    "flax",
    flax.linen,
    flax.nnx,
    SimpleNamespace(
        dataclass=flax.struct.dataclass,
        field=flax.struct.field,
        FrozenDict=flax.core.FrozenDict,
        freeze=flax.core.freeze,
        unfreeze=flax.core.unfreeze,
        serialization=flax.serialization,
        traverse_util=flax.traverse_util,
    ),
)
LINNET = Library(
    "linnet",
    linnet.linen,
    linnet.nnx,
    SimpleNamespace(
        dataclass=linnet.struct.dataclass,
        field=linnet.struct.field,
        FrozenDict=linnet.struct.FrozenDict,
        freeze=linnet.struct.freeze,
        unfreeze=linnet.struct.unfreeze,
        serialization=linnet.struct.serialization,
        traverse_util=linnet.struct.traverse_util,
    ),
)
EAGER = dataclasses.replace(LINNET, name="eager", eager=True)
PYTHON = Library("python")
