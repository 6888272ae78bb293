"""Every public name of every module of Flax, and whether `linnet.flax` has it.

Flax's modules are listed at run time. Missing names are in `remedies`, with what to use instead;
all others have the same parameters. Modules that a module imports, and names that it imports from
Python's standard library, are not compared.
"""

import importlib
import pkgutil
from types import ModuleType

import flax
import pytest

from linnet.flax.running.remedies import REMEDIES
from parity.borrowed import is_borrowed

# They import TensorFlow or TensorBoard.
NOT_IMPORTED = {"flax.metrics.tensorboard", "flax.testing"}
FOUND = {module.name for module in pkgutil.walk_packages(flax.__path__, "flax.")}
MODULES = sorted({name for name in FOUND if not name.startswith("flax.testing")} - NOT_IMPORTED)


def wanted(name):
    """Names that a program could import from a module of Flax."""
    module = importlib.import_module(name)
    public = {n: getattr(module, n) for n in dir(module) if not n.startswith("_")}
    parts = {n.rpartition(".")[2] for n in FOUND if n.rpartition(".")[0] == name}
    own = {n for n, v in public.items() if not is_borrowed(n, v)}
    return (own | (parts & public.keys())) - {"annotations"}


def ours(name):
    try:
        return importlib.import_module(f"linnet.{name}")
    except ModuleNotFoundError:
        return None


def lacking(name):
    return {n.rpartition(".")[2] for n in REMEDIES if n.rpartition(".")[0] == name}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", MODULES)
def test_names(name):
    module = ours(name)
    if module is None:
        assert name in REMEDIES
        return
    assert name not in REMEDIES
    missing = {n for n in wanted(name) if not hasattr(module, n)}
    modules = {n for n in FOUND if n.rpartition(".")[0] == name}
    absent = {n.rpartition(".")[2] for n in modules if ours(n) is None}
    assert missing - lacking(name) == set(), "missing, without a remedy"
    assert lacking(name) - missing - absent == set(), "listed as missing, but present"


def test_every_remedy_is_for_a_name_of_flax():
    for name in REMEDIES:
        where, _, _ = name.rpartition(".")
        assert name in FOUND | NOT_IMPORTED or where in MODULES, name


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", [n for n in MODULES if ours(n) is not None])
def test_a_name_means_the_same_kind_of_thing(name):
    module = importlib.import_module(name)
    for inner in wanted(name) - lacking(name):
        a, b = getattr(ours(name), inner), getattr(module, inner)
        assert isinstance(a, ModuleType) == isinstance(b, ModuleType), inner
        if isinstance(b, type) and b.__module__.startswith("flax."):
            assert callable(a), inner
