"""Runs programs that use libraries written for Flax, on Linnet and on Flax, and compares them.

    python tools/clients                        all programs of tools/clients/programs
    python tools/clients clu_metrics qwix_ptq   some of them
    python tools/clients --write                all, and writes the results to docs/clients.md

A program is a script whose metadata (PEP 723) lists its requirements, at pinned versions, and how
it is checked. Each gets two environments with the same versions of everything: one has Flax, the
other has this checkout and no package called flax. In the latter, the program runs through
`python -m linnet.flax`. The arrays that it shows are compared, bit for bit unless its metadata says
otherwise, and so are the results of the library's own tests.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from environments import Environments
from outcomes import Outcome, compare, failed
from programs_of import Program, programs
from table import PAGE, updated

import workspace


def main() -> int:
    """Runs the command line; the exit status is 1 if anything differs."""
    known = {program.name: program for program in programs()}
    parser = argparse.ArgumentParser(
        prog="nox -s clients --",
        description=str(__doc__),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="*", metavar="PROGRAM", help=f"of {', '.join(known)}")
    parser.add_argument("--write", action="store_true", help=f"write the results to {PAGE.name}")
    parser.add_argument("--no-tests", action="store_true", help="leave out the libraries' tests")
    parser.add_argument(
        "--folder",
        type=Path,
        default=workspace.ROOT / ".nox" / "clients-environments",
        help="where the environments are made, and kept (default: %(default)s)",
    )
    options = parser.parse_args()
    if unknown := set(options.names) - set(known):
        parser.error(f"no program is called {', '.join(sorted(unknown))}")
    chosen = [known[name] for name in options.names or known]
    outcomes = [run(program, options.folder.resolve(), not options.no_tests) for program in chosen]
    for outcome in outcomes:
        print(f"{outcome.program.name}: {outcome.verdict}")
        for line in outcome.details:
            print(f"  {line}")
    if options.write:
        PAGE.write_text(updated(PAGE.read_text("utf-8"), [o for o in outcomes if o.equal]), "utf-8")
    return int(any(not outcome.equal for outcome in outcomes))


def run(program: Program, folder: Path, tests: bool) -> Outcome:
    """Runs a program and its library's tests in both environments, and compares."""
    print(f"== {program.name}", flush=True)
    environments = Environments(program, folder / program.name)
    try:
        environments.make()
        results = {name: environments.run_program(name) for name in environments.names}
        passed = {
            name: environments.run_tests(name) if tests and program.tests else {}
            for name in environments.names
        }
    except (RuntimeError, subprocess.CalledProcessError) as error:
        return failed(program, error)  # the other programs still run
    return compare(program, environments.version(), results, passed)


if __name__ == "__main__":
    sys.exit(main())
