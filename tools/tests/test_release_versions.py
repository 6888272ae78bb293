"""Versions, ranges and changelogs: the inputs and outputs of a release."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import Version

import workspace
from releasing.changelog import SECTIONS, Changelog
from releasing.refusal import Refused
from releasing.versions import (
    PARTS,
    Step,
    admits,
    allowed,
    are_disjoint,
    bumped,
    moved,
    next_break,
    part_for,
    raised,
)


def range_from(version):
    return workspace.range_from(str(version))


numbers = st.integers(0, 30)
versions = st.builds(lambda *parts: Version(".".join(map(str, parts))), numbers, numbers, numbers)


@pytest.mark.parametrize(
    ("version", "patch", "minor", "major", "range_"),
    [
        ("0.1.0", "0.1.1", "0.2.0", "1.0.0", ">=0.1,<0.2"),
        ("0.9.7", "0.9.8", "0.10.0", "1.0.0", ">=0.9,<0.10"),
        ("1.4.2", "1.4.3", "1.5.0", "2.0.0", ">=1,<2"),
    ],
)
def test_versions_written_out(version, patch, minor, major, range_):
    start = Version(version)
    assert [str(bumped(start, p)) for p in PARTS] == [version, patch, minor, major]
    assert range_from(start) == range_


@pytest.mark.parametrize(
    ("old", "new", "step"),
    [
        ("0.1.0", "0.1.1", Step.ADDITION),  # below 1.0 there is no third number for additions
        ("0.1.0", "0.2.0", Step.BREAK),
        ("0.1.0", "0.2.5", Step.BREAK),
        ("0.1.0", "1.0.0", Step.BREAK),
        ("1.0.0", "1.0.1", Step.FIX),
        ("1.0.0", "1.1.0", Step.ADDITION),
        ("1.9.0", "2.0.0", Step.BREAK),
    ],
)
def test_what_a_step_allows(old, new, step):
    assert allowed(Version(old), Version(new)) is step


@settings(deadline=None)
@given(versions)
def test_a_range_holds_what_is_compatible_and_ends_where_breaks_may_begin(version):
    admitted = SpecifierSet(range_from(version))
    assert version in admitted
    assert next_break(version) not in admitted
    for part in PARTS[1:]:
        following = bumped(version, part)
        assert following > version
        assert (following in admitted) == (allowed(version, following) < Step.BREAK)


@settings(deadline=None)
@given(versions, versions)
def test_compatible_is_what_packaging_says_of_compatible_releases(old, new):
    """`~=1.4` is any 1.x from 1.4 on, `~=0.1.0` any 0.1.x: PEP 440's own formula."""
    if new < old:
        old, new = new, old
    compatible = SpecifierSet(
        f"~={old.major}.{old.minor}.{old.micro}" if old.major == 0 else f"~={old.major}.{old.minor}"
    )
    assert (allowed(old, new) < Step.BREAK) == (new in compatible)


@settings(deadline=None)
@given(versions, st.sampled_from(Step))
def test_the_smallest_part_that_allows_a_step(version, step):
    part = part_for(version, step)
    smaller = PARTS[1 : PARTS.index(part)]
    assert allowed(version, bumped(version, part)) >= step
    assert all(allowed(version, bumped(version, p)) < step for p in smaller)


@settings(deadline=None)
@given(
    versions,
    versions,
    st.sets(st.sampled_from(["keras", "rich"])),
    st.sampled_from(["", '; python_version >= "3.12"']),
)
def test_a_moved_requirement_admits_the_version_and_is_otherwise_the_same(
    before, now, extras, marker
):
    wanted = f"[{','.join(sorted(extras))}]" if extras else ""
    requirement = f"linnet-struct{wanted}{range_from(before)}{marker}"
    result = moved(requirement, now)
    assert admits(result, now)
    assert moved(result, now) == result
    assert (result == requirement) == (now in SpecifierSet(range_from(before)))
    old, new = Requirement(requirement), Requirement(result)
    assert (old.name, old.extras, old.marker) == (new.name, new.extras, new.marker)
    if now >= next_break(before):  # moved, not widened
        assert before not in new.specifier


@settings(deadline=None)
@given(versions, versions, versions)
def test_disjoint_ranges_hold_no_version_in_common(one, other, probe):
    ranges = (
        f"linnet-struct{range_from(one)}",
        f"linnet-struct{range_from(other)}",
    )
    disjoint = are_disjoint(*ranges)
    assert are_disjoint(*reversed(ranges)) == disjoint
    both = SpecifierSet(range_from(one)) & SpecifierSet(range_from(other))
    assert not (disjoint and probe in both)
    assert disjoint == (one not in SpecifierSet(range_from(other)))  # of ranges between breaks


@settings(deadline=None)
@given(versions, st.data())
def test_a_raised_requirement_begins_with_the_version_and_ends_as_before(version, data):
    requirement = f"linnet-struct{range_from(version)}"
    result = Requirement(raised(requirement, version)).specifier
    for probe in (version, bumped(version, "patch"), bumped(version, "major"), data.draw(versions)):
        before = probe in Requirement(requirement).specifier
        assert (probe in result) == (before and probe >= version)


LOG = """# Changelog

## Unreleased

### Added

- A thing that takes
  two lines.

### Fixed

- `f` of nothing.

## 0.1.0 - 2026-01-31

### Added

- The first.
"""


def log(text=LOG):
    return Changelog("packages/toy/CHANGELOG.md", text)


def test_sections_of_a_changelog():
    assert log().sections() == {
        "Added": ["A thing that takes two lines."],
        "Fixed": ["`f` of nothing."],
    }
    assert log().asks_for() is Step.ADDITION
    assert log().part("0.1.0") == "### Added\n\n- The first."
    assert log().is_dated("0.1.0")
    assert not log().is_dated("0.1")
    assert log().part("0.1") is None


def test_a_release_dates_what_was_unreleased_and_leaves_an_empty_part():
    released = log().released("0.2.0", "2026-02-01")
    assert released.sections() == {}
    assert released.sections("0.2.0") == log().sections()
    assert released.text.startswith("# Changelog\n\n## Unreleased\n\n## 0.2.0 - 2026-02-01\n\n###")
    assert released.text.count("\n") == LOG.count("\n") + 2


def test_the_entry_of_a_moved_range_occurs_once_and_nothing_else_changes():
    once = log().needing("linnet-struct>=0.2,<0.3")
    assert [line for line in once.text.splitlines() if line not in LOG.splitlines()] == [
        "### Changed",
        "- Needs `linnet-struct>=0.2,<0.3`.",
    ]
    assert list(once.sections()) == ["Added", "Changed", "Fixed"]
    twice = once.needing("linnet>=1,<2").needing("linnet-struct>=0.3,<0.4")
    assert twice.sections()["Changed"] == [
        "Needs `linnet>=1,<2`.",
        "Needs `linnet-struct>=0.3,<0.4`.",
    ]
    assert twice.part("0.1.0") == log().part("0.1.0")


entries = st.lists(st.sampled_from(["One.", "`f(x)` of two.", "Three, and\n  more."]), max_size=3)


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from(list(SECTIONS)), entries), st.booleans())
def test_what_is_added_to_any_changelog(sections, is_first):
    body = "\n\n".join(
        f"### {name}\n\n" + "\n".join(f"- {entry}" for entry in sections[name])
        for name in SECTIONS
        if sections.get(name)
    )
    older = "" if is_first else "\n## 0.1.0 - 2026-01-31\n\n### Added\n\n- It.\n"
    start = log(f"# Changelog\n\n## Unreleased\n\n{body}\n{older}")
    after = start.needing("linnet-struct>=0.2,<0.3")
    expected = start.sections()
    expected.setdefault("Changed", []).append("Needs `linnet-struct>=0.2,<0.3`.")
    assert after.sections() == expected
    assert after.part("0.1.0") == start.part("0.1.0")
    assert "\n\n\n" not in after.text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("# Changelog\n", "has no section '## Unreleased'"),
        ("# Changelog\n\n## Unreleased\n\n- A thing.\n", "'- A thing.' is neither a section"),
        ("# Changelog\n\n## Unreleased\n\n### New\n", "'### New' is neither a section"),
    ],
)
def test_a_different_form_raises_an_error(text, message):
    with pytest.raises(Refused, match=message):
        log(text).sections()


def test_a_change_that_is_not_a_break_has_a_name_and_a_reason():
    said = "### Compatible\n\n- `linnet.toy.f(x)`: the same number, written differently.\n"
    assert log(LOG.replace("### Fixed", f"{said}\n### Fixed")).compatible() == {"linnet.toy.f(x)"}
    for entry in ("- All is well.", "- `linnet.toy.f(x)`:"):
        with pytest.raises(Refused, match="names nothing"):
            log(LOG.replace("### Fixed", f"### Compatible\n\n{entry}\n\n### Fixed")).compatible()


@pytest.mark.parametrize("package", workspace.packages(), ids=lambda p: p.short_name)
def test_every_changelog_has_the_form_and_fits_the_page(package):
    found = Changelog.of(package)
    assert found.text.startswith("# Changelog\n\n## Unreleased\n")
    assert max(map(len, found.text.splitlines())) <= 100
    if not found.is_dated(package.version):
        assert found.sections(), f"{found.where} has no entries for {package.version}"
