"""Wheels and source distributions of the packages here, the same bytes every time.

    python tools/wheelhouse.py dist                    the wheel of every package
    python tools/wheelhouse.py dist struct --sdist     one package's, and its source distribution

Built by hatchling in the running Python, without an environment of its own: nothing is fetched.
Every file in an archive bears the date of the last commit, so who builds that commit again, at
another time and in another folder, gets the same file (see https://reproducible-builds.org).
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import workspace
from workspace import Package

# In what has no history, such as an exported tree: zip knows no date before 1980.
FIRST_DAY_OF_ZIP = 315532800


def build(packages: Iterable[Package], into: Path, sdist: bool = False) -> list[Path]:
    """Builds the wheel of each package, and its source distribution if asked for.

    Args:
      packages: those to build.
      into: the folder for the files; made if it isn't there.
      sdist: whether source distributions are built as well.

    Returns:
      The files: each package's source distribution before its wheel.

    Raises:
      RuntimeError: a package cannot be built; the message holds what hatchling says.
    """
    into = into.resolve()
    into.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "SOURCE_DATE_EPOCH": str(last_commit())}
    targets = ["-t", "sdist", "-t", "wheel"] if sdist else ["-t", "wheel"]
    built: list[Path] = []
    for package in packages:
        before = set(into.iterdir())
        finished = subprocess.run(
            [sys.executable, "-m", "hatchling", "build", *targets, "-d", str(into)],
            cwd=package.folder,
            env=environment,
            capture_output=True,
            text=True,
        )
        if finished.returncode:
            raise RuntimeError(
                f"{package.name} cannot be built: hatchling ended with {finished.returncode} and "
                f"said:\n{finished.stderr or finished.stdout}"
            )
        stem = f"{package.name.replace('-', '_')}-{package.version}"
        files = [into / f"{stem}.tar.gz", into / f"{stem}-py3-none-any.whl"][not sdist :]
        if missing := [f.name for f in files if not f.exists()]:
            new = sorted(p.name for p in set(into.iterdir()) - before)
            raise RuntimeError(f"{package.name} should have become {missing}, but became {new}.")
        built += files
    return built


def last_commit() -> int:
    """When the last commit was made, in seconds since 1970; the oldest date where there is none."""
    finished = subprocess.run(
        ["git", "log", "-1", "--format=%ct"], cwd=workspace.ROOT, capture_output=True, text=True
    )
    return int(finished.stdout) if finished.stdout.strip() else FIRST_DAY_OF_ZIP


def main(arguments: Sequence[str] | None = None) -> None:
    """Builds what is asked for, and prints the files with their sizes."""
    parser = argparse.ArgumentParser(description="Build the packages of this repository.")
    parser.add_argument("into", type=Path, help="the folder for the files")
    parser.add_argument("packages", nargs="*", metavar="PACKAGE", help="default: all")
    parser.add_argument("--sdist", action="store_true", help="source distributions as well")
    options = parser.parse_args(arguments)
    try:
        chosen = [workspace.find(name) for name in options.packages] or workspace.packages()
    except LookupError as error:
        parser.error(str(error))
    for file in build(chosen, options.into, options.sdist):
        print(f"{file.stat().st_size / 1024:8.1f} KiB  {file.name}")


if __name__ == "__main__":
    main()
