"""README.md: its commands, its picture, its links; `test_docs_blocks` runs its programs."""

import re

import pytest

import workspace

TEXT = (workspace.ROOT / "README.md").read_text(encoding="utf-8")
PACKAGES = workspace.packages()
NEW = 'python -m pip install "nox[uv]" && python -m nox -s '


@pytest.mark.parametrize("session", ["quickstart", "tests"])
def test_commands_are_on_one_line_each(session):
    assert f"\n```\n{NEW}{session}\n```\n" in TEXT


def test_links_lead_somewhere():
    targets = re.findall(r"\]\((?!https?:)([^)#]+)\)", TEXT)
    targets += re.findall(r"^\| `([a-z_./]+)` \|", TEXT, re.MULTILINE)
    assert len(targets) > 5
    for target in targets:
        assert (workspace.ROOT / target).exists(), target


def test_picture_shows_every_package_and_what_it_needs():
    """Drawn once: docs/images/packages.svg has no source but itself."""
    drawn = (workspace.ROOT / "docs/images/packages.svg").read_text(encoding="utf-8")
    assert f">{' · '.join(sorted({n for p in PACKAGES for n in p.third_party}))}</text>" in drawn
    for package in PACKAGES:
        assert f">{package.name}</text>" in drawn
        # A package that another required package already requires has no line of its own.
        needed = {name: workspace.find(name) for name in package.siblings}
        users = {name: {p.name for p in workspace.dependents(s)} for name, s in needed.items()}
        direct = [name for name in needed if users[name].isdisjoint(needed)]
        assert f"{package.name} needs {', '.join(direct) or 'jax'}" in drawn


def test_pictures_are_shown_on_a_page():
    pages = [*(workspace.ROOT / "docs").rglob("*.md"), workspace.ROOT / "README.md"]
    shown = "\n".join(p.read_text(encoding="utf-8") for p in pages)
    for picture in (workspace.ROOT / "docs" / "images").glob("*.svg"):
        assert re.search(rf"!\[[^\]]+\]\([./\w]*images/{picture.name}\)", shown), picture
