"""Releases: plans them, bumps versions, builds and checks the files to upload, checks tags.

    python tools/release.py plan                       what would be released, in which order
    python tools/release.py bump layers-norm minor     a new version, written into the files
    python tools/release.py build layers-norm          the files to upload, checked, in dist
    python tools/release.py build --into wheels        those of all packages, for a folder or index
    python tools/release.py check-tag linnet-layers-norm-v0.2.0     before it is built from a tag
    python tools/release.py notes linnet-layers-norm-v0.2.0         what to say about it

Nothing is committed, tagged or uploaded. A command that fails changes nothing. How and why:
docs/maintaining/releases.md. `nox -s release -- plan` installs what this needs.
"""

from __future__ import annotations

import argparse
import datetime
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import workspace
from releasing.refusal import Refused
from releasing.versions import PARTS


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs a command; if it fails, prints why and exits with status 1."""
    options = _parser().parse_args(arguments)
    try:
        print(options.run(options))
    except Refused as refusal:
        sys.exit(f"refused: {refusal}")


def _plan(options: argparse.Namespace) -> str:
    from releasing.plan import as_json, plan, table

    due = plan()
    return json.dumps(as_json(due), indent=2) if options.json else table(due)


def _bump(options: argparse.Namespace) -> str:
    from releasing.bump import bump

    planned = bump(_package(options.package), options.part, options.date)
    planned.write()
    return planned.report()


def _build(options: argparse.Namespace) -> str:
    from releasing.artifacts import build, digest

    chosen = [_package(name) for name in options.packages] or workspace.packages()
    files = [file for package in chosen for file in build(package, options.into)]
    lines = [f"{digest(file)}  {file}" for file in files]
    return "\n".join([*lines, "Built twice with the same bytes; content and metadata checked."])


def _check_tag(options: argparse.Namespace) -> str:
    from releasing.tags import check_tag

    return check_tag(options.tag).short_name


def _notes(options: argparse.Namespace) -> str:
    from releasing.tags import notes

    return notes(options.tag)


def _package(name: str) -> workspace.Package:
    try:
        return workspace.find(name)
    except LookupError as error:
        raise Refused(str(error).capitalize() + ".") from None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Releases of this repository's packages.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    plan = commands.add_parser("plan", help="what would be released, and in which order")
    plan.add_argument("--json", action="store_true", help="as JSON")
    plan.set_defaults(run=_plan)

    bump = commands.add_parser("bump", help="write a new version into the files")
    bump.add_argument("package", metavar="PACKAGE", help="such as layers-norm")
    bump.add_argument("part", choices=PARTS, help="first: the version stays, nothing was released")
    bump.add_argument("--date", type=_date, default=_today(), help="release date; default: today")
    bump.set_defaults(run=_bump)

    build = commands.add_parser("build", help="build the files to upload, and check them")
    build.add_argument("packages", metavar="PACKAGE", nargs="*", help="all of them unless named")
    build.add_argument("--into", type=Path, default=Path("dist"), help="default: dist")
    build.set_defaults(run=_build)

    check = commands.add_parser("check-tag", help="print the package that a tag may release")
    check.add_argument("tag", metavar="TAG", help="such as linnet-layers-norm-v0.2.0")
    check.set_defaults(run=_check_tag)

    notes = commands.add_parser("notes", help="print the changelog's part for a tag")
    notes.add_argument("tag", metavar="TAG")
    notes.set_defaults(run=_notes)
    return parser


def _date(text: str) -> str:
    return datetime.date.fromisoformat(text).isoformat()


def _today() -> str:
    return datetime.datetime.now(datetime.UTC).date().isoformat()


if __name__ == "__main__":
    main()
