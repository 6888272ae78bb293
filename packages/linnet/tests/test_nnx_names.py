"""The names in `linnet.nnx`, where they are defined, and which modules importing it loads."""

import ast
import importlib
import inspect
import pkgutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import linnet.linen
import linnet.module_core.nnx
from linnet import nnx

LAYERS = ["attention", "linear", "norm", "recurrent"]


def names_of(module):
    """A module's public names, without submodules and the names that Python adds."""
    return [
        name
        for name in dir(module)
        if not name.startswith("_")
        and not inspect.ismodule(getattr(module, name))
        and name not in ("TYPE_CHECKING", "annotations")
    ]


def submodules(package):
    found = pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
    return [entry.name for entry in found]


SUBMODULES = submodules(nnx)


def test_every_name_is_there():
    assert len(dir(nnx)) > 190
    assert all(hasattr(nnx, name) for name in dir(nnx))
    with pytest.raises(AttributeError, match=r"module 'linnet\.nnx' has no attribute 'Linea'"):
        nnx.Linea


def test_all_of_the_core_is_in_it():
    core = linnet.module_core.nnx
    assert len(names_of(core)) > 100
    for name in names_of(core):
        assert getattr(nnx, name) is getattr(core, name), name


@pytest.mark.parametrize("kind", LAYERS)
def test_all_layers_are_in_it(kind):
    package = importlib.import_module(f"linnet.layers_{kind}.nnx")
    layers = names_of(package)
    assert layers
    for name in layers:
        assert getattr(nnx, name) is getattr(package, name), name


@pytest.mark.parametrize("facade", [linnet.linen, nnx])
def test_type_checkers_see_what_is_loaded_later(facade):
    """`nnx.Linear` and similar names: Python finds the object that the source names."""
    seen = {"object"} if facade is nnx else set()
    for node in ast.walk(ast.parse(Path(str(facade.__file__)).read_text())):
        if isinstance(node, ast.ImportFrom):
            within = "." * node.level + (node.module or "")
            home = importlib.import_module(within, facade.__name__)
            gathered = list(getattr(home, "__all__", names_of(home)))
            for alias in node.names:
                names = gathered if alias.name == "*" else [alias.asname or alias.name]
                seen.update(names)
                for name in names if alias.name in ("*", alias.asname) else ():
                    assert getattr(facade, name) is getattr(home, name), name
    assert {name for name in seen if not name.startswith("_")} | {"__version__"} == set(dir(facade))
    assert set(facade.__all__) == set(dir(facade))


@pytest.mark.parametrize("name", SUBMODULES)
def test_submodules_hold_what_is_above_them(name):
    module = importlib.import_module(name)
    assert module.__doc__
    inner = names_of(module)
    packages = ("nn", "training", "transforms")
    assert bool(inner) != (name.rsplit(".", 1)[-1] in packages and hasattr(module, "__path__"))
    different = {"Module", "Object", "compact", "with_partitioning", "Initializer", "Statistics"}
    for one in inner:
        value = getattr(module, one)
        if hasattr(nnx, one) and one not in different:
            assert getattr(nnx, one) is value, one


# The paths that users type, where they differ from the real paths.
ELSEWHERE = {
    "initializers": "nn.initializers",
    "metrics": "training.metrics",
    "object": "pytreelib",
    "optimizer": "training.optimizer",
    "wrappers": "bridge.wrappers",
}
OWN = {entry.name for entry in pkgutil.iter_modules(nnx.__path__) if entry.name[0] != "_"}
NAMESPACES = sorted({*ELSEWHERE, *OWN})


@pytest.mark.parametrize("path", NAMESPACES)
def test_namespaces_are_reached_as_users_type_them(path):
    namespace = getattr(nnx, path)
    assert inspect.ismodule(namespace)
    assert namespace.__name__ == f"linnet.nnx.{ELSEWHERE.get(path, path)}"
    assert path in dir(nnx)
    for part in dir(namespace):  # parts of packages, such as nnx.nn.linear
        getattr(namespace, part)
    with pytest.raises(AttributeError):
        namespace.no_such_name


def test_parts_of_packages_are_listed():
    for package in (nnx.nn, nnx.training, nnx.transforms):
        parts = [entry.name for entry in pkgutil.iter_modules(package.__path__)]
        assert dir(package) == sorted(parts)


RECORDED_ONCE = {"gelu", "logsumexp", "relu", "relu6", "softmax"}


def test_activations_are_jax_s():
    x = jnp.linspace(-2.0, 2.0, 8)
    types = {"Array", "Dtype", "PReLU", "PromoteDtypeFn"}
    activations = set(names_of(nnx.nn.activations)) - types
    assert len(activations) == 25
    for name in activations:
        ours = getattr(nnx, name)
        jaxs = getattr(jax.nn, name)
        assert list(inspect.signature(ours).parameters) == list(inspect.signature(jaxs).parameters)
        assert (ours is jaxs) == (name not in RECORDED_ONCE)
        if name in RECORDED_ONCE:
            np.testing.assert_array_equal(ours(x), jaxs(x))
    assert nnx.relu is linnet.linen.relu


def test_version():
    assert nnx.__version__ == linnet.linen.__about__.__version__


def test_linen_layers_take_the_shardings_that_those_of_nnx_take():
    twins = {"Linear": "Dense", "LinearGeneral": "DenseGeneral"}
    asked = []
    for name in dir(nnx):
        theirs = getattr(linnet.linen, twins.get(name, name), None)
        if inspect.isclass(theirs) and issubclass(theirs, linnet.linen.Module):
            for method in ("__call__", "attend"):
                of_nnx, of_linen = (
                    {
                        n
                        for n in inspect.signature(getattr(c, method, id)).parameters
                        if "_sharding" in n
                    }
                    for c in (getattr(nnx, name), theirs)
                )
                assert of_nnx == of_linen, name
                asked += of_linen
    assert len(asked) > 9
