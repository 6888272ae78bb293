"""Reads tags, changes since a tag, and the sources at a commit from git.

A tag is called `<distribution>-v<version>`. A package's last tag is the highest one that the
current commit descends from, so a branch for an older version has its own last tag.
"""

from __future__ import annotations

import io
import re
import subprocess
import tarfile
import tomllib
from pathlib import Path
from typing import Any

from packaging.version import Version

import workspace
from wheelhouse import tag_of
from workspace import Package

from .refusal import Refused

# The files that users get. Changes to only the tests or the changelog don't require a release.
RELEASED = ("src", "pyproject.toml", "README.md")


def git(*arguments: str) -> str:
    """The output of a git command in the repository.

    Raises:
      Refused: git failed; the message includes its output.
    """
    return _git(*arguments).decode().rstrip("\n")


def tag_name(package: Package, version: Version) -> str:
    """The tag of a release: `linnet-struct-v0.1.0`."""
    return tag_of(package, str(version))


def last_tag(package: Package, below: Version | None = None) -> Version | None:
    """The version of the package's last release before this commit.

    Args:
      package: the package.
      below: only versions before this one count.

    Returns:
      The version, or None without a release.
    """
    versions = [
        Version(match[1])
        for tag in git("tag", "--merged", "HEAD", "--list", f"{package.name}-v*").split()
        if (match := re.fullmatch(rf"{re.escape(package.name)}-v(\d+\.\d+\.\d+)", tag))
    ]
    return max((v for v in versions if below is None or v < below), default=None)


def project_at(package: Package, version: Version) -> dict[str, Any]:
    """The contents of a package's pyproject.toml when a version of it was released."""
    name = f"{folder_name(package)}/pyproject.toml"
    return tomllib.loads(git("show", f"{tag_name(package, version)}:{name}"))


def tag_exists(tag: str) -> bool:
    """Whether a tag exists, on any branch."""
    return bool(git("tag", "--list", tag))


def uncommitted() -> list[str]:
    """The files that `git status` lists: changed, or new and not ignored."""
    return git("status", "--porcelain").splitlines()


def changed_since(tag: str, package: Package) -> list[str]:
    """The released files of a package that differ from those at a tag."""
    folder = folder_name(package)
    paths = [f"{folder}/{name}" for name in RELEASED]
    return git("diff", "--name-only", tag, "HEAD", "--", *paths).splitlines()


def folder_name(package: Package) -> str:
    """A package's folder in the repository: `packages/struct`."""
    return package.folder.relative_to(workspace.ROOT).as_posix()


def require_whole_history() -> None:
    """Checks that a clone has all older commits; without them, each release seems to be the first.

    Raises:
      Refused: the clone is shallow.
    """
    if git("rev-parse", "--is-shallow-repository") == "true":
        raise Refused(
            "This clone does not have the whole history, so the last release cannot be found.",
            "Fetch it: git fetch --unshallow --tags (for actions/checkout: fetch-depth: 0).",
        )


def sources(commit: str, into: Path) -> dict[str, str]:
    """Writes the packages' Python files at a commit, as if all packages were installed.

    Args:
      commit: a commit or a tag.
      into: an empty folder.

    Returns:
      The path of each file in the repository, by its path in `into`.
    """
    origin = {}
    with tarfile.open(fileobj=io.BytesIO(_git("archive", commit, "packages"))) as archive:
        for member in archive:
            # packages/struct/src/linnet/struct/__init__.py
            parts = member.name.split("/")
            if member.isfile() and member.name.endswith(".py") and parts[2] == "src":
                name = "/".join(parts[3:])
                content = archive.extractfile(member)
                assert content is not None  # it is a file
                target = into / name
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(content.read())
                origin[name] = member.name
    return origin


def _git(*arguments: str) -> bytes:
    finished = subprocess.run(["git", *arguments], cwd=workspace.ROOT, capture_output=True)
    if finished.returncode:
        raise Refused(f"git {' '.join(arguments)} failed:", finished.stderr.decode().strip())
    return finished.stdout
