"""Every public name that Linnet shares with Flax has the same parameters and defaults.

Exceptions are listed, with the reason, in differences.toml; everything listed there does differ.
"""

import importlib
import inspect
from collections.abc import Mapping

import flax.errors
import flax.linen
import flax.serialization
import flax.struct
import flax.traverse_util
import pytest

import differences as listed
import linnet.linen
import linnet.struct
from linnet.module_core import errors
from linnet.struct import serialization, traverse_util

PAIRS = {
    "linen": (linnet.linen, flax.linen),
    "linen.Module": (linnet.linen.Module, flax.linen.Module),
    "struct": (linnet.struct, flax.struct),
    "serialization": (serialization, flax.serialization),
    "traverse_util": (traverse_util, flax.traverse_util),
}


# Modules whose functions, classes and methods are compared if Flax defines them there.
HELPERS = [
    "training.train_state",
    "training.common_utils",
    "training.checkpoints",
    "training.dynamic_scale",
    "training.early_stopping",
    "training.orbax_utils",
    "training.lr_schedule",
    "training.prefetch_iterator",
    "jax_utils",
    "cursor",
    "core.frozen_dict",
    "core.meta",
    "core.scope",
    "core.lift",
    "io",
    "linen.fp8_ops",
    "linen.partitioning",
    "linen.spmd",
    "linen.dtypes",
    "linen.summary",
    "linen.batch_apply",
    "linen.pooling",
    "linen.recurrent",
    "configurations",
]


# Names with the module that they are compared in: without `struct.` for its namespaces.
LISTED = {
    f"{group.where.removeprefix('struct.')}.{name}"
    for group in listed.listed("parameters")
    if group.where != "nnx"
    for name in group.names
}


def shared_names():
    for where, (ours, theirs) in PAIRS.items():
        for name in dir(theirs):
            value = getattr(theirs, name)
            public = not name.startswith("_") and callable(value) and not inspect.ismodule(value)
            if public and hasattr(ours, name):
                yield f"{where}.{name}", getattr(ours, name), value


def helper_names():
    for where in HELPERS:
        ours = importlib.import_module(f"linnet.flax.{where}")
        theirs = importlib.import_module(f"flax.{where}")
        for name, value in vars(theirs).items():
            if getattr(value, "__module__", None) != theirs.__name__ or name.startswith("_"):
                continue
            if not callable(value) or not hasattr(ours, name):
                continue
            yield f"{where}.{name}", getattr(ours, name), value
            for inner, method in vars(value).items() if inspect.isclass(value) else ():
                defined = getattr(method, "__module__", None) == theirs.__name__
                field = inner in getattr(value, "__dataclass_fields__", ())
                if defined and callable(method) and not field and not inner.startswith("_"):
                    mine = getattr(getattr(ours, name), inner, None)
                    yield f"{where}.{name}.{inner}", mine, getattr(value, inner)


def kinds(function):
    """The kind of each parameter, except for `parent` and `name`, which are fields in a module."""
    found = parameters(function) or ()
    return [(n, str(p.kind)) for n, p in found if n not in ("parent", "name")]


def parameters(function):
    try:
        return list(inspect.signature(function).parameters.items())
    except (TypeError, ValueError):  # a class or builtin without a signature
        return None


def differences(ours, theirs):
    """The parameters that differ: missing, in another place, or with a different default."""
    ours, theirs = parameters(ours), parameters(theirs)
    if ours is None or theirs is None:
        return []
    if [n for n, _ in ours] != [n for n, _ in theirs]:
        return [f"{[n for n, _ in ours]} instead of {[n for n, _ in theirs]}"]
    return [
        f"{name}={a.default} instead of {b.default}"
        for (name, a), (_, b) in zip(ours, theirs, strict=True)
        if not same(a.default, b.default)
    ]


def same(a, b):
    # Each library has its own functions, initializers and sentinels: their kind is compared.
    if a is b or (callable(a) and callable(b)):
        return True
    if "Sentinel" in type(b).__name__:
        return type(a).__name__ in ("_Unspecified", "object")
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        return {**a} == {**b}
    return (type(a) is type(b) and a == b) or repr(a) == repr(b)


@pytest.mark.parametrize(
    ("name", "ours", "theirs"), [pytest.param(*e, id=e[0]) for e in shared_names()]
)
def test_parameters_and_defaults(name, ours, theirs):
    found = differences(ours, theirs)
    assert bool(found) == (name in LISTED), found


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("name", "ours", "theirs"), [pytest.param(*e, id=e[0]) for e in helper_names()]
)
def test_parameters_of_helpers(name, ours, theirs):
    assert ours is not None
    found = differences(ours, theirs)
    if not found and parameters(ours) and parameters(theirs) and kinds(ours) != kinds(theirs):
        found = [f"{kinds(ours)} instead of {kinds(theirs)}"]
    assert bool(found) == (name in LISTED), found


def test_every_name_that_is_listed_is_compared():
    compared = [*shared_names(), *helper_names()]
    assert {name for name, _, _ in compared} >= LISTED


def test_most_names_are_compared():
    assert len(list(shared_names())) > 120


def test_every_error_that_modules_raise_is_there():
    theirs = {
        name
        for name, value in vars(flax.errors).items()
        if inspect.isclass(value) and issubclass(value, Exception)
    }
    missing = {name for name in theirs if not hasattr(errors, name)}
    assert missing == listed.names("omitted", "errors")
