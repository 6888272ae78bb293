"""The site's parts that need neither mkdocs nor griffe: what is public, what is written, links."""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from types import ModuleType

import pytest

import differences
import workspace
from website import api as site_api
from website import benchmarks as site_benchmarks
from website import check as site_check
from website import pages as site_pages
from website.api import Part
from workspace import ROOT

PARTS = [part for of in site_api.api().parts.values() for part in of.walk()]


# What is public.


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.path)
def test_names_are_those_that_a_program_finds(
    part: Part, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    module = importlib.import_module(part.path)
    for name in site_api.exports(part.path):
        assert hasattr(module, name), name
    listed = getattr(module, "__all__", None)
    if listed is not None:
        assert set(site_api.exports(part.path)) == set(listed)


@pytest.mark.parametrize("facade", ["linnet.linen", "linnet.nnx"])
def test_a_facade_lists_all_that_it_gives(facade: str) -> None:
    module = importlib.import_module(facade)
    names = {
        name
        for name in dir(module)
        if name[0] != "_" and not isinstance(getattr(module, name), ModuleType)
    }
    assert names <= set(site_api.exports(facade))


def test_every_definition_is_described_once() -> None:
    pages = site_pages.pages()
    shown = [name for text in pages.values() for name in re.findall(r"^::: (\S+)$", text, re.M)]
    assert sorted(shown) == sorted(site_api.api().paths)
    assert len(shown) > 500
    for package in workspace.packages():
        assert site_pages.package_page(package) in pages


def test_a_function_called_like_its_file_is_the_function() -> None:
    path = "linnet.layers_linear.functional.conv"
    assert site_api.resolve(path) == f"{path}.conv"
    assert site_api.api().paths[f"{path}.conv"] == path


def test_a_facade_s_own_links_lead_to_descriptions() -> None:
    text = site_pages.pages()["api/linnet.md"]
    targets = set(re.findall(r"\]\[([\w.]+)\]", text))
    assert len(targets) > 250
    assert targets <= set(site_api.api().paths)


# What is written.


def test_differences_are_up_to_date() -> None:
    written = differences.PAGE.read_text(encoding="utf-8")
    assert written == differences.page(), "run python tools/differences.py"


def test_the_tests_that_see_to_a_difference_are_there() -> None:
    tests = [test for behavior in differences.behaviors() for test in behavior.tests]
    assert len(tests) > 80
    for test in tests:
        path, _, function = test.partition("::")
        text = (ROOT / path).read_text(encoding="utf-8")
        assert re.search(rf"^(def|class) {function}\b", text, re.MULTILINE), test


@pytest.mark.parametrize("path", [site_benchmarks.PAGE, site_benchmarks.PICTURE])
def test_benchmarks_are_up_to_date(path: Path) -> None:
    written = site_benchmarks.generated(site_benchmarks.results())[path]
    assert path.read_text(encoding="utf-8") == written, "run python tools/website/benchmarks.py"


def test_bounds_that_are_missed_are_said_to_be() -> None:
    for case in site_benchmarks.results()["cases"]:
        for ratio in case["ratios"]:
            bound = ratio["at_most"]
            assert ratio["met"] == (None if bound is None else ratio["value"] <= bound), case


def test_new_results_take_the_place_of_old_ones() -> None:
    case = {"name": "trace-x", "about": "a | b", "unit": "s", "rounds": 3, "medians": {}}
    ratio = {"of": "linnet", "to": "flax", "value": 0.5, "error": 0.01, "at_most": 0.4}
    table = site_benchmarks.markdown([case | {"ratios": [ratio | {"met": False}]}])
    assert table.startswith("### Tracing\n")
    assert "`trace-x` | linnet / flax | 0.500 ± 0.010 | 0.4 | **no** |" in table


# Links.


def site(folder: Path, page: str) -> list[str]:
    """What is wrong with a site of two pages."""
    (folder / "other").mkdir()
    (folder / "index.html").write_text(page, encoding="utf-8")
    (folder / "other" / "index.html").write_text('<h1 id="here">x</h1>', encoding="utf-8")
    (folder / "a.png").write_bytes(b"")
    return site_check.problems(folder)


def test_links_that_lead_somewhere(tmp_path: Path) -> None:
    page = (
        '<a href="other/#here">a</a> <a href="other">b</a> <a href="#c" id="c">c</a>'
        '<a href="https://example.org/x">d</a> <img src="a.png"> <a href="/other/#here">e</a>'
    )
    assert site(tmp_path, page) == []


@pytest.mark.parametrize(
    ("page", "problem"),
    [
        ('<a href="nowhere/">x</a>', "index.html: 'nowhere/' leads nowhere"),
        ('<img src="b.png">', "index.html: 'b.png' leads nowhere"),
        ('<a href="other/#there">x</a>', "names an anchor that the page lacks"),
        ('<a href="#there">x</a>', "names an anchor that the page lacks"),
        ('<script src="https://example.org/x.js"></script>', "is loaded from another host"),
        ('<link rel="stylesheet" href="//example.org/x.css">', "is loaded from another host"),
    ],
)
def test_links_that_do_not(tmp_path: Path, page: str, problem: str) -> None:
    (found,) = site(tmp_path, page)
    assert found.endswith(problem)


def test_an_empty_site_is_no_success(tmp_path: Path) -> None:
    assert site_check.problems(tmp_path)
