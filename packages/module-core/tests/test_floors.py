"""The order of the folders: each imports what is on a lower floor, and nothing else.

What is read are the sources, with imports inside of functions; those under `TYPE_CHECKING` don't
run and don't count. Beside the order of the folders, no file may reach itself along imports.
"""

import ast
import graphlib
from pathlib import Path

import pytest

from linnet import module_core

ROOT = Path(module_core.__file__).parent

# From the ground up. A name is a file or folder; what no floor names is refused by a test.
FLOORS = [
    {"__about__", "_compat", "accepted", "on_demand", "replaced", "typing", "structs", "errors"},
    {"arrays", "axis_rules", "boxes", "config", "cursor", "dtypes", "field_order", "layout"},
    {"tracebacks"},
    {"tables"},
    {"linen", "nnx"},
    {"bridge", "layers", "training"},
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
    {"abstract", "proxy_caller", "spmd", "training", "viewing"},
    {"summary"},
    {"__init__"},
]

# Older names, for users: they import from wherever the thing is now, and nobody imports them but
# the `__init__` beside them.
OLD_NAMES = {"linen.metadata", "nnx.bridge"}


def name_of(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts)


FILES = {name_of(p): p for p in sorted(ROOT.rglob("*.py"))}


def running(node):
    """The statements below a node that run, with the functions around each."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            for other in child.orelse:
                yield other, node
                yield from running(other)
            continue
        yield child, node
        yield from running(child)


def imports_of(name):
    """What a file imports of this package, and whether at its top."""
    package = name.split(".")[:-1]
    for node, parent in running(ast.parse(FILES[name].read_text(encoding="utf-8"))):
        if not isinstance(node, ast.ImportFrom):
            continue
        if node.level:
            base = package[: len(package) - node.level + 1]
        elif (node.module or "").startswith("linnet.module_core"):
            base = []
        else:
            continue
        module = (node.module or "").removeprefix("linnet.module_core").strip(".")
        parts = [*base, *(module.split(".") if module else [])]
        for alias in node.names:
            whole = [*parts, alias.name]
            found = next(
                (
                    ".".join(option)
                    for option in (whole, [*whole, "__init__"], parts, [*parts, "__init__"])
                    if ".".join(option) in FILES
                ),
                None,
            )
            assert found is not None, (name, ast.unparse(node))
            yield found, isinstance(parent, ast.Module)


IMPORTS = {name: list(imports_of(name)) for name in FILES}


def floors_of(name, floors, within=""):
    part = name.removeprefix(f"{within}.") if within else name
    return next(i for i, floor in enumerate(floors) if part.split(".")[0] in floor)


@pytest.mark.parametrize(("floors", "within"), [(FLOORS, ""), (NNX, "nnx")], ids=["core", "nnx"])
def test_folders_import_what_is_below_them(floors, within):
    inside = [n for n in FILES if n.startswith(f"{within}.") or not within]
    for name in inside:
        for found, _ in IMPORTS[name]:
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


def test_no_file_reaches_itself():
    graph = {
        name: {found for found, _ in found if not found.endswith("__init__") and found != name}
        for name, found in IMPORTS.items()
    }
    graphlib.TopologicalSorter(graph).prepare()  # CycleError names the files


def test_imports_are_at_the_top():
    # A table takes as long to import as a seventh of linen, and few programs draw one.
    when_asked = {("linen.module", "linen.summary")}
    inside = {(n, found) for n, all_ in IMPORTS.items() for found, top in all_ if not top}
    assert inside == when_asked


def test_old_names_hand_on_and_nobody_uses_them():
    for name in OLD_NAMES:
        _, *rest = ast.parse(FILES[name].read_text(encoding="utf-8")).body
        assert [type(node) for node in rest] == [ast.ImportFrom]
        users = [n for n, found in IMPORTS.items() if name in {f for f, _ in found}]
        assert set(users) <= {f"{name.split('.')[0]}.__init__"}


def test_arguments_without_effect_are_in_one_table():
    """No function drops an argument of its own past `accepted`, which says why."""
    dropped = []
    for name, path in FILES.items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.FunctionDef):
                continue
            named = {a.arg for a in (*node.args.args, *node.args.kwonlyargs, node.args.vararg) if a}
            for step in node.body:
                if isinstance(step, ast.Delete):
                    targets = {t.id for t in step.targets if isinstance(t, ast.Name)}
                    dropped += [(name, node.name, t) for t in targets & named]
    assert dropped == []
