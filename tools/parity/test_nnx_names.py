"""Every name that a program finds in `flax.nnx`, and whether it is here, with the same parameters.

What is left out, and what has other parameters, has its reason below; so has what is here and not
in Flax. A reason that no longer applies fails a test.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from flax import nnx as theirs

from linnet import nnx as ours

DIFFERENCES = (Path(__file__).parents[2] / "docs" / "differences.md").read_text()

INSIDE = "part of how Flax does it"
TREE_MODE = "tree mode: modules are graphs here, and graph=False is asked for call by call"
REFERENCES = "mutable-array references and hijax variables are left out"
VARIABLE_DEFAULTS = "defaults of Flax's kinds of variables, of which there is one here"

OMITTED = {
    "check_pytree": "containers may hold modules and arrays without being declared",
    "current_update_context": INSIDE,
    "flatten": INSIDE,
    "unflatten": INSIDE,
    "unpack": INSIDE,
    "from_tree": INSIDE,
    "to_tree": INSIDE,
    "prefix": INSIDE,
    "GraphState": "an alias of types: State",
    "NodeStates": INSIDE,
    "PureState": "an alias of types: a dict of arrays",
    "set_graph_mode": TREE_MODE,
    "set_graph_updates": TREE_MODE,
    "var_defaults": VARIABLE_DEFAULTS,
}

NAMESPACES = {
    "deprecations": INSIDE,
    "extract": INSIDE,
    "proxy_caller": INSIDE,
    "reprlib": INSIDE,
    "tracers": INSIDE,
}

OWN = {
    "MetricState": "in Flax, in nnx.metrics",
    "PathIn": "in Flax, in nnx.filterlib",
    "StreamBackups": "what split_rngs keeps; in Flax, nnx.rnglib.SplitBackups",
    "backup_keys": "in Flax, in nnx.rnglib",
    "checkpoint": "jax's other name of remat",
    "diff": "in Flax, in nnx.statelib",
    "first_from": "in Flax, in nnx.module",
    "get_logical_axis_rules": "linen's, as the rules are shared",
    "get_var_pspec": "in Flax, in nnx.spmd",
    "set_logical_axis_rules": "linen's, as the rules are shared",
    "MGUCell": "linen's, as an nnx layer",
    "ConvLSTMCell": "linen's, as an nnx layer",
}

MADE = "made by Linnet, not by programs"
NO_REFERENCES = "hijax and ref: " + REFERENCES
PRIVATE = "Flax's extra parameter is private"

DIFFERENT = {
    "GraphDef.__init__": MADE,
    "MergeContext.__init__": MADE,
    "SplitContext.__init__": MADE,
    "UpdateContext.__init__": MADE,
    "Dict.__init__": "the mapping has its name, and goes by position alone in both",
    "Variable.__init__": NO_REFERENCES,
    "Variable.copy": PRIVATE,
    "Module.sow": "the empty tuple that it starts from is made by tuple itself",
    "MergeContext.merge": "its first argument may go by name",
    "Metric.__init__": "arguments of subclasses go through it",
    "MultiHeadAttention.__init__": "implementation is Linnet's own",
    "MultiMetric.update": "the mask has its name",
    "SpectralNorm.__call__": "keywords of the wrapped layer go through it",
    "State.__init__": "an empty state needs no argument",
    "Variable.set_raw_value": PRIVATE,
    "Variable.get_metadata": NO_REFERENCES + ", so there is no required metadata",
    "checkify": "jax's default set of errors is looked up when it is called",
    "dataclass": "options are handed on to dataclasses.dataclass; eq is False by default",
    "dot_product_attention": "query_offset and implementation are Linnet's own",
    "jit_partial": "options are those of jit",
    "shard_map": "mesh may be left out where one is set",
}


def public(module: ModuleType) -> dict[str, Any]:
    return {name: getattr(module, name) for name in dir(module) if not name.startswith("_")}


def is_namespace(value: Any) -> bool:
    return inspect.ismodule(value)


def names(module: ModuleType) -> set[str]:
    """Public names but modules and type variables."""
    return {
        name
        for name, value in public(module).items()
        if not is_namespace(value) and not isinstance(value, typing.TypeVar)
    }


def test_what_is_missing_has_a_reason() -> None:
    assert names(theirs) - names(ours) == set(OMITTED)
    unsaid = [name for name in (*OMITTED, *NAMESPACES) if f"`{name}`" not in DIFFERENCES]
    assert not unsaid


def test_what_flax_does_not_have_has_a_reason() -> None:
    assert names(ours) - names(theirs) == set(OWN)


def test_namespaces() -> None:
    mine = {name for name, value in public(ours).items() if is_namespace(value)}
    other = {name for name, value in public(theirs).items() if is_namespace(value)}
    assert other - mine == set(NAMESPACES)
    assert mine - other == set()


def test_all_that_the_public_namespaces_hold() -> None:
    """Those that programs use; what Flax's files import for themselves is not counted."""
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
def test_what_programs_import_from_the_modules_of_layers(name: str) -> None:
    missing = names(getattr(theirs.nn, name)) - names(getattr(ours.nn, name)) - PYTHON_S
    assert missing == OF_LAYERS.get(name, set())


# Signatures.


def functions() -> Iterator[tuple[str, Any, Any]]:
    """Functions, constructors and methods that both have; each method where it is defined."""
    seen: set[int] = set()
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


def parameters(function: Any) -> list[tuple[str, Any, str]] | None:
    """Name, kind and default of each parameter; no name where it goes by position alone."""
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


SENTINELS = ("Missing", "object")


def text(default: Any) -> str:
    """A default, but for what each library makes anew: functions, sentinels, empty mappings."""
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
def test_parameters(name: str, mine: Any, other: Any) -> None:
    a, b = parameters(mine), parameters(other)
    assert a is not None or b is None
    assert (b is None or a == b) == (name not in DIFFERENT), (a, b)


def test_most_names_are_compared() -> None:
    compared = {name for name, _, _ in FUNCTIONS}
    assert len(compared) > 150
    assert compared >= set(DIFFERENT)


def test_streams_draw_from_every_distribution() -> None:
    mine, other = ours.Rngs(0), theirs.Rngs(0)
    for name in dir(other):
        if not name.startswith("_"):
            assert hasattr(mine, name), name
            assert hasattr(mine.default, name) or not hasattr(other.default, name), name


METHODS = {
    "GraphDef": "attributes nodes with_matching_outer_index with_no_outer_index "
    "with_same_outer_index",
    "Variable": "required_metadata var_type",
}


@pytest.mark.parametrize(
    "name", ["Module", "Pytree", "Variable", "Param", "State", "FlatState", "GraphDef", "List"]
)
def test_attributes_of_classes(name: str) -> None:
    mine, other = getattr(ours, name), getattr(theirs, name)
    missing = {n for n in dir(other) if not n.startswith("_") and not hasattr(mine, n)}
    missing -= {"shape"}  # of a variable, looked up on its value
    family = "Variable" if issubclass(other, theirs.Variable) else name
    assert missing == set(METHODS.get(family, "").split())
