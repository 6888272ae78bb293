"""The two files to upload for a package, built reproducibly.

Both are built twice from clones of the current commit, which contain only committed files. The
second build differs in everything that should not matter: the folder, the time zone, the
permissions of new files, the order of Python's sets. If a byte differs, the build fails; otherwise
nobody could verify that a download was built from this source.

Then the contents of the files are checked: nothing is missing, and nothing is extra.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

import workspace
from workspace import Package

from .history import folder_name, git
from .refusal import Refused

_OTHER = {"TZ": "Pacific/Chatham", "PYTHONHASHSEED": "7", "LC_ALL": "C"}


def build(package: Package, into: Path) -> list[Path]:
    """Builds a package's source distribution and wheel from the commit, and checks them.

    Args:
      package: the package.
      into: the folder for the two files; created if it doesn't exist.

    Returns:
      The files.

    Raises:
      Refused: they cannot be built, differ when built again, or have wrong contents.
    """
    check_committed(package)
    with tempfile.TemporaryDirectory() as first, tempfile.TemporaryDirectory() as second:
        built = _build_once(package, Path(first) / "a", {}, umask=0o022)
        again = _build_once(package, Path(second) / "another-folder", _OTHER, umask=0o077)
        for one, other in zip(built, again, strict=True):
            if one.read_bytes() != other.read_bytes():
                raise Refused(
                    f"{one.name} has different bytes when it is built again:",
                    *_differing(one, other),
                    "Find what in the build depends on its environment.",
                )
        check_wheel(package, built[1])
        check_source_distribution(package, built[0])
        _run("twine", "check", "--strict", *map(str, built))
        _run("check_wheel_contents", "--no-config", "--toplevel", "linnet", str(built[1]))
        into.mkdir(parents=True, exist_ok=True)
        return [Path(shutil.copy(file, into)) for file in built]


def digest(file: Path) -> str:
    """The SHA-256 of a file, as `sha256sum` prints it."""
    return hashlib.sha256(file.read_bytes()).hexdigest()


def check_committed(package: Package) -> None:
    """Checks that a package's folder is complete, and that its sources contain nothing else.

    Raises:
      Refused: a file is missing, or should not be there.
    """
    committed = _committed(package)
    homes = tuple(f"src/{name.replace('.', '/')}/" for name in package.import_names)
    needed = {"README.md", "CHANGELOG.md", "LICENSE", *(f"{home}py.typed" for home in homes)}
    reasons = [f"{name}: is missing" for name in sorted(needed - committed)]
    if not any(name.startswith("tests/") for name in committed):
        reasons.append("tests/: is missing")
    for name in sorted(committed - _put_next_to(package)):
        if name.startswith("src/") and (reason := _stray(name, homes)):
            reasons.append(f"{name}: {reason}")
    _refuse(folder_name(package), reasons)


def check_wheel(package: Package, wheel: Path) -> None:
    """Checks that a wheel contains exactly the package's committed sources and its metadata.

    Raises:
      Refused: a file is missing, or should not be there.
    """
    information = f"{package.name.replace('-', '_')}-{package.version}.dist-info"
    expected = {name.removeprefix("src/") for name in _committed(package, "src")}
    expected |= {
        f"{information}/{name}" for name in ("METADATA", "WHEEL", "RECORD", "licenses/LICENSE")
    }
    with zipfile.ZipFile(wheel) as archive:
        _refuse_other_files(wheel.name, set(archive.namelist()), expected)


def check_source_distribution(package: Package, file: Path) -> None:
    """Checks that a source distribution is the package's whole folder, as committed.

    Raises:
      Refused: a file is missing, or should not be there.
    """
    stem = f"{package.name.replace('-', '_')}-{package.version}"
    with tarfile.open(file) as archive:
        found = {member.name for member in archive if member.isfile()}
    # hatchling adds the rules by which it left files out, so that a build from this is the same.
    expected = {f"{stem}/{name}" for name in {*_committed(package), "PKG-INFO", ".gitignore"}}
    _refuse_other_files(file.name, found, expected)


def _put_next_to(package: Package) -> set[str]:
    """The files that the package's project file puts next to its modules, such as a `.pth`."""
    settings = workspace.project(package.folder).get("tool", {}).get("hatch", {}).get("build", {})
    wheel = settings.get("targets", {}).get("wheel", {})
    return set(wheel.get("force-include", {}))


def _stray(name: str, homes: tuple[str, ...]) -> str | None:
    path = PurePosixPath(name)
    if not name.startswith(homes):
        return f"is outside {', '.join(homes)}"
    if {"tests", "test", "__pycache__"} & set(path.parts) or path.name.startswith("test_"):
        return "is not part of what is installed"
    if path.suffix not in (".py", ".pyi") and path.name != "py.typed":
        return "is not Python source"
    return None


def _refuse_other_files(name: str, found: set[str], expected: set[str]) -> None:
    _refuse(
        name,
        [f"{file}: does not belong there" for file in sorted(found - expected)]
        + [f"{file}: is missing" for file in sorted(expected - found)],
    )


def _refuse(name: str, reasons: list[str]) -> None:
    if reasons:
        raise Refused(
            f"{name} does not hold what it should:",
            *reasons,
            "A wheel holds the committed Python files of its own import names, py.typed and "
            "metadata; a source distribution the package's folder, tests included.",
        )


def _committed(package: Package, below: str = "") -> set[str]:
    """The committed files in a package's folder, by their path in it."""
    folder = folder_name(package)
    names = git("ls-tree", "-r", "--name-only", "HEAD", f"{folder}/{below}").splitlines()
    return {name.removeprefix(f"{folder}/") for name in names}


def _build_once(
    package: Package, clone: Path, environment: dict[str, str], umask: int
) -> list[Path]:
    _checked(["git", "clone", "--quiet", "--shared", str(workspace.ROOT), str(clone)], umask=umask)
    into = clone.with_name("built")
    command = [sys.executable, "tools/wheelhouse.py", str(into), package.short_name, "--sdist"]
    _checked(command, folder=clone, environment=environment, umask=umask)
    stem = f"{package.name.replace('-', '_')}-{package.version}"
    return [into / f"{stem}.tar.gz", into / f"{stem}-py3-none-any.whl"]


def _run(module: str, *arguments: str) -> None:
    _checked([sys.executable, "-m", module, *arguments])


def _checked(
    command: list[str],
    folder: Path | None = None,
    environment: dict[str, str] | None = None,
    umask: int = -1,
) -> None:
    finished = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, **(environment or {})},
        umask=umask,
        capture_output=True,
        text=True,
    )
    if finished.returncode:
        said = (finished.stderr + finished.stdout).strip().splitlines()
        raise Refused(f"{' '.join(command[:4])} ... failed and said:", *said)


def _differing(one: Path, other: Path) -> Iterable[str]:
    """The files that differ between two archives."""
    first, second = _content(one), _content(other)
    names = sorted(n for n in {*first, *second} if first.get(n) != second.get(n))
    return names or ["the archives' own bytes: dates, permissions or order of their files"]


def _content(file: Path) -> dict[str, bytes]:
    if file.suffix == ".whl":
        with zipfile.ZipFile(file) as archive:
            return {name: archive.read(name) for name in archive.namelist()}
    with tarfile.open(file) as archive:
        return {m.name: stream.read() for m in archive if (stream := archive.extractfile(m))}
