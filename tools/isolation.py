"""Checks a package that was installed by itself; run it with the Python of that environment.

    python tools/isolation.py linnet-struct    checks the package's installation
    python tools/isolation.py --list           lists what is installed, as JSON

A package works alone if an environment that was empty before its installation contains only the
package's requirements and theirs, if the package requires only what the project allows, and if
each of its modules can be imported from that environment without a warning. The first two are
checked with the metadata of the installed distributions, so the installer does not matter.
This file uses only the standard library, because `packaging` would be an undeclared requirement.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterable, Sequence
from importlib.metadata import Distribution
from pathlib import Path

# The requirements that packages may have besides each other.
ALLOWED = {"jax", "jaxlib", "numpy"}
ALLOWED_FOR = {"linnet-keras-bridge": {"keras"}, "linnet-flax": {"msgpack"}}


def installed() -> dict[str, Distribution]:
    """All distributions in this environment, by name."""
    return {
        normalized(distribution.metadata["Name"]): distribution
        for distribution in importlib.metadata.distributions()
    }


def requirements(distribution: Distribution) -> set[str]:
    """The names of a distribution's requirements, without those of its extras."""
    found = set()
    for line in distribution.requires or ():
        requirement, _, marker = line.partition(";")
        if "extra" not in re.findall(r"\w+", marker):
            found.add(normalized(re.split(r"[\s\[<>=!~(@]", requirement.strip(), maxsplit=1)[0]))
    return found


def closure(name: str, present: dict[str, Distribution]) -> set[str]:
    """The distribution `name` and its requirements, recursively, as far as they are installed."""
    found: set[str] = set()
    queue = [name]
    while queue:
        current = queue.pop()
        if current in present and current not in found:
            found.add(current)
            queue.extend(requirements(present[current]))
    return found


def complaints(name: str, present: dict[str, Distribution]) -> list[str]:
    """The reasons why the package `name` doesn't work alone here; empty if it does."""
    if name not in present:
        return [f"{name} is not installed for {sys.executable}."]
    found = []
    if strangers := sorted(set(present) - closure(name, present)):
        found.append(
            f"{', '.join(strangers)}: installed, although neither {name} nor its requirements "
            f"declare it. The environment was not empty, or the metadata lacks a requirement."
        )
    for own in sorted(ours(closure(name, present))):
        allowed = ALLOWED | ALLOWED_FOR.get(own, set())
        if more := {n for n in requirements(present[own]) if n not in allowed and not ours([n])}:
            found.append(
                f"{own} requires {', '.join(sorted(more))}. Packages require each other and "
                f"{', '.join(sorted(allowed))} only; declare other requirements as an extra."
            )
    return found + import_complaints(modules(present[name]))


def modules(distribution: Distribution) -> list[str]:
    """The modules of a distribution, except those that run as a program."""
    paths = [Path(str(file)) for file in distribution.files or ()]
    names = [".".join(p.with_suffix("").parts) for p in paths if p.suffix == ".py"]
    return sorted(n.removesuffix(".__init__") for n in names if not n.endswith(".__main__"))


def import_complaints(names: Sequence[str]) -> list[str]:
    """Problems with importing modules: one failed, warned, or came from elsewhere."""
    finished = python("-W", "error", "-c", _IMPORT, *names)
    if finished.returncode:
        return [finished.stderr.strip()]
    return [
        f"{name} was imported from {file}, not from where it was installed."
        for name, file in json.loads(finished.stdout).items()
        if not Path(file).is_relative_to(sys.prefix)
    ]


# Imports the modules, and prints the file of each.
_IMPORT = """
import importlib, json, sys
files = {}
for name in sys.argv[1:]:
    try:
        files[name] = importlib.import_module(name).__file__
    except BaseException as error:
        error.add_note(f"This happened on import of {name}.")
        raise
print(json.dumps(files))
"""


def python(*arguments: str) -> subprocess.CompletedProcess[str]:
    # Isolated (-I): modules come neither from this folder nor from PYTHONPATH. Python then
    # ignores the variable that says where bytecode is kept, too.
    kept = ["-X", f"pycache_prefix={sys.pycache_prefix}"] if sys.pycache_prefix else []
    command = [sys.executable, "-I", *kept, *arguments]
    # As the bridge's README says; otherwise Keras requires TensorFlow.
    environment = {**os.environ, "KERAS_BACKEND": "jax"}
    return subprocess.run(command, capture_output=True, text=True, env=environment)


def ours(names: Iterable[str]) -> set[str]:
    """The names of packages of this repository."""
    return {n for n in names if n == "linnet" or n.startswith("linnet-")}


def normalized(name: str) -> str:
    """A distribution's name as PEP 503 compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def main(arguments: Sequence[str] | None = None) -> None:
    """Checks one package's installation, or lists what is installed."""
    parser = argparse.ArgumentParser(description="Checks a package that was installed by itself.")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("package", nargs="?", help="the distribution's name")
    what.add_argument("--list", action="store_true", help="names and versions, as JSON")
    options = parser.parse_args(arguments)
    present = installed()
    if options.list:
        print(json.dumps({name: present[name].version for name in sorted(present)}))
    elif found := complaints(options.package, present):
        sys.exit("\n".join([f"{options.package} does not work alone:", *found]))
    else:
        brought = sorted(closure(options.package, present) - {options.package})
        print(f"{options.package} works alone, with {', '.join(brought)}.")


if __name__ == "__main__":
    main()
