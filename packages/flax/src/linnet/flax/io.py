"""`flax.io`: access to files on local disks, through the few functions that programs call.

Flax reads other file systems through TensorFlow if it is installed; here, a path on another file
system raises an error before anything is done.
"""

from __future__ import annotations

import contextlib
import glob as _glob
import os
import shutil
from collections.abc import Iterator
from enum import Enum
from typing import IO, Any

from linnet.module_core import errors as errors
from linnet.module_core.errors import AlreadyExistsError, ArgumentError

__all__ = [
    "BackendMode",
    "GFile",
    "NotFoundError",
    "copy",
    "errors",
    "exists",
    "getsize",
    "glob",
    "io_mode",
    "isdir",
    "listdir",
    "makedirs",
    "override_mode",
    "remove",
    "rename",
    "rmtree",
    "set_mode",
]

Path = str | os.PathLike[str]
NotFoundError = FileNotFoundError


class BackendMode(Enum):
    """The library through which files are read."""

    DEFAULT = 0
    TF = 1


io_mode = BackendMode.DEFAULT
"""The library that is used; it is always Python's own."""


def set_mode(override: BackendMode) -> None:
    """Chooses Python's own library.

    Raises:
      ArgumentError: `override` is another library.
    """
    if override is not BackendMode.DEFAULT:
        raise ArgumentError(
            f"Files are read by Python's own library, not through {override.name}.",
            hint="Use BackendMode.DEFAULT, and copy remote files to a local disk first.",
        )


@contextlib.contextmanager
def override_mode(override: BackendMode) -> Iterator[None]:
    """Chooses a library within a `with` block; see `set_mode`."""
    set_mode(override)
    yield


def GFile(name: Path, mode: str) -> IO[Any]:
    """Opens a file, as `open` does."""
    return open(_local(name), mode)


def exists(path: Path) -> bool:
    """Whether a file or folder exists."""
    return os.path.exists(_local(path))


def isdir(path: Path) -> bool:
    """Whether a folder exists."""
    return os.path.isdir(_local(path))


def listdir(path: Path) -> list[str]:
    """The names in a folder."""
    return os.listdir(_local(path))


def glob(pattern: str) -> list[str]:
    """The paths that match a pattern."""
    return _glob.glob(_local(pattern))


def getsize(path: Path) -> int:
    """The size of a file in bytes."""
    return os.path.getsize(_local(path))


def makedirs(path: Path) -> None:
    """Creates a folder and its parents, if they don't exist."""
    os.makedirs(_local(path), exist_ok=True)


def copy(src: Path, dst: Path, overwrite: bool = False) -> None:
    """Copies a file.

    Raises:
      AlreadyExistsError: `dst` exists, and `overwrite` is False.
    """
    _check_free(dst, overwrite)
    shutil.copy(_local(src), _local(dst))


def rename(src: Path, dst: Path, overwrite: bool = False) -> None:
    """Renames a file.

    Raises:
      AlreadyExistsError: `dst` exists, and `overwrite` is False.
    """
    _check_free(dst, overwrite)
    os.replace(_local(src), _local(dst))


def remove(path: Path) -> None:
    """Removes a file."""
    os.remove(_local(path))


def rmtree(path: Path) -> None:
    """Removes a folder and everything in it."""
    shutil.rmtree(_local(path))


def _check_free(path: Path, overwrite: bool) -> None:
    if not overwrite and os.path.exists(_local(path)):
        raise AlreadyExistsError(
            f"{os.fspath(path)} already exists.", hint="Set overwrite=True to replace it."
        )


def _local(path: Path) -> str:
    text = os.fspath(path)
    scheme, found, _ = text.partition("://")
    if found and scheme.isalnum():
        raise ArgumentError(
            f"{text} is not on a local disk.",
            hint="Copy it to a local disk first, or open it with the library of its file system.",
        )
    return text
