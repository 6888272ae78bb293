"""Every block of Python in docs/ runs: those of a page one after the other, in one namespace."""

import importlib.util
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

DOCS = Path(__file__).parents[2] / "docs"
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
OPENING = re.compile(r"^\s*(```|~~~)\s*\{?\.?(python|py|pycon)\b.*$", re.MULTILINE | re.IGNORECASE)


def blocks(page: Path) -> list[tuple[int, str]]:
    """The code of each block, and the number of its first line."""
    text = page.read_text(encoding="utf-8")
    return [(text.count("\n", 0, m.start(1)) + 1, m[1]) for m in BLOCK.finditer(text)]


PAGES = [page for page in sorted(DOCS.rglob("*.md")) if blocks(page)]


@pytest.fixture
def module() -> Iterator[ModuleType]:
    """Where a page's names live; classes look their module up by its name."""
    module = ModuleType("page")
    sys.modules["page"] = module
    yield module
    del sys.modules["page"]


def test_no_block_is_overlooked() -> None:
    """One that is indented, or has another spelling, would not run."""
    assert PAGES
    for page in DOCS.rglob("*.md"):
        text = page.read_text(encoding="utf-8")
        assert len(OPENING.findall(text)) == len(blocks(page)), page


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(DOCS).as_posix())
# Keras's own warning: in numpy 2, copying an array asks for more than it has.
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_page(
    page: Path, module: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))  # where Keras writes when it is imported
    code = [
        # Preceded by empty lines, so that a traceback names the line of the page.
        compile("\n" * (first - 1) + text, str(page), "exec", dont_inherit=True)
        for first, text in blocks(page)
    ]
    text = page.read_text(encoding="utf-8")
    for name in ("optax", "orbax", "safetensors", "keras"):
        if f"import {name}" in text and not installed(name):
            pytest.skip(f"{name}: only the quickstart's group of dependencies brings it")
    for block in code:
        exec(block, module.__dict__)


def installed(name: str) -> bool:
    return importlib.util.find_spec(name) is not None
