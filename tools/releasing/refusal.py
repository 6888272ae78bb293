"""Why a command was not carried out: an error for the person at the command line.

The first line says what was refused and why; the others say where, and how to fix it.
"""

from __future__ import annotations


class Refused(Exception):
    """Nothing was changed."""

    def __init__(self, what: str, *lines: str) -> None:
        super().__init__("\n  ".join([what, *lines]))
