"""What `graph=None` and `graph_updates=None` mean: modes that are set."""

import threading

import jax.numpy as jnp
import pytest

from linnet.module_core import nnx
from linnet.module_core.errors import ArgumentError, ArgumentTypeError

graph_mode, graph_updates = nnx.set_graph_mode, nnx.set_graph_updates


@pytest.fixture
def shared():
    weight = nnx.Param(jnp.ones(2))
    return nnx.Dict(a=weight, b=weight)


@pytest.mark.parametrize("mode", [graph_mode, graph_updates])
class TestSetting:
    def test_a_block_sets_it_and_sets_it_back(self, mode):
        with mode(False):
            assert mode.current_value() is False
            with mode(True):
                assert mode.current_value() is True
            assert mode.current_value() is False
        with pytest.raises(KeyError), mode(False):
            raise KeyError
        assert mode.current_value() is True

    def test_a_call_sets_it_until_the_next(self, mode):
        mode(False)
        assert mode.current_value() is False
        mode(True)
        assert mode.current_value() is True

    def test_a_decorated_function_runs_in_it(self, mode):
        @mode(False)
        def inner():
            return mode.current_value()

        assert mode.current_value() is True
        assert inner() is False
        assert mode.current_value() is True
        assert inner.__name__ == "inner"

    def test_other_threads_have_their_own(self, mode):
        seen = []
        with mode(False):
            thread = threading.Thread(target=lambda: seen.append(mode.current_value()))
            thread.start()
            thread.join()
        assert seen == [True]

    def test_only_flags_are_modes(self, mode):
        with pytest.raises(ArgumentTypeError, match="takes True or False, got 'tree'"):
            mode("tree")
        assert mode.current_value() is True


FUNCTIONS = {
    "split": nnx.split,
    "state": nnx.state,
    "graphdef": nnx.graphdef,
    "clone": nnx.clone,
    "iter_graph": lambda x: list(nnx.iter_graph(x)),
    "iter_modules": lambda x: list(nnx.iter_modules(x)),
    "map": lambda x: nnx.map(lambda path, leaf: leaf, x),
    "recursive_map": lambda x: nnx.recursive_map(lambda path, value: value, x),
    "set_metadata": lambda x: nnx.set_metadata(x, unit="volt"),
    "view": nnx.view,
    "eval_shape": lambda x: nnx.eval_shape(lambda y: y, x),
    "jit": lambda x: nnx.jit(lambda y: y.a * 2)(x),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_tree_mode_raises_an_error_for_shared_objects(name, shared):
    FUNCTIONS[name](shared)
    with graph_mode(False), pytest.raises(ArgumentError, match="Duplicate found"):
        FUNCTIONS[name](shared)


def test_a_call_s_own_argument_takes_precedence(shared):
    with graph_mode(False):
        assert nnx.clone(shared, graph=True).a is not shared.a
    with pytest.raises(ArgumentError, match="Pass graph=True"):
        nnx.clone(shared, graph=False)


def test_a_transform_has_the_mode_that_it_is_made_in(shared):
    def double(x):
        return x.a * 2

    in_graph_mode = nnx.jit(double)
    with graph_mode(False):
        in_tree_mode = nnx.jit(double)
        assert in_graph_mode(shared).tolist() == [2.0, 2.0]
    with pytest.raises(ArgumentError, match="Duplicate found|does not allow"):
        in_tree_mode(shared)


def test_updates_of_structure_reach_the_caller_only_where_they_are_asked_for():
    def add(module):
        module.new = nnx.Param(jnp.ones(1))

    module = nnx.Dict(a=nnx.Param(jnp.zeros(1)))
    with graph_updates(False):
        nnx.jit(add)(module)
    assert list(module) == ["a"]
    nnx.jit(add)(module)
    assert list(module) == ["a", "new"]


class TestVarDefaults:
    def test_they_are_a_mapping_with_attributes(self):
        defaults = nnx.var_defaults()
        assert dict(defaults) == {"hijax": False, "ref": False}
        assert not defaults.hijax
        assert not defaults["ref"]
        assert list(defaults.items()) == [("hijax", False), ("ref", False)]
        assert defaults.get("mutable") is None
        with nnx.var_defaults(hijax=False, ref=False):
            assert nnx.Param(1.0).hijax is False

    @pytest.mark.parametrize("name", ["hijax", "ref"])
    def test_other_kinds_of_variables_raise_an_error(self, name):
        with pytest.raises(ArgumentError, match=f"{name}=True"):
            nnx.var_defaults(**{name: True})
        with pytest.raises(ArgumentError, match=f"{name}=True"):
            nnx.Param(1.0, **{name: True})
        with pytest.raises(ArgumentError, match=f"{name}=True"):
            nnx.Param(nnx.with_metadata(lambda: 1.0, **{name: True})())
        variable = nnx.Param(1.0, **{name: False}, tag="kept")
        assert variable.get_metadata() == {"tag": "kept"}
        assert nnx.Param(1.0, **{name: None}).get_metadata() == {}
