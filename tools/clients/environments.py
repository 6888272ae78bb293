"""The two environments of a program, which uv makes with the same versions, and their processes.

Libraries require Flax, so a plain installation would include it. uv's overrides replace the
requirements of packages: `flax; python_version < "0"` never applies. The versions in the
environment with Flax are constraints for the other one.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import time
import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from programs_of import Program

import workspace

NEVER = 'flax ; python_version < "0"\n'
PYTHON = "Scripts/python.exe" if os.name == "nt" else "bin/python"


@dataclass(frozen=True)
class Environments:
    """The environments `flax` and `linnet` of a program, in a folder."""

    program: Program
    folder: Path
    names = ("flax", "linnet")

    def make(self) -> None:
        """Creates both, or brings them up to date."""
        self.folder.mkdir(parents=True, exist_ok=True)
        needs = [*self.program.needs, *self.program.tests_need, "pytest>=8.4", "numpy"]
        for name in self.names:
            if not self.python(name).exists():
                uv("venv", "--python", self.program.python, str(self.folder / name))
        self._install("flax", *needs)
        pins = uv("pip", "freeze", "--python", str(self.python("flax")))
        (self.folder / "pins.txt").write_text(
            "".join(f"{pin}\n" for pin in pins.splitlines() if not pin.startswith("flax=="))
        )
        (self.folder / "override.txt").write_text(NEVER)
        here = [word for p in workspace.packages() for word in ("--editable", str(p.folder))]
        self._install(
            "linnet",
            *(need for need in needs if not need.startswith("flax==")),
            *here,
            f"--constraint={self.folder / 'pins.txt'}",
            f"--override={self.folder / 'override.txt'}",
        )

    def python(self, name: str) -> Path:
        """An environment's interpreter."""
        return self.folder / name / PYTHON

    def version(self) -> str:
        """The versions of the library and of jax, which are the same in both environments."""
        pins = dict(
            line.split("==")
            for line in (self.folder / "pins.txt").read_text().splitlines()
            if "==" in line
        )
        return f"{pins[self.program.distribution]}, jax {pins['jax']}"

    def run_program(self, name: str) -> Mapping[str, np.ndarray]:
        """The arrays that the program shows in an environment.

        Raises:
          RuntimeError: it failed; its output has been printed.
        """
        result = self.folder / f"{name}.npz"
        result.unlink(missing_ok=True)
        settings = {"CLIENT_STARTED": str(time.time()), "CLIENT_RESULT": str(result)}
        self._run(name, [str(self.program.path)], self.folder, settings)
        with np.load(result) as arrays:
            return dict(arrays)

    def run_tests(self, name: str) -> Mapping[str, str]:
        """Each of the library's tests with its outcome: passed, failed or skipped."""
        report = self.folder / f"{name}.xml"
        report.unlink(missing_ok=True)
        options = ["-q", "--no-header", "--tb=short", "-p", "no:cacheprovider"]
        options += [f"--deselect={part}" for part in self.program.deselect]
        options += [f"--junit-xml={report}"]
        self._run(
            name,
            ["-m", "pytest", *options, *self.program.tests],
            self._source(),
            # pytest's status is 1 if a test failed; the report says which.
            statuses=(0, 1),
        )
        ended = {}
        for case in ET.parse(report).iter("testcase"):
            children = {child.tag for child in case} & {"failure", "error", "skipped"}
            test = f"{case.get('classname')}::{case.get('name')}"
            ended[test] = min(children, default="passed")
        return ended

    def _source(self) -> Path:
        """The library's source distribution, unpacked; wheels mostly come without tests."""
        pins = (self.folder / "pins.txt").read_text().splitlines()
        pin = next(p for p in pins if p.startswith(f"{self.program.distribution}=="))
        folder = self.folder / f"source-{pin.partition('==')[2]}"
        if not folder.exists():
            archives = self.folder / "archives"
            command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
            command += ["--no-binary=:all:", f"--dest={archives}", pin]
            subprocess.run(command, check=True)
            with tarfile.open(next(archives.glob("*.tar.gz"))) as archive:
                archive.extractall(folder, filter="data")
        (source,) = folder.iterdir()
        return source

    def _install(self, name: str, *arguments: str) -> None:
        uv("pip", "install", "--quiet", "--python", str(self.python(name)), *arguments)

    def _run(
        self,
        name: str,
        arguments: Sequence[str],
        folder: Path,
        settings: Mapping[str, str] | None = None,
        statuses: Sequence[int] = (0,),
    ) -> None:
        through = ["-m", "linnet.flax"] if name == "linnet" else []
        # Libraries iterate over sets of names, so the order of jax's operations depends on the
        # hash seed, and XLA's rounding on how it groups these.
        fixed = {"JAX_PLATFORMS": "cpu", "PYTHONHASHSEED": "0"}
        environment = os.environ | fixed | dict(settings or {})
        command = [str(self.python(name)), *through, *arguments]
        done = subprocess.run(
            command, env=environment, cwd=folder, capture_output=True, text=True, check=False
        )
        (self.folder / f"{name}-{'tests' if 'pytest' in arguments else 'program'}.txt").write_text(
            done.stdout + done.stderr
        )
        if done.returncode not in statuses:
            print(done.stdout[-4000:], done.stderr[-8000:], sep="\n")
            raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}")


def uv(*arguments: str) -> str:
    """Runs uv; returns what it printed."""
    found = shutil.which("uv")
    command = [sys.executable, "-m", "uv"] if find_spec("uv") else [found or "uv"]
    return subprocess.run(
        [*command, *arguments], check=True, stdout=subprocess.PIPE, text=True
    ).stdout
