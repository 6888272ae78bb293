"""The error of a command that cannot run, for the person at the command line.

The first line says what failed and why; the others say where, and how to fix it.
"""

from __future__ import annotations


class Refused(Exception):
    """The command cannot run; nothing was changed."""

    def __init__(self, what: str, *lines: str) -> None:
        super().__init__("\n  ".join([what, *lines]))
