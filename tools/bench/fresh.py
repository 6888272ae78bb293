"""Measurements in other processes: a new one each time, or one with eight devices."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from .case import Builder, Measure

_TOOLS = str(Path(__file__).parent.parent)

_ONCE = """
import sys, time
sys.path.insert(0, {tools!r})
import jax
from {module} import {function}

run = {function}(*{arguments!r})
start = time.process_time()
jax.block_until_ready(run())
print(time.process_time() - start)
"""

_SERVING = """
import sys
sys.path.insert(0, {tools!r})
from {module} import {builders}

built = {{}}
for name in map(str.strip, sys.stdin):
    if name not in built:
        built[name] = {builders}[name]()
    print(built[name](), flush=True)
"""


def _command(program: str) -> list[str]:
    # -P: the working directory must not hide installed packages.
    return [sys.executable, "-P", "-c", program]


@functools.cache
def _bytecode() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="bench-bytecode-")


def with_bytecode() -> dict[str, str]:
    """The environment of a process that finds the bytecode that another one has written.

    Where no bytecode is written (an environment variable, a folder that is read-only), compiling
    the sources of modules that are imported on demand would be a third of what is measured.
    """
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    return {**environment, "PYTHONPYCACHEPREFIX": _bytecode().name}


def fresh(module: str, function: str, *arguments: object) -> Builder:
    """Processor seconds in a new process, which has compiled nothing.

    Args:
      module, function: the function that prepares a run and returns the function to measure;
        imports and preparation are not counted.
      *arguments: the arguments of `function`.
    """

    def build() -> Measure:
        program = _ONCE.format(tools=_TOOLS, module=module, function=function, arguments=arguments)
        environment = with_bytecode()
        environment.pop("JAX_COMPILATION_CACHE_DIR", None)

        def measure() -> float:
            finished = subprocess.run(
                _command(program), env=environment, check=True, stdout=subprocess.PIPE, text=True
            )
            return float(finished.stdout)

        measure()  # writes bytecode
        return measure

    return build


class EightDevices:
    """A process whose CPU counts as eight devices, where all contenders of a file are measured.

    Args:
      module: the name of the file.
      builders: the name of its dictionary of contenders' builders.
    """

    def __init__(self, module: str, builders: str) -> None:
        self._program = _SERVING.format(tools=_TOOLS, module=module, builders=builders)
        self._process: subprocess.Popen[str] | None = None

    def contender(self, name: str) -> Builder:
        """A builder of the contender with this name."""
        return lambda: lambda: self._measured(name)

    def _measured(self, name: str) -> float:
        if self._process is None:
            flags = os.environ.get("XLA_FLAGS", "")
            eight = "--xla_force_host_platform_device_count=8"
            self._process = subprocess.Popen(
                _command(self._program),
                env={**os.environ, "XLA_FLAGS": f"{flags} {eight}", "JAX_PLATFORMS": "cpu"},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(f"{name}\n")
        process.stdin.flush()
        answer = process.stdout.readline()
        if not answer:
            raise RuntimeError(f"The process with eight devices ended while it measured {name!r}.")
        return float(answer)
