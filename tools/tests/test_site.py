"""Parts of the site that need neither mkdocs nor griffe: public names, generated files, links."""

import importlib
import re
from types import ModuleType

import pytest

import differences
import generate
import workspace
from website import api as site_api
from website import benchmarks as site_benchmarks
from website import pages as site_pages
from website import reference
from workspace import ROOT

PARTS = [part for of in site_api.api().parts.values() for part in of.walk()]


# Public names.


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.path)
def test_names_are_those_that_a_program_finds(part, tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    module = importlib.import_module(part.path)
    for name in site_api.exports(part.path):
        assert hasattr(module, name), name
    listed = getattr(module, "__all__", None)
    if listed is not None:
        assert {*site_api.exports(part.path), "__version__"} == {*listed, "__version__"}


@pytest.mark.parametrize("facade", ["linnet.linen", "linnet.nnx"])
def test_a_facade_lists_all_that_it_gives(facade):
    module = importlib.import_module(facade)
    names = {
        name
        for name in dir(module)
        if name[0] != "_" and not isinstance(getattr(module, name), ModuleType)
    }
    assert names <= set(site_api.exports(facade))


def test_every_definition_is_described_once():
    pages = site_pages.pages()
    written = [reference.expanded(text) for text in reference.texts().values()]
    texts = [*pages.values(), *written]
    shown = [name for text in texts for name in re.findall(r"^::: (\S+)$", text, re.M)]
    assert sorted(shown) == sorted(site_api.api().paths)
    assert len(shown) > 500
    for package in workspace.packages():
        assert site_pages.package_page(package) in pages


@pytest.mark.parametrize("short", ["nn", "nnx"])
def test_pages_have_every_name_of_a_style(short):
    named = {name for text in reference.texts().values() for name in reference.names(text)}
    entries = site_api.api().parts[reference.SHORT[short]].entries
    missing = {f"{short}.{entry.name}" for entry in entries} - named
    assert not missing, "each belongs on a page in docs/api, as a line such as `::: nn.Dense`"


def test_every_name_on_a_page_is_there():
    for page, text in reference.texts().items():
        for name in reference.names(text):
            home = site_api.resolve(reference.full(name))
            assert home or site_api.external(reference.full(name)).startswith("jax."), (page, name)


def test_every_name_of_a_style_has_an_example():
    """Each name has a doctest in its docstring, or a block on its page uses it."""
    lacking = []
    for page, text in reference.texts().items():
        code = "\n".join(re.findall(r"^```python\n(.*?)^```$", text, re.M | re.S))
        for name in reference.names(text):
            home = site_api.resolve(reference.full(name))
            if home is None or reference.described()[home] != name:
                continue  # jax or another page documents it
            if site_api.has_example(home) or re.search(rf"\b{re.escape(name)}\b", code):
                continue
            if re.fullmatch(r"nnx?\.\w+", name):
                lacking.append(f"{page}: {name}")
    assert not lacking


def test_a_function_called_like_its_file_is_the_function():
    path = "linnet.layers_linear.functional.conv"
    assert site_api.resolve(path) == f"{path}.conv"
    assert site_api.api().paths[f"{path}.conv"] == path


def test_a_facade_s_own_links_lead_to_descriptions():
    text = site_pages.pages()["api/packages/linnet.md"]
    targets = set(re.findall(r"\]\[([\w.]+)\]", text))
    assert len(targets) > 250
    assert targets <= set(site_api.api().paths)


# Generated files.


GENERATED = generate.generated()


@pytest.mark.parametrize("path", GENERATED, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_what_is_generated_is_up_to_date(path):
    assert path.read_text(encoding="utf-8") == GENERATED[path], "run `python tools/generate.py`"


def test_every_section_of_differences_is_on_the_page():
    kinds = {(m[2], m[3]) for m in generate.PART.finditer(differences.PAGE.read_text("utf-8"))}
    assert {("behavior", b.section) for b in differences.behaviors()} <= kinds


def test_the_tests_that_see_to_a_difference_are_there():
    tests = [test for behavior in differences.behaviors() for test in behavior.tests]
    assert len(tests) > 80
    for test in tests:
        path, _, function = test.partition("::")
        text = (ROOT / path).read_text(encoding="utf-8")
        assert re.search(rf"^(def|class) {function}\b", text, re.MULTILINE), test


def test_bounds_that_are_missed_are_said_to_be():
    for case in site_benchmarks.results()["cases"]:
        for ratio in case["ratios"]:
            bound = ratio["at_most"]
            assert ratio["met"] == (None if bound is None else ratio["value"] <= bound), case


def test_new_results_replace_old_ones():
    case = {"name": "trace-x", "about": "a | b", "unit": "s", "rounds": 3, "medians": {}}
    ratio = {"of": "linnet", "to": "flax", "value": 0.5, "error": 0.01, "at_most": 0.4}
    table = site_benchmarks.markdown([case | {"ratios": [ratio | {"met": False}]}])
    assert table.startswith("### Tracing\n")
    assert "`trace-x` | linnet / flax | 0.500 ± 0.010 | 0.4 | **no** |" in table
