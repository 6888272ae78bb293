"""The pictures of the documentation: as tools/figures.py draws them, and shown on a page."""

import re
from pathlib import Path

import pytest

import figures
from workspace import ROOT

FIGURES = figures.figures()
EVERY = pytest.mark.parametrize("path", FIGURES, ids=lambda path: path.stem)


@EVERY
def test_the_file_is_up_to_date(path: Path) -> None:
    assert path.read_text(encoding="utf-8") == FIGURES[path], "run tools/figures.py"


@EVERY
def test_a_page_shows_it_and_says_what_it_shows(path: Path) -> None:
    pages = "\n".join(p.read_text(encoding="utf-8") for p in (ROOT / "docs").rglob("*.md"))
    assert re.search(rf"!\[[^\]]+\]\(\.\./images/{path.name}\)", pages)
