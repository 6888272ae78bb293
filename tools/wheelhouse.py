"""Builds the packages' wheels and source distributions reproducibly.

    python tools/wheelhouse.py dist                        the wheel of every package
    python tools/wheelhouse.py dist struct --sdist         one wheel and its source distribution
    python tools/wheelhouse.py dist layers-norm --lowest   with the oldest siblings that it admits
    python tools/wheelhouse.py dist struct --as 0.2.0      as if it had that version
    python tools/wheelhouse.py dist --missing              only those that the folder lacks

Hatchling runs in the current Python, without a build environment, so nothing is downloaded. Every
file in an archive has the date of the last commit, so building the same commit again, at another
time and in another folder, gives the same bytes (see https://reproducible-builds.org).
"""

from __future__ import annotations

import argparse
import io
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

from packaging.requirements import Requirement
from packaging.version import Version

import workspace
from workspace import Package

# For a tree without history, such as an exported one: zip cannot store a date before 1980.
FIRST_DAY_OF_ZIP = 315532800


def build(
    packages: Iterable[Package], into: Path, sdist: bool = False, *, missing: bool = False
) -> list[Path]:
    """Builds the wheel of each package, and its source distribution if asked for.

    Args:
      packages: those to build.
      into: the folder for the files; created if it doesn't exist.
      sdist: whether source distributions are built as well.
      missing: leaves files of the same name and version as they are; by default, they are replaced.

    Returns:
      The files: each package's source distribution before its wheel.

    Raises:
      RuntimeError: a package cannot be built; the message includes hatchling's output.
    """
    return [
        file
        for package in packages
        for file in (missing and _there(package.name, package.version, into, sdist=sdist))
        or _build(package.folder, package.name, package.version, into, sdist=sdist)
    ]


def build_as(package: Package, version: str, into: Path) -> Path:
    """Builds a package's wheel as if it had a different version; the package stays as it is."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / package.short_name
        shutil.copytree(package.folder, copy, ignore=shutil.ignore_patterns("__pycache__"))
        (about,) = copy.rglob("__about__.py")
        about.write_text(about.read_text("utf-8").replace(package.version, version), "utf-8")
        (wheel,) = _build(copy, package.name, version, into)
    return wheel


def build_released(package: Package, version: str, into: Path) -> Path:
    """Builds a package's wheel from the commit that its tag for that version points to."""
    tag = tag_of(package, version)
    where = package.folder.relative_to(workspace.ROOT).as_posix()
    archive = _git("archive", tag, where)
    with tempfile.TemporaryDirectory() as folder:
        with tarfile.open(fileobj=io.BytesIO(archive)) as files:
            files.extractall(folder, filter="data")
        (wheel,) = _build(Path(folder) / where, package.name, version, into, epoch=committed(tag))
    return wheel


def lowest_siblings(package: Package) -> dict[str, str]:
    """The oldest version of each sibling that all ranges in the tree admit, by name.

    The candidates are the released versions and the one in the tree.
    """
    chosen = workspace.with_siblings([package])
    found = {}
    for sibling in chosen[:-1]:
        ranges = [
            Requirement(p.siblings[sibling.name]).specifier
            for p in chosen
            if sibling.name in p.siblings
        ]
        versions = sorted({*released(sibling), sibling.version}, key=Version)
        admitted = [v for v in versions if all(r.contains(v, prereleases=True) for r in ranges)]
        if not admitted:
            raise RuntimeError(
                f"{sibling.name}: none of {', '.join(versions)} is in all of the ranges "
                f"{', '.join(map(str, ranges))} that {package.name} and its siblings declare."
            )
        found[sibling.name] = admitted[0]
    return found


def released(package: Package) -> list[str]:
    """The versions of a package that have a tag."""
    prefix = tag_of(package, "")
    tags = _git("tag", "--list", f"{prefix}*").decode().split()
    return [tag.removeprefix(prefix) for tag in tags if re.fullmatch(r"\d.*", tag[len(prefix) :])]


def tag_of(package: Package, version: str) -> str:
    """The tag of the commit that a version is built from."""
    return f"{package.name}-v{version}"


def committed(revision: str = "HEAD") -> int:
    """The time of a commit in seconds since 1970; without history, zip's oldest date."""
    output = _git("log", "-1", "--format=%ct", revision, check=False)
    return int(output) if output.strip() else FIRST_DAY_OF_ZIP


def _build(
    folder: Path, name: str, version: str, into: Path, *, sdist: bool = False, epoch: int = 0
) -> list[Path]:
    into = into.resolve()
    into.mkdir(parents=True, exist_ok=True)
    targets = ["-t", "sdist", "-t", "wheel"] if sdist else ["-t", "wheel"]
    finished = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", *targets, "-d", str(into)],
        cwd=folder,
        env={**os.environ, "SOURCE_DATE_EPOCH": str(epoch or committed())},
        capture_output=True,
        text=True,
    )
    files = _files(name, version, into, sdist=sdist)
    if finished.returncode or not all(file.exists() for file in files):
        raise RuntimeError(
            f"{name} {version} cannot be built: hatchling ended with {finished.returncode} and "
            f"said:\n{finished.stdout}{finished.stderr}"
        )
    return files


def _files(name: str, version: str, into: Path, *, sdist: bool = False) -> list[Path]:
    """The files that a build of a package writes into a folder."""
    stem = f"{name.replace('-', '_')}-{version}"
    return [into / f"{stem}.tar.gz", into / f"{stem}-py3-none-any.whl"][not sdist :]


def _there(name: str, version: str, into: Path, *, sdist: bool = False) -> list[Path]:
    """The files of a build if the folder has all of them, otherwise an empty list."""
    files = _files(name, version, into, sdist=sdist)
    return files if all(file.exists() for file in files) else []


def _git(*arguments: str, check: bool = True) -> bytes:
    command = ["git", *arguments]
    return subprocess.run(command, cwd=workspace.ROOT, capture_output=True, check=check).stdout


def main(arguments: Sequence[str] | None = None) -> None:
    """Builds the requested files, and prints them with their sizes."""
    parser = argparse.ArgumentParser(description="Build the packages of this repository.")
    parser.add_argument("into", type=Path, help="the folder for the files")
    parser.add_argument("packages", nargs="*", metavar="PACKAGE", help="default: all")
    parser.add_argument("--sdist", action="store_true", help="source distributions as well")
    parser.add_argument(
        "--missing",
        action="store_true",
        help="only those that the folder lacks; by default, its files are replaced",
    )
    other = parser.add_mutually_exclusive_group()
    other.add_argument(
        "--lowest",
        action="store_true",
        help="also the siblings of each, at the lowest versions that the ranges admit",
    )
    other.add_argument("--as", dest="version", help="build wheels as if they had this version")
    options = parser.parse_args(arguments)
    try:
        chosen = [workspace.find(name) for name in options.packages] or workspace.packages()
    except LookupError as error:
        parser.error(str(error))
    if options.version:
        files = [build_as(package, options.version, options.into) for package in chosen]
    else:
        files = build(chosen, options.into, options.sdist, missing=options.missing)
    if options.lowest:
        lowest = {name: v for p in chosen for name, v in lowest_siblings(p).items()}
        for name, version in lowest.items():
            sibling = workspace.find(name)
            files += (options.missing and _there(name, version, options.into)) or (
                build([sibling], options.into)
                if version == sibling.version
                else [build_released(sibling, version, options.into)]
            )
    for file in files:
        print(f"{file.stat().st_size / 1024:8.1f} KiB  {file.name}")


if __name__ == "__main__":
    main()
