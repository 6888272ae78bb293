"""The command line `python -m linnet.flax`.

    python -m linnet.flax [--report] script.py [ARGUMENTS]
    python -m linnet.flax [--report] -m package.module [ARGUMENTS]
    python -m linnet.flax [--report] -c CODE [ARGUMENTS]
    python -m linnet.flax rewrite PATH... [--check | --write]

A program runs as under `python`, except that `import flax` gives `linnet.flax`. Options of
Python may precede it (`-W error`, `-X dev`, `-i`, `-` for standard input).
--report ends with a table: which names of Flax the program used, which of them are missing, and
how much time went where.

The program isn't run in this process: Python restarts with the command line that is left when
`-m linnet.flax` is removed, and with `LINNET_FLAX=1` in the environment. What the program sees
(`sys.argv`, `__main__`, tracebacks, the frames below it, exit codes) is therefore what it sees
without Linnet, even under `python -m pdb -m linnet.flax script.py` and other tools that run a
module.
"""

from __future__ import annotations

import os
import site
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from linnet.flax.running.hook import VARIABLE

STARTUP = "linnet_flax.pth"
"""The file by which Python installs the hook when it starts; part of the installed package."""


def main() -> NoReturn:
    """Runs the command line of this process."""
    arguments = sys.argv[1:]
    if not arguments or arguments[0] in ("-h", "--help"):
        print(str(__doc__).partition("\n\nThe program isn't run")[0])
        sys.exit(0 if arguments else 2)
    if arguments[0] == "rewrite":
        from linnet.flax.running.rewriting import main as rewrite

        sys.exit(rewrite(arguments[1:]))
    report = arguments[0] == "--report"
    program = arguments[1:] if report else arguments
    if not program:
        sys.exit("python -m linnet.flax: no program is given; --help shows the command line.")
    if not starts_with_hook():
        sys.exit(
            f"python -m linnet.flax: this environment has no {STARTUP}, with which Python installs "
            "the hook when it starts.\n"
            "  Install linnet-flax with pip, or make `import linnet.flax; linnet.flax.install()` "
            "the first lines of the program."
        )
    os.environ[VARIABLE] = "1"
    if report:
        os.environ["LINNET_FLAX_REPORT"] = "1"
    start_over([*options_before(sys.orig_argv, len(arguments)), *program])


def options_before(line: Sequence[str], behind: int) -> list[str]:
    """The command line before `-m linnet.flax`, of which the last `behind` arguments are ours.

    >>> options_before(["python", "-X", "dev", "-m", "linnet.flax", "script.py", "3"], 2)
    ['-X', 'dev']
    >>> options_before(["python", "-um", "linnet.flax", "-c", "pass"], 2)
    ['-u']
    >>> options_before(["python", "-m", "pdb", "-m", "linnet.flax", "script.py"], 1)
    ['-m', 'pdb']
    """
    before = list(line[1 : len(line) - behind])
    if before and before[-1].endswith("mlinnet.flax"):  # -mlinnet.flax
        before[-1:] = [before[-1].removesuffix("linnet.flax"), "linnet.flax"]
    if before[-1:] != ["linnet.flax"]:
        return []  # Python was started in another way, without options to keep.
    flags = before[-2].removesuffix("m")
    return before[:-2] + ([flags] if flags != "-" else [])


def start_over(arguments: Sequence[str]) -> NoReturn:
    """Replaces this process with Python, started with `arguments`."""
    line = [sys.executable, *arguments]
    sys.stdout.flush()
    sys.stderr.flush()
    if os.name != "nt":
        os.execv(line[0], line)
    # On Windows the shell would not wait for the new process.
    with subprocess.Popen(line) as process:
        while True:
            # On Ctrl-C the program is interrupted as well, and decides what happens.
            with suppress(KeyboardInterrupt):
                sys.exit(process.wait())


def starts_with_hook() -> bool:
    """Whether this Python installs the hook when it starts with `LINNET_FLAX=1`."""
    if sys.flags.no_site:
        return False
    folders = [
        *site.getsitepackages(),
        *([site.getusersitepackages()] if site.ENABLE_USER_SITE else []),
    ]
    return any((Path(folder) / STARTUP).exists() for folder in folders)
