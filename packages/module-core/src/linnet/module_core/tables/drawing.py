"""Draws a text table, with rich or in plain characters.

Both use the layout computed here: rich breaks lines only at spaces, and would split or truncate a
shape like float32[128,28,28,64]. Layouts are tried from the widest to the narrowest, and the first
that fits is used; each defines where lines may be broken.
"""

from __future__ import annotations

import dataclasses
import functools
import io
import itertools
import re
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..errors import MissingExtraError

WIDTH = 120
"""The width without a terminal."""


@dataclasses.dataclass
class Column:
    """A column of a table.

    Attributes:
      title, footer: lines at the top and bottom.
      cells: lines of each cell.
      right: whether the text is right-aligned.
    """

    title: list[str]
    cells: list[list[str]]
    footer: list[str]
    right: bool = False

    def lines(self) -> list[str]:
        """All lines of the column."""
        return [*self.title, *(line for cell in self.cells for line in cell), *self.footer]

    def width(self) -> int:
        """The length of the longest line."""
        return max(map(len, self.lines()), default=0)

    def map(self, fn: Callable[[str], list[str]]) -> Column:
        """Replaces each line with the lines `fn(line)`."""

        def each(lines: list[str]) -> list[str]:
            return [new for line in lines for new in fn(line)]

        return Column(each(self.title), list(map(each, self.cells)), each(self.footer), self.right)

    def over(self, below: Column, mark: str = "") -> Column:
        """Merges two columns: the lines of `below`, each after a mark, come under these lines."""
        cells = zip(self.cells, below.cells, strict=True)
        return Column(
            self.title + _marked(below.title, mark),
            [upper + _marked(lower, mark) for upper, lower in cells],
            self.footer + _marked(below.footer, mark),
            self.right,
        )


def _marked(lines: list[str], mark: str) -> list[str]:
    return [(mark if i == 0 else " " * len(mark)) + line for i, line in enumerate(lines)]


def check_extra(*arguments: Mapping[str, Any] | None) -> None:
    """Checks that rich is installed if it gets arguments."""
    if any(arguments) and not _has_rich():
        raise MissingExtraError(
            "console_kwargs, table_kwargs and column_kwargs need rich, which is not installed.",
            hint=(
                'python -m pip install "linnet-module-core[rich]", or leave them out: a plain '
                "table needs no extra."
            ),
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
    narrower: list[Column],
    caption: str,
    *,
    console_kwargs: Mapping[str, Any] | None,
    table_kwargs: Mapping[str, Any],
    column_kwargs: Mapping[str, Any],
) -> str:
    """Draws the table as text that ends in a newline.

    Args:
      title, caption: text above and below the table.
      columns: the columns.
      narrower: the same contents in fewer columns, if the width is not sufficient.
      console_kwargs, table_kwargs, column_kwargs: arguments for rich.
    """
    console_kwargs = console_kwargs or {}
    width = console_kwargs.get("width")
    if width is None:
        width = shutil.get_terminal_size((WIDTH, 24)).columns
    if _has_rich():
        # A space on both sides of each column, a line between columns and at each end.
        fitting = fit(columns, narrower, lambda n: width - 3 * n - 1)
        console_kwargs = {"width": width, **console_kwargs}
        return _rich(title, fitting, caption, console_kwargs, table_kwargs, column_kwargs)
    return _plain(title, fit(columns, narrower, lambda n: width - _GAP * (n - 1)), caption)


# Layout. Lines may be broken, in order of preference: between words and between the names of a
# path; also within long names and after the commas of a shape; anywhere.

_NOWHERE = re.compile(r"(?!)")
_WORDS = re.compile(r"(?<=[ /])(?![KMGT]?B\))")
_PARTS = re.compile(
    rf"{_WORDS.pattern}|(?<=_)(?=[A-Za-z])|(?<=[a-z])(?=[A-Z])|(?<=\d,)(?=[\d,]+\])"
)
_ANYWHERE = re.compile(r"(?<=.)(?=.)")
_NARROWEST = 6


def fit(columns: list[Column], narrower: list[Column], room: Callable[[int], int]) -> list[Column]:
    """The columns in the best layout whose text fits into `room(number of columns)`."""
    for layout, pattern in (
        (columns, _NOWHERE),
        (_shortened(columns), _NOWHERE),
        (_shortened(columns), _WORDS),
        (narrower, _NOWHERE),
        (_shortened(narrower), _NOWHERE),
        (_shortened(narrower), _WORDS),
        (_shortened(narrower), _PARTS),
    ):
        least = [c.map(lambda line: wrap(line, 0, pattern)).width() for c in layout]  # noqa: B023
        if sum(least) <= room(len(layout)):
            return _narrowed(layout, least, room(len(layout)), pattern)
    layout = _shortened(narrower)
    least = [min(c.width(), _NARROWEST) for c in layout]
    return _narrowed(layout, least, room(len(layout)), _ANYWHERE)


def _narrowed(
    columns: list[Column], least: list[int], room: int, pattern: re.Pattern[str]
) -> list[Column]:
    """Narrows the widest columns until all fit into `room`, none below its `least`."""
    widths = [c.width() for c in columns]
    for _ in range(sum(widths) - max(room, sum(least))):
        _, widest = max((w, i) for i, w in enumerate(widths) if w > least[i])
        widths[widest] -= 1
    return [
        c.map(functools.partial(wrap, width=width, pattern=pattern))
        for c, width in zip(columns, widths, strict=True)
    ]


def wrap(line: str, width: int, pattern: re.Pattern[str]) -> list[str]:
    """Breaks `line` into lines of at most `width`, at the places that `pattern` matches."""
    if len(line) <= width:
        return [line]
    body = line.lstrip(" ->")
    start = line[: len(line) - len(body)]
    indent = " " * (len(start) + (2 if ": " in body else 0))
    first, *rest = pattern.split(body)
    lines, current = [], start + first
    for piece in rest:
        if len((current + piece).rstrip()) <= width:
            current += piece
        else:
            lines.append(current.rstrip())
            current = indent + piece
    return [*lines, current.rstrip()]


_DTYPE = re.compile(r"\b(bfloat|float|uint|int|complex)(?=\d+\w*\[)")
_SHORT = {"bfloat": "bf", "float": "f", "uint": "u", "int": "i", "complex": "c"}


def _shortened(columns: list[Column]) -> list[Column]:
    """The columns with dtype names abbreviated as in jaxprs."""
    return [c.map(lambda s: [_DTYPE.sub(lambda m: _SHORT[m.group()], s)]) for c in columns]


# Characters.

_GAP = 2  # spaces between two columns of plain text


def _plain(title: str, columns: list[Column], caption: str) -> str:
    rule = [["-" * c.width()] for c in columns]
    apart = [""] if _needs_lines(columns) else []
    rows: list[str] = []
    for cells in zip(*(c.cells for c in columns), strict=True):
        rows += apart * bool(rows) + _plain_row(columns, cells)
    lines = [
        title,
        "",
        *_plain_row(columns, [c.title for c in columns]),
        *_plain_row(columns, rule),
        *rows,
        *_plain_row(columns, rule),
        *_plain_row(columns, [c.footer for c in columns]),
        "",
        caption,
    ]
    return "\n".join(lines) + "\n"


def _plain_row(columns: list[Column], cells: Sequence[list[str]]) -> list[str]:
    lines = []
    for parts in itertools.zip_longest(*cells, fillvalue=""):
        padded = [
            text.rjust(c.width()) if c.right else text.ljust(c.width())
            for c, text in zip(columns, parts, strict=True)
        ]
        lines.append((" " * _GAP).join(padded).rstrip())
    return lines


def _needs_lines(columns: list[Column]) -> bool:
    """Whether rows need separators, because a cell has several lines."""
    return any(len(cell) > 1 for c in columns for cell in c.cells)


def _rich(
    title: str,
    columns: list[Column],
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
    # Uses colors if the text is likely to be printed to a terminal.
    defaults = {
        "force_terminal": sys.stdout.isatty(),
        "force_jupyter": False,
        "legacy_windows": False,
    }
    console = Console(file=buffer, **{**defaults, **console_kwargs})
    console.print(table)
    return buffer.getvalue()
