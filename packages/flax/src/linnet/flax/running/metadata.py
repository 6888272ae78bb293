"""The metadata of a distribution named `flax`, for programs that ask for its version."""

from __future__ import annotations

import importlib.metadata
import os
from pathlib import Path

import linnet.flax
from linnet.flax.version import __version__


class Flax(importlib.metadata.Distribution):
    """A distribution with the version of Flax whose names Linnet has, and without files."""

    def read_text(self, filename: str) -> str | None:
        """The text of METADATA; there is no other file."""
        if filename not in ("METADATA", "PKG-INFO"):
            return None
        return (
            f"Metadata-Version: 2.1\nName: flax\nVersion: {__version__}\n"
            "Summary: Flax's modules, from Linnet (linnet.flax).\n"
        )

    def locate_file(self, path: str | os.PathLike[str]) -> Path:  # type: ignore[override, unused-ignore]
        """Where a file of the distribution would be: next to the package that provides it."""
        return Path(linnet.flax.__path__[0]).parent / path
