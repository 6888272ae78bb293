"""How a package's files import one another: without cycles, at the top, and not across styles."""

import graphlib

import pytest

import imports
import workspace

PACKAGES = {
    f"linnet.{root.name}": root
    for package in workspace.packages()
    for root in sorted((package.folder / "src" / "linnet").iterdir())
    if (root / "__init__.py").exists()
}
each_package = pytest.mark.parametrize("package", PACKAGES)

# Imports inside functions, with the reason.
WHEN_ASKED = {
    # Importing tables takes a seventh of the time that importing linen takes, and few programs draw
    # one.
    ("linnet.module_core", "linen.module"): {"linen.summary"},
    # Importing one style never imports the other, and these are useful with linen alone.
    ("linnet.module_core", "sharding.rules"): {"nnx.filters"},
}
# Code that runs before the user's program must load few files.
STARTS_FIRST = {"linnet.flax": "running."}


def graph_of(package):
    return imports.graph_below(PACKAGES[package], package)


def test_every_package_is_read():
    assert set(PACKAGES) == {n for p in workspace.packages() for n in p.import_names}


@each_package
def test_no_file_reaches_itself(package):
    graph = {
        name: {i.file for i in found if not i.file.endswith("__init__") and i.file != name}
        for name, found in graph_of(package).items()
    }
    graphlib.TopologicalSorter(graph).prepare()  # CycleError names the files


@each_package
def test_imports_are_at_the_top(package):
    starts_first = STARTS_FIRST.get(package, "nothing")
    for name, found in graph_of(package).items():
        inside = {i.file for i in found if not i.at_top}
        if not name.startswith(starts_first):
            assert inside == WHEN_ASKED.get((package, name), set()), name


@pytest.mark.parametrize("package", [p for p in PACKAGES if p.startswith("linnet.layers_")])
def test_styles_know_functions_and_not_each_other(package):
    """Neither `functional` nor the files that both styles share import a style."""
    above = {"linen", "nnx"}
    for name, found in graph_of(package).items():
        folder = name.split(".")[0]
        for other in {i.file.split(".")[0] for i in found} & above:
            assert other == folder, f"{name} imports {other}"
    assert above < {name.split(".")[0] for name in graph_of(package)}


@pytest.mark.parametrize("package", workspace.packages(), ids=lambda p: p.short_name)
def test_no_two_files_are_the_same(package):
    """The check of a release's wheel rejects duplicate files."""
    seen = {}
    for file in package.modules:
        text = file.read_text(encoding="utf-8").strip()
        assert not text or seen.setdefault(text, file) == file, (file, seen[text])


def test_what_is_read_from_a_file(tmp_path):
    texts = {
        "__init__.py": "from . import a",
        "a.py": "import sys\nfrom .b.c import name\nimport linnet.one.d",
        "d.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from . import a\n"
        "else:\n    from .b import c\n"
        "def f():\n    from linnet.one import b\n    import linnet.one",
        "b/__init__.py": "",
        "b/c.py": "from .. import a as other\nclass C:\n    from ..d import f",
    }
    for name, text in texts.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    assert imports.graph_of(imports.files_of(tmp_path), "linnet.one") == {
        "__init__": [("a", True)],
        "a": [("b.c", True), ("d", True)],
        "b.__init__": [],
        "b.c": [("a", True), ("d", True)],
        "d": [("b.c", True), ("b.__init__", False), ("__init__", False)],
    }
    (tmp_path / "e.py").write_text("from .f import name")
    with pytest.raises(LookupError, match=r"e: from \.f import name"):
        imports.graph_of(imports.files_of(tmp_path), "linnet.one")
