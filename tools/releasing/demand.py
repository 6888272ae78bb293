"""The smallest bump that a package needs, according to its sources and its changelog.

The sources are compared with the last tag; the larger of the two bumps counts.
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
    """The reasons for a package's next version.

    Attributes:
      last: the version of the last tag, or None; then nothing is compared.
      broken: the differences that break programs.
      new: the additions.
      told: the bump that the changelog requires.
    """

    package: Package
    last: Version | None
    broken: tuple[Difference, ...]
    new: tuple[Difference, ...]
    told: Step

    @property
    def step(self) -> Step:
        """The smallest bump for the next version."""
        seen = Step.BREAK if self.broken else Step.ADDITION if self.new else Step.FIX
        return max(seen, self.told)


def breaks_with(package: Package, sibling: Demand) -> bool:
    """Whether a sibling's break also breaks users of a package that re-exports its names.

    The comparison finds a break in re-exported names; a break in behavior is only in the sibling's
    changelog.
    """
    if sibling.told is not Step.BREAK:
        return False
    from .surface import surface

    return surface(package, "HEAD").passes_on(sibling.package)


def demand(package: Package, heading: str = "Unreleased", below: Version | None = None) -> Demand:
    """Compares the commit with the last tag.

    Args:
      package: the package.
      heading: the changelog's section for the next version.
      below: only tags before this version count.

    Raises:
      Refused: the changelog lists as compatible a difference that does not exist.
    """
    log, last = Changelog.of(package), last_tag(package, below)
    if last is None:
        return Demand(package, None, (), (), log.asks_for(heading))
    # Most errors are raised before this, without waiting for griffe.
    from .differences import additions, breaks
    from .surface import surface

    old, new = surface(package, tag_name(package, last)), surface(package, "HEAD")
    found, excused = breaks(old, new), log.compatible(heading)
    if stale := sorted(excused - {d.name for d in found}):
        raise Refused(
            f"{log.where}: '### Compatible' lists {', '.join(stale)}, which does not differ from "
            f"{tag_name(package, last)}.",
            "Remove the entry.",
        )
    return Demand(
        package,
        last,
        tuple(d for d in found if d.name not in excused),
        tuple(additions(old, new)),
        log.asks_for(heading),
    )
