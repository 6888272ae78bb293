"""The order of the folders: each imports what is on a lower floor, and nothing else.

`tools/imports.py` reads the sources. The rules for every package (imports have no cycles, and are
at the top of a file) are tested in `tools/tests/test_layout.py`.
"""

import ast
from pathlib import Path

import pytest

import imports
from linnet import module_core

ROOT = Path(module_core.__file__).parent

# From the ground up. A name is a file or folder; a test fails if a file or folder is on no floor.
FLOORS = [
    {"records"},
    {"__about__", "_compat", "accepted", "attributes_elsewhere", "defaults", "errors"}
    | {"names_elsewhere", "on_demand", "replaced", "structs", "typing"},
    {"arrays", "axis_rules", "boxes", "config", "cursor", "dtypes", "field_order", "layout"}
    | {"gradients", "mismatched"},
    {"forgotten_mesh", "placing"},
    {"draws", "notebook", "recomputing", "repeating", "tracebacks"},
    {"stacking", "tables"},
    {"linen", "nnx"},
    {"bridge", "functional", "layers", "sharding", "training"},
    {"weights"},
    {"__init__"},
]
NNX = [
    {"filters", "reprlib", "traversals"},
    {"nodes"},
    {"variable"},
    {"structure"},
    {"streams"},
    {"capturing", "showing", "tracers"},
    {"module"},
    {"containers"},
    {"transforms"},
    {"abstract", "proxy_caller", "repeat", "spmd", "training"},
    {"creating", "summary", "viewing"},
    {"__init__"},
]

# Older names, for users: they import from the current location, and only the `__init__` in the same
# folder imports them.
OLD_NAMES = {"linen.metadata", "nnx.bridge"}


FILES = imports.files_of(ROOT)


@pytest.fixture
def graph():
    return imports.graph_below(ROOT, "linnet.module_core")


def floors_of(name, floors, within=""):
    part = name.removeprefix(f"{within}.") if within else name
    return next(i for i, floor in enumerate(floors) if part.split(".")[0] in floor)


@pytest.mark.parametrize(("floors", "within"), [(FLOORS, ""), (NNX, "nnx")], ids=["core", "nnx"])
def test_folders_import_what_is_below_them(graph, floors, within):
    inside = [n for n in FILES if n.startswith(f"{within}.") or not within]
    for name in inside:
        for found, _ in graph[name]:
            if found not in inside or name in OLD_NAMES or found in OLD_NAMES:
                continue
            part, other = (n.removeprefix(f"{within}.").split(".")[0] for n in (name, found))
            assert part == other or floors_of(found, floors, within) < floors_of(
                name, floors, within
            ), f"{name} imports {found}"


def test_every_file_has_a_floor():
    for floors, within in ((FLOORS, ""), (NNX, "nnx")):
        place = ROOT / within
        named = set().union(*floors)
        names = {n.removesuffix(".py") for n in (p.name for p in place.iterdir()) if n[0] != "_"}
        names = {n for n in names if n != "py.typed"} | {"__init__"}
        old = {n.rpartition(".")[2] for n in OLD_NAMES if n.startswith(f"{within}.")}
        assert names - old == named - {"__about__", "_compat"}


def test_old_names_hand_on_and_nobody_uses_them(graph):
    for name in OLD_NAMES:
        _, *rest = ast.parse(FILES[name].read_text(encoding="utf-8")).body
        assert [type(node) for node in rest] == [ast.ImportFrom]
        users = [n for n, found in graph.items() if name in {f for f, _ in found}]
        assert set(users) <= {f"{name.split('.')[0]}.__init__"}
