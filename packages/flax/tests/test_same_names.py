"""Each name in the tree is Linnet's object of that name, at run time and for type checkers.

Modules of the tree pass names on, through star imports and on demand. Whichever source comes first,
and whatever was imported before, no name may hide another.
"""

import ast
import importlib
import inspect
import pkgutil
import types

import pytest

import linnet.flax


def _modules(package):
    yield package.__name__
    for entry in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        if not entry.name.startswith(("linnet.flax.running", "linnet.flax._")) and (
            not entry.name.endswith("__")
        ):
            yield entry.name


TREE = sorted(_modules(linnet.flax))


def _or_none(name):
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError:
        return None


EXCEPT = {
    "linnet.flax.linen": {"__version__"},  # Flax has it in `flax` alone
    "linnet.flax.nnx": {"__version__"},
    "linnet.flax.nnx.graph": {"Static"},  # the class that Flax's pickles name
    "linnet.flax.nnx.graphlib": {"Static"},
    "linnet.flax.training": {  # Flax has only the modules of these names
        *("DynamicScale", "EarlyStopping", "PrefetchIterator", "TrainState"),
        *("latest_checkpoint", "restore_checkpoint", "save_checkpoint"),
    },
}

FACADE = {name: _or_none(name.replace("linnet.flax", "linnet")) for name in TREE[1:]}


@pytest.mark.parametrize("name", [name for name, ours in FACADE.items() if ours is not None])
def test_names_are_those_of_linnet(name):
    ours, module = FACADE[name], importlib.import_module(name)
    public = getattr(ours, "__all__", None) or [n for n in dir(ours) if not n.startswith("_")]
    for inner in set(public) - EXCEPT.get(name, set()):
        wanted, found = getattr(ours, inner), getattr(module, inner)
        if inspect.ismodule(wanted):
            assert inspect.ismodule(found), inner
        else:
            assert found is wanted or found == wanted, inner


def _static(name):
    """The names that a type checker finds in a module; the last binding of a name wins."""
    module = importlib.import_module(name)
    found = {}

    def read(statements):
        for statement in statements:
            if isinstance(statement, ast.If):  # TYPE_CHECKING
                read(statement.body)
            elif isinstance(statement, ast.ImportFrom):
                bind(statement)
            elif isinstance(statement, (ast.FunctionDef, ast.ClassDef)):
                found[statement.name] = vars(module).get(statement.name)
            elif isinstance(statement, ast.Assign):
                for target in statement.targets:
                    if isinstance(target, ast.Name):
                        found[target.id] = vars(module).get(target.id)

    def bind(statement):
        here = module.__spec__.parent if statement.level else ""
        above = here.rsplit(".", statement.level - 1)[0] if statement.level > 1 else here
        home = ".".join(filter(None, [above, statement.module or ""]))
        source = importlib.import_module(home)
        for alias in statement.names:
            if alias.name == "*":
                public = getattr(source, "__all__", None) or dir(source)
                found.update({n: getattr(source, n) for n in public if not n.startswith("_")})
            else:
                inner = _or_none(f"{home}.{alias.name}")
                value = getattr(source, alias.name, inner)
                found[alias.asname or alias.name] = value

    read(ast.parse(inspect.getsource(module)).body)
    return module, {n: v for n, v in found.items() if not n.startswith("_")}


@pytest.mark.parametrize("name", TREE)
def test_type_checkers_and_programs_find_the_same(name):
    module, found = _static(name)
    for inner, value in found.items():
        if inner in ("annotations", "TYPE_CHECKING"):
            continue
        actual = getattr(module, inner)
        if not (isinstance(value, types.ModuleType) and isinstance(actual, types.ModuleType)):
            assert actual is value or actual == value, inner
