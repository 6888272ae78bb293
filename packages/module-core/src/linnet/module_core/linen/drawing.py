"""Draws a table of text, as rich does or in plain characters.

Where a line may be broken is decided here, for both: rich breaks at spaces only, and would cut a
shape like float32[128,28,28,64] in two, or off. A table that is too wide is narrowed in steps, until
it fits: short names of dtypes, lines broken at spaces and slashes, then after a shape's commas, then
anywhere.
"""

from __future__ import annotations

import dataclasses
import io
import re
import shutil
import sys
from collections.abc import Mapping
from typing import Any

from ..errors import LinnetError

WIDTH = 120
"""Where there is no terminal to ask."""


class MissingExtraError(LinnetError, ImportError):
    """An optional dependency is needed that is not installed."""


@dataclasses.dataclass
class Column:
    """A column of a table.

    Attributes:
      title: what stands at its top.
      cells: lines of each cell.
      footer: what stands at its bottom.
      right: whether it is set flush right.
    """

    title: str
    cells: list[list[str]]
    footer: str = ""
    right: bool = False


def check_extra(*arguments: Mapping[str, Any] | None) -> None:
    """Refuses arguments for rich where it is not installed."""
    if any(arguments) and not _has_rich():
        raise MissingExtraError(
            "console_kwargs, table_kwargs and column_kwargs go to rich, which is not installed.",
            hint='python -m pip install "linnet-module-core[rich]", or leave them out: a plain '
            "table needs nothing.",
        )


def _has_rich() -> bool:
    try:
        import rich.table  # noqa: F401
    except ImportError:
        return False
    return True


def draw(
    title: str,
    columns: list[Column],
    caption: str,
    *,
    console_kwargs: Mapping[str, Any] | None,
    table_kwargs: Mapping[str, Any],
    column_kwargs: Mapping[str, Any],
) -> str:
    """The table as text that ends in a newline."""
    console_kwargs = console_kwargs or {}
    width = console_kwargs.get("width")
    if width is None:
        width = shutil.get_terminal_size((WIDTH, 24)).columns
    if _has_rich():
        # A space on both sides of a column, a line between two, and one at each end.
        laid_out = fit(columns, width - 3 * len(columns) - 1)
        return _rich(
            title, laid_out, caption, {"width": width, **console_kwargs}, table_kwargs, column_kwargs
        )
    return _plain(title, fit(columns, width - _GAP * (len(columns) - 1)), caption)


# Layout.


@dataclasses.dataclass
class Placed:
    """A column with its width; title, cells and footer are broken into lines that fit."""

    width: int
    title: list[str]
    cells: list[list[str]]
    footer: list[str]
    right: bool


# Where a line may be broken, from the best places to the last resort.
_NOWHERE = re.compile(r".+")
_AT_WORDS = re.compile(r"[^ /_]*[ /_]?")
_IN_SHAPES = re.compile(r"[^ /_,]*(?:,(?!\d{3}\b(?!\]))|[ /_])?|,")
_ANYWHERE = re.compile(r".")
