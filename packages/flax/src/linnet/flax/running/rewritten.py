"""The result of `rewrite` for a program or a notebook."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Rewritten:
    """The new text of a file, and the lines that could not be rewritten.

    Attributes:
      code: the text, encoded as the file is.
      left: numbers of lines (of cells in a notebook), and why each is unchanged.
    """

    code: bytes
    left: list[tuple[int, str]]
