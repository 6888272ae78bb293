"""How far a package's version has to go: for what its users would notice, and what they are told.

The sources are compared with the last tag, and the changelog is read; the larger of the two counts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from packaging.version import Version

from workspace import Package

from .changelog import Changelog
from .history import last_tag, tag_name
from .refusal import Refused
from .versions import Step

if TYPE_CHECKING:
    from .differences import Difference


@dataclass(frozen=True)
class Demand:
    """What a package asks of its next version.

    Attributes:
      last: the version of the last tag, or None; then nothing is compared.
      broken: what the next version breaks.
      new: what it adds.
      told: how far the changelog asks to go.
    """

    package: Package
    last: Version | None
    broken: tuple[Difference, ...]
    new: tuple[Difference, ...]
    told: Step

    @property
    def step(self) -> Step:
        """How far the next version has to go."""
        seen = Step.BREAK if self.broken else Step.ADDITION if self.new else Step.MEND
        return max(seen, self.told)


def breaks_with(package: Package, sibling: Demand) -> bool:
    """Whether a sibling's break is one for the users of a package that passes on what it gives.

    Where the break shows in what is passed on, the comparison finds it; where only behavior is
    different, the sibling's changelog is all that says so.
    """
    if sibling.told is not Step.BREAK:
        return False
    from .surface import surface

    return surface(package, "HEAD").passes_on(sibling.package)


def demand(package: Package, heading: str = "Unreleased", below: Version | None = None) -> Demand:
    """Compares what is committed with the last tag.

    Args:
      package: which one.
      heading: the part of the changelog that tells of the next version.
      below: only tags before this version count.

    Raises:
      Refused: the changelog excuses a break that is not there.
    """
    log, last = Changelog.of(package), last_tag(package, below)
    if last is None:
        return Demand(package, None, (), (), log.asks_for(heading))
    # Most refusals come before this; they need not wait for griffe.
    from .differences import additions, breaks
    from .surface import surface

    old, new = surface(package, tag_name(package, last)), surface(package, "HEAD")
    found, excused = breaks(old, new), log.compatible(heading)
    if stale := sorted(excused - {d.name for d in found}):
        raise Refused(
            f"{log.where}: under '### Compatible' stands {', '.join(stale)}, which does not "
            f"differ from {tag_name(package, last)}.",
            "Remove the entry.",
        )
    return Demand(
        package,
        last,
        tuple(d for d in found if d.name not in excused),
        tuple(additions(old, new)),
        log.asks_for(heading),
    )
