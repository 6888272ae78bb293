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
from collections.abc import Mapping, Sequence
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


# Where a line may be broken: between words and the names of a path; also within names, before a capital
# letter, and after a shape's commas; anywhere.
_WORDS = re.compile(r"(?<=[ /])")
_PARTS = re.compile(r"(?<=[ /_])|(?<=[a-z])(?=[A-Z])|(?<=\d,)(?=[\d,]+\])")
_LETTERS = re.compile(r"(?<=.)(?=.)")
_NARROWEST = 6


def fit(columns: list[Column], room: int) -> list[Placed]:
    """The columns, so narrow that they have `room` together, if that can be."""
    widths = [_width(_lines(c)) for c in columns]
    if sum(widths) <= room:
        return [_place(c, width, _WORDS) for c, width in zip(columns, widths, strict=True)]
    columns = [_shortened(c) for c in columns]
    widths = [_width(_lines(c)) for c in columns]
    for pattern in (_WORDS, _PARTS, _LETTERS):
        if pattern is _LETTERS:
            least = [min(width, _NARROWEST) for width in widths]
        else:
            least = [
                _width([piece for line in _lines(c) for piece in wrap(line, 0, pattern)])
                for c in columns
            ]
        if sum(least) <= room or pattern is _LETTERS:
            break
    for _ in range(sum(widths) - max(room, sum(least))):
        _, widest = max((w, i) for i, w in enumerate(widths) if w > least[i])
        widths[widest] -= 1
    return [_place(c, width, pattern) for c, width in zip(columns, widths, strict=True)]


def _lines(column: Column) -> list[str]:
    return [column.title, *(line for cell in column.cells for line in cell), column.footer]


def _width(lines: list[str]) -> int:
    return max(map(len, lines), default=0)


def _place(column: Column, width: int, pattern: re.Pattern[str]) -> Placed:
    cells = [[part for line in cell for part in wrap(line, width, pattern)] for cell in column.cells]
    title, footer = wrap(column.title, width, pattern), wrap(column.footer, width, pattern)
    used = _width([*title, *footer, *(line for cell in cells for line in cell)])
    return Placed(used, title, cells, footer, column.right)


def wrap(line: str, width: int, pattern: re.Pattern[str]) -> list[str]:
    """`line` in lines of at most `width`, broken where `pattern` matches; what follows is indented."""
    if len(line) <= width:
        return [line]
    body = line.lstrip(" -")
    start = line[: len(line) - len(body)]
    indent = " " * (len(start) + (2 if ": " in body else 0))
    lines, current, empty = [], start, True
    for piece in pattern.split(body):
        if empty or len((current + piece).rstrip()) <= width:
            current += piece
        else:
            lines.append(current.rstrip())
            current = indent + piece
        empty = False
    return [*lines, current.rstrip()]


_DTYPE = re.compile(r"\b(bfloat|float|uint|int|complex)(?=\d+\w*\[)")
_SHORT = {"bfloat": "bf", "float": "f", "uint": "u", "int": "i", "complex": "c"}


def _shortened(column: Column) -> Column:
    cells = [
        [_DTYPE.sub(lambda match: _SHORT[match.group()], line) for line in cell]
        for cell in column.cells
    ]
    return dataclasses.replace(column, cells=cells)


# Characters.

_GAP = 2  # spaces between two columns of plain text


def _plain(title: str, columns: list[Placed], caption: str) -> str:
    rule = [["-" * c.width] for c in columns]
    rows = list(zip(*(c.cells for c in columns), strict=True))
    lines = [title, "", *_plain_row(columns, [c.title for c in columns])]
    lines += _plain_row(columns, rule)
    apart = _needs_lines(columns)
    for i, row in enumerate(rows):
        if i > 0 and apart:
            lines.append("")
        lines += _plain_row(columns, row)
    lines += _plain_row(columns, rule)
    lines += _plain_row(columns, [c.footer for c in columns])
    return "\n".join([*lines, "", caption, ""])


def _plain_row(columns: list[Placed], cells: Sequence[list[str]]) -> list[str]:
    height = max(map(len, cells))
    lines = []
    for i in range(height):
        texts = [cell[i] if i < len(cell) else "" for cell in cells]
        padded = [
            text.rjust(c.width) if c.right else text.ljust(c.width)
            for c, text in zip(columns, texts, strict=True)
        ]
        lines.append((" " * _GAP).join(padded).rstrip())
    return lines


def _needs_lines(columns: list[Placed]) -> bool:
    """Whether rows need a separation: some cell takes several lines."""
    return any(len(cell) > 1 for c in columns for cell in c.cells)


def _rich(
    title: str,
    columns: list[Placed],
    caption: str,
    console_kwargs: Mapping[str, Any],
    table_kwargs: Mapping[str, Any],
    column_kwargs: Mapping[str, Any],
) -> str:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    def text(lines: list[str]) -> Text:
        drawn = Text("\n".join(lines))
        drawn.highlight_regex(r"(?m)^[\d,]+ \([\d,.]+ [KMGT]?B\)$", "bold")
        drawn.highlight_regex(r"\([\d,.]+ [KMGT]?B\)", "dim")
        drawn.highlight_regex(r"\b[a-z]+\d\w*(?=\[)", "dim")
        return drawn

    table = Table(
        **{
            "title": title,
            "caption": text([caption]),
            "caption_style": "",
            "show_lines": _needs_lines(columns),
            "show_footer": True,
            **table_kwargs,
        }
    )
    for c in columns:
        table.add_column(
            **{
                "header": text(c.title),
                "footer": text(c.footer),
                "justify": "right" if c.right else "left",
                "overflow": "fold",
                **column_kwargs,
            }
        )
    for row in zip(*(c.cells for c in columns), strict=True):
        table.add_row(*map(text, row))
    buffer = io.StringIO()
    # Colors where the text is likely to be printed to a terminal.
    defaults = {"force_terminal": sys.stdout.isatty(), "force_jupyter": False}
    console = Console(file=buffer, **{**defaults, **console_kwargs})
    console.print(table)
    return buffer.getvalue()
