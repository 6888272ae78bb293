"""Rules from logical names to mesh axes."""

import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from linnet.module_core import linen as nn
from linnet.module_core.errors import ArgumentError, ArgumentTypeError

RULES = (
    ("batch", "data"),
    ("embed", None),
    ("mlp", "model"),
    ("heads", "model"),
    ("both", ("data", "model")),
    ("heads", "data"),
)


def axes(names, rules=RULES):
    spec = nn.logical_to_mesh_axes(names, rules)
    assert spec is not None
    return tuple(spec)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("batch", "embed", "mlp"), ("data", None, "model")),
        (("mlp", "heads"), ("model", "data")),  # "model" is taken; a later rule applies
        (("heads", "mlp"), ("data", "model")),  # in the order of the rules, not of the names
        (("batch", "both"), ("data", None)),  # one of its axes is taken
        (("both",), (("data", "model"),)),
        (("unknown", None), (None, None)),
        (["batch", "mlp"], ("data", "model")),
        ((PartitionSpec.UNCONSTRAINED, "mlp"), (PartitionSpec.UNCONSTRAINED, "model")),
        ((), ()),
    ],
)
def test_rules_translate_names(names, expected):
    assert axes(names) == expected


def test_nothing_is_said_of_nothing():
    assert nn.logical_to_mesh_axes(None, RULES) is None
    assert axes(("batch",), ()) == (None,)
    assert axes(("batch",), None) == (None,)


def test_a_name_occurs_once():
    with pytest.raises(ArgumentError, match="'mlp' occurs more than once"):
        axes(("mlp", None, "mlp", None))


@pytest.mark.parametrize("names", ["batch", 3, (3,), (("batch", "mlp"),), {"batch": 1}])
def test_anything_but_a_name_raises_an_error(names):
    with pytest.raises(ArgumentTypeError, match="string or None for each axis"):
        axes(names)


@pytest.mark.parametrize(
    "rules",
    ["ab", {"a": "data"}, 3, [("a",)], [3], ["ab"], [(3, "data")], [("a", 3)], [("a", (3,))]],
)
def test_anything_but_a_rule_raises_an_error(rules):
    with pytest.raises(ArgumentError, match="rule"):
        axes(("a",), rules)
    with pytest.raises(ArgumentError, match="rule"), nn.logical_axis_rules(rules):
        pass
    with pytest.raises(ArgumentError, match="rule"):
        nn.set_logical_axis_rules(rules)
    assert nn.get_logical_axis_rules() == ()


mesh_axes = st.sampled_from(["x", "y", None, ("x", "y"), "z"])
rule_lists = st.lists(st.tuples(st.sampled_from("abcd"), mesh_axes), max_size=6)
name_lists = st.lists(st.sampled_from([*"abcde"]), unique=True, max_size=4)


def parts(entry):
    return entry if isinstance(entry, tuple) else () if entry is None else (entry,)


@given(name_lists, rule_lists)
def test_a_mesh_axis_is_given_away_once_and_never_withheld(names, rules):
    result = dict(zip(names, axes(tuple(names), rules), strict=True))
    used = [axis for entry in result.values() for axis in parts(entry)]
    assert len(used) == len(set(used))
    for name, entry in result.items():
        own = [mesh for logical, mesh in rules if logical == name]
        if entry is not None:
            assert entry in own
        elif None not in own:
            assert all(set(parts(mesh)) & set(used) for mesh in own)


def test_rules_hold_within_their_block_and_thread():
    with nn.logical_axis_rules(RULES):
        assert axes(("batch",), None) == ("data",)
        with nn.logical_axis_rules([("batch", "model")]):
            assert axes(("batch",), None) == ("model",)
        assert nn.get_logical_axis_rules() is RULES
        elsewhere = []
        thread = threading.Thread(target=lambda: elsewhere.append(nn.get_logical_axis_rules()))
        thread.start()
        thread.join()
        assert elsewhere == [()]
        with pytest.raises(KeyError), nn.logical_axis_rules(()):
            raise KeyError
        assert nn.get_logical_axis_rules() is RULES
        nn.set_logical_axis_rules(RULES[:1])
        assert nn.get_logical_axis_rules() == RULES[:1]
    assert nn.get_logical_axis_rules() == ()


def test_trees_of_specs():
    mesh = Mesh(np.array(jax.devices()[:1]).reshape(1, 1), ("data", "model"))
    tree = {
        "box": nn.LogicallyPartitioned(jnp.ones((2, 3)), ("batch", "mlp")),
        "array": jnp.ones(2),
        "number": 1,
    }
    specs = nn.logical_to_mesh(nn.get_partition_spec(tree), RULES)
    assert tuple(specs["box"]) == ("data", "model")
    assert tuple(specs["array"]) == ()
    assert specs["number"] is None
    shardings = nn.logical_to_mesh_sharding(nn.get_partition_spec(tree), mesh, RULES)
    assert shardings["box"] == NamedSharding(mesh, specs["box"])
    assert shardings["array"] == NamedSharding(mesh, specs["array"])
    assert shardings["number"] is None
    with pytest.raises(ArgumentError, match="no axis 'rows'"):
        nn.logical_to_mesh_sharding(specs["box"], mesh, [("data", "rows")])
    with pytest.raises(ArgumentTypeError, match="for each axis, got 'batch'"):
        nn.logical_to_mesh({"a": ("batch", "mlp")}, RULES)


def test_constraints_leave_arrays_alone_where_there_is_no_mesh():
    x = jnp.ones((2, 3))
    with nn.logical_axis_rules(RULES):
        assert nn.with_logical_constraint(x, ("batch", "mlp")) is x
        assert nn.LogicallyPartitioned(x, ("batch", "mlp")).unbox() is x
    assert nn.with_logical_constraint(x, ("batch", "mlp")) is x
    assert nn.Partitioned(x, ("data", "nowhere")).unbox() is x


def test_names_without_a_rule():
    x = jnp.ones((2, 3))
    strict = nn.RulesFallback.RAISE_ERROR
    for names in (("unknown", "mlp"), ("both", "mlp")):
        with pytest.raises(ArgumentError, match="did not match a rule"):
            nn.with_logical_constraint(x, names, RULES, fallback=strict)
    assert nn.with_logical_constraint(x, ("embed", None), RULES, fallback=strict) is x
    assert nn.with_logical_constraint(x, ("unknown", None), (), fallback=strict) is x
