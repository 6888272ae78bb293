"""Every name that programs find in `flax.nnx`, and whether Linnet has it with the same parameters.

Each name that is left out, has different parameters, or exists only in Linnet has a reason in
differences.toml. A reason that no longer applies fails a test.
"""

import inspect
import typing
from collections.abc import Mapping

import pytest
from flax import nnx as theirs

import differences
from linnet import nnx as ours

OMITTED = differences.names("omitted", "nnx")
NAMESPACES = differences.names("omitted", "nnx (namespaces)")
OWN = differences.names("own", "nnx")
DIFFERENT = differences.names("parameters", "nnx")


def public(module):
    return {name: getattr(module, name) for name in dir(module) if not name.startswith("_")}


def is_namespace(value):
    return inspect.ismodule(value)


def names(module):
    """Public names except modules and type variables."""
    return {
        name
        for name, value in public(module).items()
        if not is_namespace(value) and not isinstance(value, typing.TypeVar)
    }


def test_what_is_missing_has_a_reason():
    assert names(theirs) - names(ours) == OMITTED


def test_what_flax_does_not_have_has_a_reason():
    assert names(ours) - names(theirs) == OWN


def test_namespaces():
    mine = {name for name, value in public(ours).items() if is_namespace(value)}
    other = {name for name, value in public(theirs).items() if is_namespace(value)}
    # `ids` is an attribute only once something has imported it, such as the docstrings' examples.
    assert other - mine - {"ids"} == NAMESPACES
    assert mine - other == set()


def test_all_that_the_public_namespaces_hold():
    """The names that programs use; names that Flax's files import for their own use don't count."""
    for name in ["compat", "filterlib", "initializers", "metrics", "statelib", "traversals"]:
        mine, other = getattr(ours, name), getattr(theirs, name)
        missing = {
            n
            for n in names(other) - names(mine)
            if getattr(getattr(other, n), "__module__", "").startswith(other.__name__)
        }
        assert missing <= {"NestedStateRepr"}, name


PYTHON_S = {"Any", "Callable", "Mapping", "MappingProxyType", "Protocol", "Sequence", "TypeVar"}
PYTHON_S |= {"annotations", "partial"}
OF_LAYERS = {
    "initializers": {"DtypeLikeInexact"},  # annotations of Flax's own
    "linear": {"FrozenDict", "Size"},
    "lora": {"Size"},
    "recurrent": {"Carry", "Output", "RNNBase", "modified_orthogonal"},
}


@pytest.mark.parametrize("name", [n for n in dir(theirs.nn) if not n.startswith("_")])
def test_what_programs_import_from_the_modules_of_layers(name):
    missing = names(getattr(theirs.nn, name)) - names(getattr(ours.nn, name)) - PYTHON_S
    assert missing == OF_LAYERS.get(name, set())


# Signatures.


def functions():
    """Functions, constructors and methods of both libraries; each method where it is defined."""
    seen = set()
    for name in sorted(names(ours) & names(theirs)):
        mine, other = getattr(ours, name), getattr(theirs, name)
        if not isinstance(other, type):
            if callable(other):
                yield name, mine, other
            continue
        for cls in other.__mro__:
            for method, value in vars(cls).items():
                special = method in ("__init__", "__call__")
                if (method.startswith("_") and not special) or not callable(value):
                    continue
                if not cls.__module__.startswith("flax.nnx") or id(value) in seen:
                    continue
                seen.add(id(value))
                home = cls.__name__ if cls.__name__ in names(ours) else name
                if hasattr(mine, method):
                    yield f"{home}.{method}", getattr(mine, method), getattr(other, method)


def parameters(function):
    """Name, kind and default of each parameter; no name if it is positional-only."""
    try:
        found = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return None
    starred = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    nameless = (inspect.Parameter.POSITIONAL_ONLY, *starred)
    return [
        ("" if p.kind in nameless or p.name == "self" else p.name, p.kind, text(p.default))
        for p in found
    ]


SENTINELS = ("Missing", "_HAS_DEFAULT_FACTORY_CLASS", "object")


def text(default):
    """A default, except what each library creates itself: functions, sentinels, empty mappings."""
    if default is inspect.Parameter.empty:
        return "required"
    if default is None or type(default).__name__ in SENTINELS:
        return "None"
    if isinstance(default, type):
        return "None" if default.__name__ in SENTINELS else "a class"
    if callable(default):
        return "a function"
    if isinstance(default, Mapping):
        return repr(dict(default))
    if isinstance(default, tuple):
        return f"({', '.join(map(text, default))})"
    return repr(default)


FUNCTIONS = list(functions())


@pytest.mark.parametrize(("name", "mine", "other"), [pytest.param(*f, id=f[0]) for f in FUNCTIONS])
def test_parameters(name, mine, other):
    a, b = parameters(mine), parameters(other)
    assert a is not None or b is None
    assert (b is None or a == b) == (name not in DIFFERENT), (a, b)


def test_most_names_are_compared():
    compared = {name for name, _, _ in FUNCTIONS}
    assert len(compared) > 150
    assert compared >= DIFFERENT


def test_streams_draw_from_every_distribution():
    mine, other = ours.Rngs(0), theirs.Rngs(0)
    for name in dir(other):
        if not name.startswith("_"):
            assert hasattr(mine, name), name
            assert hasattr(mine.default, name) or not hasattr(other.default, name), name
