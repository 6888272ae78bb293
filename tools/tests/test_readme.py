"""README.md: its commands, its picture, its links; `test_docs_blocks` runs its programs."""

import re
from pathlib import Path

import pytest

import picture
import readme
import workspace

TEXT = readme.README.read_text(encoding="utf-8")
NEW = 'python -m pip install "nox[uv]" && python -m nox -s '


@pytest.mark.parametrize("path", readme.generated(), ids=lambda p: p.name)
def test_what_is_generated_is_up_to_date(path: Path) -> None:
    assert path.read_text(encoding="utf-8") == readme.generated()[path], "run tools/readme.py"


@pytest.mark.parametrize("session", ["quickstart", "tests"])
def test_commands_stand_on_one_line_each(session: str) -> None:
    assert f"\n```\n{NEW}{session}\n```\n" in TEXT


def test_links_lead_somewhere() -> None:
    targets = re.findall(r"\]\((?!https?:)([^)#]+)\)", TEXT)
    targets += re.findall(r"^\| `([a-z_./]+)` \|", TEXT, re.MULTILINE)
    assert len(targets) > 5
    for target in targets:
        assert (workspace.ROOT / target).exists(), target


def test_picture_shows_every_package_and_none_over_another() -> None:
    drawn = picture.svg()
    for package in workspace.packages():
        assert f">{package.name}</text>" in drawn
    boxes = re.findall(r'<rect x="([\d.]+)" y="([\d.]+)" width="(\d+)" height="([\d.]+)"', drawn)
    numbers = [tuple(map(float, box)) for box in boxes]
    corners = [(x, y, x + width, y + height) for x, y, width, height in numbers]
    assert len(corners) == len(workspace.packages()) + 1  # and the base
    for i, (left, top, right, bottom) in enumerate(corners):
        for other_left, other_top, other_right, other_bottom in corners[:i]:
            apart = right <= other_left or other_right <= left
            assert apart or bottom <= other_top or other_bottom <= top
