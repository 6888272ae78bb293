"""Guides as notebooks: `python tools/generate.py` writes them into docs/notebooks.

A block of Python becomes a code cell, and the text between two blocks a text cell. A notebook has
only the tabs of one label. Output that the page shows in a separate block is left out, because
running the notebook prints it. `tools/tests/test_notebooks.py` runs them.
"""

from __future__ import annotations

import json
import posixpath
import re
from pathlib import Path
from typing import NamedTuple

from workspace import ROOT

DOCS = ROOT / "docs"
FENCE = re.compile(
    r"^```python\n(.*?)^```\n(\s*^```(?:text)?\n.*?^```\n)?", re.MULTILINE | re.DOTALL
)
TAB = re.compile(r"^/// tab \| ([^\n]+)\n(.*?)^///$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?!https?:|#)([^)\s]+)\)")


class Notebook(NamedTuple):
    """A notebook: the page that it is made from, the label of its tabs, and its first cell."""

    page: str
    label: str = ""
    first: str = ""


NOTEBOOKS = {
    "fine_tuning": Notebook("guides/fine_tuning.md", "nnx"),
    "flax_program": Notebook("guides/flax_program.md"),
    "several_devices": Notebook(
        "guides/sharding.md",
        "nnx",
        "import jax\n\njax.config.update('jax_num_cpu_devices', 8)  # one CPU acts as eight\n",
    ),
}


def notebooks() -> dict[Path, str]:
    """The files and what they should hold."""
    return {DOCS / "notebooks" / f"{name}.ipynb": written(n) for name, n in NOTEBOOKS.items()}


def written(notebook: Notebook) -> str:
    """A notebook as JSON."""
    page = (DOCS / notebook.page).read_text(encoding="utf-8")
    cells = [("code", notebook.first)] if notebook.first else []
    cells += list(_cells(page, notebook))
    found: list[dict[str, object]] = [
        {
            "cell_type": kind,
            "id": f"cell-{i}",
            "metadata": {},
            "source": text.strip("\n").splitlines(keepends=True),
            **({"execution_count": None, "outputs": []} if kind == "code" else {}),
        }
        for i, (kind, text) in enumerate(cells)
    ]
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    whole = {"cells": found, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}
    return json.dumps(whole, indent=1, ensure_ascii=False) + "\n"


def _cells(page: str, notebook: Notebook) -> list[tuple[str, str]]:
    """The kind and the text of each cell."""
    page = TAB.sub(lambda m: m[2].strip("\n") if m[1] == notebook.label else "", page)
    page = LINK.sub(lambda m: f"]({_from_notebooks(m[1], notebook.page)})", page)
    found: list[tuple[str, str]] = []
    end = 0
    for match in FENCE.finditer(page):
        found += [("markdown", page[end : match.start()]), ("code", match[1])]
        end = match.end()
    found.append(("markdown", page[end:]))
    return [(kind, text) for kind, text in found if text.strip()]


def _from_notebooks(link: str, page: str) -> str:
    path = posixpath.normpath(posixpath.join(posixpath.dirname(page), link))
    return posixpath.relpath(path, "notebooks")
