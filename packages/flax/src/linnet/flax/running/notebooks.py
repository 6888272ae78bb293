"""Rewrites the code of a notebook (.ipynb), and leaves everything else as it is, byte for byte.

The code cells are one program: later cells use what the first ones import. IPython's own lines
(`%matplotlib inline`, `!pip install`, `nn.Dense?`) are replaced with `pass` for the time being;
cells in another language (`%%bash`), and those that aren't Python, are left out. Only lines that
change get new text in the file; outputs, metadata and layout stay.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from linnet.flax.running.rewritten import Rewritten

_SPACE = re.compile(r"\s*")
_READER = json.JSONDecoder()
_MAGIC = re.compile(r"^(\s*)(?:[%!?].*|(\w[\w.\s,]*=\s*)[%!].*|[\w.]+\?\??\s*)$")
_PYTHON_MAGICS = ("%%time", "%%timeit", "%%capture", "%%prun")
_HIDDEN = re.compile(r"^( *)pass  #linnet:(\d+)$", re.MULTILINE)
_CELL = "#linnet-cell:"


@dataclass
class _Value:
    """A value in a JSON text, and the place of its text."""

    value: Any
    start: int
    end: int


def rewrite_notebook(source: bytes, rewrite: Callable[[bytes], Rewritten]) -> Rewritten:
    """Rewrites the code cells of a notebook.

    Args:
      source: the file.
      rewrite: the function that rewrites a program.

    Raises:
      ValueError: it isn't a notebook.
    """
    if b"flax" not in source:
        return Rewritten(source, [])
    text = source.decode("utf-8")
    try:
        notebook, _ = _parse(text, 0)
        sources = [
            cell.value["source"]
            for cell in notebook.value["cells"].value
            if cell.value["cell_type"].value == "code"
        ]
    except (KeyError, TypeError, IndexError, StopIteration, json.JSONDecodeError) as error:
        raise ValueError(f"it isn't a notebook: {error!r}") from error
    hidden: list[str] = []
    program, numbers = "", []
    for number, cell in enumerate(sources, 1):
        code = _shown("".join(_lines(cell)), hidden)
        if code is not None:
            program += f"{_CELL}{number}\n{code}\n"
            numbers.append(number)
    if not numbers:
        return Rewritten(source, [])
    done = rewrite(program.encode())
    parts = re.split(rf"^{_CELL}(\d+)\n", done.code.decode(), flags=re.MULTILINE)[1:]
    for number, code in reversed([*zip(map(int, parts[::2]), parts[1::2], strict=True)]):
        cell = sources[number - 1]
        restored = _HIDDEN.sub(lambda m: hidden[int(m[2])], code.removesuffix("\n"))
        if restored != "".join(_lines(cell)):
            text = text[: cell.start] + _written(text, cell, restored) + text[cell.end :]
    starts = [
        program.count("\n", 0, m.start()) + 2
        for m in re.finditer(f"^{_CELL}", program, re.MULTILINE)
    ]
    left = [_placed(line, note, starts, numbers) for line, note in done.left]
    return Rewritten(text.encode(), left)


def _lines(cell: _Value) -> list[str]:
    """The lines of a cell: a list of them, or one string."""
    whole = cell.value if isinstance(cell.value, str) else "".join(v.value for v in cell.value)
    return str(whole).splitlines(keepends=True)


def _shown(code: str, hidden: list[str]) -> str | None:
    """A cell as Python, with IPython's lines put into `hidden`; None if it isn't Python."""
    if code.startswith("%%") and not code.startswith(_PYTHON_MAGICS):
        return None

    def hide(line: str) -> str:
        found = _MAGIC.match(line)
        if not found:
            return line
        hidden.append(line)
        return f"{found[1]}pass  #linnet:{len(hidden) - 1}"

    try:
        ast.parse(code, mode="exec")
    except SyntaxError:
        code = "\n".join(map(hide, code.split("\n")))
        try:
            compile(code, "cell", "exec", ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        except SyntaxError:
            return None
    return code


def _placed(line: int, note: str, starts: list[int], numbers: list[int]) -> tuple[int, str]:
    """The cell that has a line of the program, and the note with the line's number in the cell."""
    index = max(i for i, start in enumerate(starts) if start <= max(line, starts[0]))
    return numbers[index], f"(cell, line {max(line - starts[index] + 1, 1)}) {note}"


def _written(text: str, cell: _Value, code: str) -> str:
    """The text of a cell's new source, laid out like the old one."""
    plain = text.isascii()
    if isinstance(cell.value, str):
        return json.dumps(code, ensure_ascii=plain)
    known = {v.value: text[v.start : v.end] for v in cell.value}
    first, last = cell.value[0], cell.value[-1]
    between = text[first.end : cell.value[1].start] if len(cell.value) > 1 else ", "
    lines = code.splitlines(keepends=True)
    items = [known.get(line, json.dumps(line, ensure_ascii=plain)) for line in lines]
    head, tail = text[cell.start : first.start], text[last.end : cell.end]
    if len(cell.value) == 1:
        between = "," + (head[1:] or " ")
    return head + between.join(items) + tail


def _parse(text: str, at: int) -> tuple[_Value, int]:
    """Reads the JSON value at a position; returns it and the position after it."""
    at = start = _skip(text, at)
    opening = text[at]
    if opening in "[{":
        items = list(_items(text, at))
        end = items.pop().end
        if opening == "[":
            return _Value(items, start, end), end
        pairs = zip(items[::2], items[1::2], strict=True)
        return _Value({key.value: value for key, value in pairs}, start, end), end
    value, end = _READER.raw_decode(text, at)
    return _Value(value, start, end), end


def _items(text: str, at: int) -> Iterator[_Value]:
    """The contents of brackets, both keys and values, and finally the closing bracket."""
    at = _skip(text, at + 1)
    while text[at] not in "]}":
        item, at = _parse(text, at)
        yield item
        at = _skip(text, at)
        if text[at] in ",:":
            at = _skip(text, at + 1)
    yield _Value(None, at, at + 1)


def _skip(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    return at if found is None else found.end()
