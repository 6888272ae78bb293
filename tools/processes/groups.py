"""Groups of processes on this machine that compute together, as on several machines.

The processes talk over the loopback interface: a coordinator by which they find each other, and
gloo for the collective operations of CPUs. Starting a process takes seconds, so a group runs a
whole file of tests.

    run(2, "pytest", "addressing.py")        two processes, each with two devices
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

MEMBER = Path(__file__).with_name("member.py")
DEVICES = 2
"""The default number of devices per process."""


class Group:
    """Processes that were started together.

    Attributes:
      processes: in the order of their indices.
      outputs: for each process, the file with its output.
    """

    def __init__(self, folder: Path, count: int, arguments: tuple[str, ...], devices: int) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            coordinator = f"127.0.0.1:{free.getsockname()[1]}"
        self.outputs = [folder / f"process-{index}" for index in range(count)]
        self.processes = []
        for index, output in enumerate(self.outputs):
            command = [sys.executable, str(MEMBER), coordinator, str(count), str(index)]
            with output.open("wb") as file:
                process = subprocess.Popen(
                    [*command, *arguments],
                    stdout=file,
                    stderr=subprocess.STDOUT,
                    env={
                        **os.environ,
                        "JAX_PLATFORMS": "cpu",
                        "JAX_NUM_CPU_DEVICES": str(devices),
                        "PYTHONUNBUFFERED": "1",
                    },
                )
            self.processes.append(process)

    def wait(self, seconds: float) -> list[int]:
        """The exit statuses; once a process has failed, the others are ended.

        Raises:
          TimeoutError: they took longer; the message includes their output.
        """
        end = time.monotonic() + seconds
        while (statuses := [p.poll() for p in self.processes]).count(None):
            if any(statuses):  # the others would wait for it
                self.end()
            elif time.monotonic() > end:
                self.end()
                raise TimeoutError(f"not done after {seconds} s\n{self.printed()}")
            time.sleep(0.05)
        return [status for status in statuses if status is not None]

    def end(self) -> None:
        """Ends all processes, at once."""
        for process in self.processes:
            process.kill()
        for process in self.processes:
            process.wait()

    def printed(self) -> str:
        """The output of all processes, one after the other."""
        texts = [output.read_text("utf-8", "replace") for output in self.outputs]
        return "\n".join(f"=== process {i}\n{text}" for i, text in enumerate(texts))


@contextlib.contextmanager
def started(count: int, *arguments: str, devices: int = DEVICES) -> Iterator[Group]:
    """A group of `count` processes, which are ended after the `with` block.

    Args:
      count: the number of processes.
      *arguments: `pytest` and its arguments, or a program and its arguments.
      devices: the number of devices per process.
    """
    with tempfile.TemporaryDirectory() as folder:
        group = Group(Path(folder), count, arguments, devices)
        try:
            yield group
        finally:
            group.end()


def run(count: int, *arguments: str, devices: int = DEVICES, seconds: float = 300) -> str:
    """The output of a group's processes, all of which must exit with status 0."""
    with started(count, *arguments, devices=devices) as group:
        statuses = group.wait(seconds)
        printed = group.printed()
    assert not any(statuses), f"exit statuses {statuses}\n{printed}"
    return printed


def passed(count: int, *files: Path, devices: int = DEVICES, options: tuple[str, ...] = ()) -> None:
    """Runs the tests in files in each process of a group, and fails if a process has a failed test.

    A process that runs no test fails as well.

    Args:
      count: the number of processes.
      *files: files whose names pytest does not collect by itself.
      devices: the number of devices per process.
      options: further options of pytest.
    """
    pytest = ("pytest", "-q", "-x", "-p", "no:cacheprovider", *options)
    printed = run(count, *pytest, *map(str, files), devices=devices)
    assert printed.count(" passed") == count, printed
