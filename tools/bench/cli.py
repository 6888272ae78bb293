"""The command line."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path

from . import measure, report
from .case import Case
from .cases import all_cases


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures the chosen cases, prints a table and writes JSON."""
    options = _parser().parse_args(arguments)
    cases = all_cases()
    if options.list:
        for case in cases:
            print(f"{case.name:<34}{case.about}")
        return 0
    chosen = _select(cases, options.only)
    efforts = _efforts(options, len(chosen))
    print(report.HEADER, flush=True)
    results = []
    for case in chosen:
        result = measure.run(case, efforts())
        results.append(result)
        print("\n".join(report.lines(result)), flush=True)
    print(report.summary(results))
    if options.json is not None:
        text = json.dumps(report.as_json(results), indent=2, ensure_ascii=False)
        options.json.write_text(text + "\n", encoding="utf-8")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="bench", description="Compares the cost of Linnet with that of Flax and of plain JAX."
    )
    parser.add_argument(
        "--only",
        metavar="NAME",
        action="append",
        help="measure the cases whose name begins with NAME (can be repeated)",
    )
    parser.add_argument("--json", metavar="PATH", type=Path, help="write the results there, too")
    parser.add_argument(
        "--quick", action="store_true", help="one or a few rounds per case: rough figures"
    )
    parser.add_argument(
        "--minutes",
        metavar="N",
        type=float,
        help="divide this much time among the cases: what one doesn't need goes to the next",
    )
    parser.add_argument("--list", action="store_true", help="show the cases and stop")
    return parser


def _efforts(options: argparse.Namespace, cases: int) -> Callable[[], measure.Effort]:
    """Returns the effort for each case in turn."""
    if options.minutes is not None:
        return measure.Budget(60 * options.minutes, cases).next
    return lambda: measure.QUICK if options.quick else measure.FULL


def _select(cases: list[Case], only: list[str] | None) -> list[Case]:
    if not only:
        return cases
    for name in only:
        if not any(case.name.startswith(name) for case in cases):
            names = ", ".join(case.name for case in cases)
            raise SystemExit(f"bench: no case begins with {name!r}; available: {names}.")
    return [case for case in cases if case.name.startswith(tuple(only))]
