"""Groups of processes on this machine that compute together, as on several machines.

The processes talk over the loopback interface: a coordinator through which they find each other,
and gloo for the collective operations of CPUs. Starting a process takes seconds, so a group runs a
whole file of tests.

    run(2, "pytest", "addressing.py")        two processes, each with two devices

A program that joins a group itself gets what it needs in its arguments and environment:

    run(2, "train.py", "--join", "{coordinator}", "{count}", "{index}", joins=True)
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypedDict, Unpack

MEMBER = Path(__file__).with_name("member.py")
DEVICES = 2
"""The default number of devices per process."""


class Options(TypedDict, total=False):
    """Options for starting the processes of a group.

    Attributes:
      devices: the number of devices per process; by default, `DEVICES`.
      joins: whether the program joins the group itself. Otherwise, it runs as in a single process.
      environment: additional variables. In these and in the arguments, {coordinator}, {count} and
        {index} are replaced.
    """

    devices: int
    joins: bool
    environment: Mapping[str, str]


class Group:
    """Processes that were started together.

    Attributes:
      processes: in the order of their indices.
      outputs: for each process, the file with its output.
    """

    def __init__(
        self, folder: Path, count: int, arguments: Sequence[str], options: Options
    ) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            coordinator = f"127.0.0.1:{free.getsockname()[1]}"
        self.outputs = [folder / f"process-{index}" for index in range(count)]
        self.processes = []
        joining = (
            () if options.get("joins") else (str(MEMBER), "{coordinator}", "{count}", "{index}")
        )
        for index, output in enumerate(self.outputs):
            known = {"coordinator": coordinator, "count": count, "index": index}
            command = [word.format(**known) for word in (*joining, *arguments)]
            own = {
                name: text.format(**known) for name, text in options.get("environment", {}).items()
            }
            with output.open("wb") as file:
                process = subprocess.Popen(
                    [sys.executable, *command],
                    stdout=file,
                    stderr=subprocess.STDOUT,
                    env={
                        **os.environ,
                        "JAX_PLATFORMS": "cpu",
                        "JAX_NUM_CPU_DEVICES": str(options.get("devices", DEVICES)),
                        "PYTHONUNBUFFERED": "1",
                        **own,
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
        """Ends all processes immediately."""
        for process in self.processes:
            process.kill()
        for process in self.processes:
            process.wait()

    def printed(self) -> str:
        """The output of all processes, one after another."""
        texts = map(self.printed_by, range(len(self.outputs)))
        return "\n".join(f"=== process {i}\n{text}" for i, text in enumerate(texts))

    def printed_by(self, index: int) -> str:
        """The output of one process so far."""
        return self.outputs[index].read_text("utf-8", "replace")


@contextlib.contextmanager
def started(count: int, *arguments: str, **options: Unpack[Options]) -> Iterator[Group]:
    """A group of `count` processes, which are ended after the `with` block.

    Args:
      count: the number of processes.
      *arguments: `pytest` and its arguments, or a program and its arguments.
      **options: see `Options`.
    """
    with tempfile.TemporaryDirectory() as folder:
        group = Group(Path(folder), count, arguments, options)
        try:
            yield group
        finally:
            group.end()


def run(count: int, *arguments: str, seconds: float = 300, **options: Unpack[Options]) -> str:
    """The output of a group's processes, all of which must exit with status 0."""
    with started(count, *arguments, **options) as group:
        statuses = group.wait(seconds)
        printed = group.printed()
    assert not any(statuses), f"exit statuses {statuses}\n{printed}"
    return printed


def passed(count: int, *files: Path, devices: int = DEVICES, options: tuple[str, ...] = ()) -> None:
    """Runs the tests in files in each process of a group, and fails if a process has a failed test.

    A process that runs no test fails as well.

    Args:
      count: the number of processes.
      *files: files, named so that pytest doesn't collect them.
      devices: the number of devices per process.
      options: additional options of pytest.
    """
    pytest = ("pytest", "-q", "-x", "-p", "no:cacheprovider", *options)
    printed = run(count, *pytest, *map(str, files), devices=devices)
    assert printed.count(" passed") == count, printed
