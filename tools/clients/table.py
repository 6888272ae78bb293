"""The table of docs/clients.md."""

from __future__ import annotations

import re
from collections.abc import Sequence

from outcomes import Outcome

import workspace

PAGE = workspace.ROOT / "docs" / "clients.md"
HEAD = (
    "| program | library | numbers | its own tests | first step on Flax | on Linnet |\n"
    "|---|---|---|---|---|---|\n"
)
USUAL = "0.12.8"  # the control's Flax, unless the table names another
ROW = re.compile(r"^\| \[`(\w+)`\].*\n", re.MULTILINE)


def updated(page: str, outcomes: Sequence[Outcome]) -> str:
    """The page with updated rows for these outcomes; the rows of other programs are unchanged."""
    rows = {found.group(1): found.group(0) for found in ROW.finditer(page)}
    rows |= {outcome.program.name: row(outcome) for outcome in outcomes}
    before, _, behind = page.partition(HEAD)
    return before + HEAD + "".join(rows[name] for name in sorted(rows)) + ROW.sub("", behind)


def row(outcome: Outcome) -> str:
    """A line of the table.

    The program's link leads to its source.
    """
    program = outcome.program
    passed = f"{outcome.tests} pass in both" if outcome.tests else "not run"
    reason = f" ({program.reason})" if outcome.distance else ""
    (flax,) = (need for need in program.needs if need.startswith("flax=="))
    control = "" if flax == f"flax=={USUAL}" else f", Flax {flax.removeprefix('flax==')}"
    cells = [
        f"[`{program.name}`](../tools/clients/programs/{program.path.name})",
        f"{program.distribution} {outcome.version}{control}",
        f"{outcome.numbers} {outcome.verdict}{reason}",
        passed,
        *(f"{seconds:.1f} s" for seconds in outcome.seconds),
    ]
    return f"| {' | '.join(cells)} |\n"
