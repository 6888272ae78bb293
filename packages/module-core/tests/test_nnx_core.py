"""nnx's variables, states, structures and streams of keys."""

import copy
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from linnet.module_core import errors, nnx


class Linear(nnx.Module):
    def __init__(self, din, dout, *, rngs):
        self.kernel = nnx.Param(rngs.params.normal((din, dout)))
        self.bias = nnx.Param(jnp.zeros(dout))
        self.din = din

    def __call__(self, x):
        return x @ self.kernel + self.bias


class Block(nnx.Module):
    def __init__(self, rngs):
        self.first = Linear(2, 3, rngs=rngs)
        self.rest = [Linear(3, 3, rngs=rngs), jnp.tanh, self.first]
        self.table = jnp.arange(3.0)
        self.deterministic = False

    def __call__(self, x):
        self.sow(nnx.Intermediate, "seen", x)
        return self.rest[0](self.first(x)) + self.table


class TestVariable:
    def test_value_is_read_and_written_in_all_forms(self):
        v = nnx.Param(jnp.zeros(3), unit="volt")
        v[...] = jnp.ones(3)
        v.value = v.value + 1
        v[0] = 5.0
        assert v[...].tolist() == v.value.tolist() == v.get_value().tolist() == [5.0, 2.0, 2.0]
        assert v.unit == "volt"
        assert v.shape == (3,)

    def test_operators_return_arrays(self):
        v = nnx.Param(jnp.array([1.0, 2.0]))
        for got, expected in [(v + v, [2, 4]), (2 - v, [1, 0]), (-v, [-1, -2]), (v**2, [1, 4])]:
            assert isinstance(got, jax.Array)
            np.testing.assert_array_equal(got, expected)
        assert (v == jnp.array([1.0, 3.0])).tolist() == [True, False]

    def test_in_place_operators_raise_an_error(self):
        v = nnx.Param(jnp.ones(2))
        with pytest.raises(NotImplementedError, match=r"variable\[\.\.\.\] \+= x"):
            v += 1

    def test_unknown_attributes_raise_an_error(self):
        v = nnx.Param(jnp.ones(2), unit="volt")
        with pytest.raises(AttributeError, match="unit"):
            _ = v.units
        with pytest.raises(AttributeError, match="set_metadata"):
            v.units = "ampere"

    def test_hooks_run_when_they_say(self):
        v = nnx.Param(
            1.0,
            on_create_value=lambda _, x: x + 1,
            on_set_value=lambda _, x: x * 10,
            on_get_value=lambda _, x: -x,
        )
        assert v.raw_value == 2.0
        v.value = 3.0
        assert v.raw_value == 30.0
        assert v.value == -30.0

    def test_hooks_see_the_part_that_is_read_or_written(self):
        v = nnx.Param(
            jnp.ones(2), on_set_value=lambda _, x: x + 1, on_get_value=lambda _, x: x * 10
        )
        assert float(v[0]) == 10.0
        v[0] = 5.0
        assert v.raw_value.tolist() == [6.0, 1.0]
        v.set_value(jnp.zeros(1), index=slice(1, 2))
        assert v.raw_value.tolist() == [6.0, 1.0]
        assert v.get_value(index=1) == 10.0

    def test_a_subclass_makes_the_value_to_start_with(self):
        class Doubled(nnx.Param):
            def create_value(self, value):
                return 2 * super().create_value(value)

        assert Doubled(3.0).raw_value == 6.0
        assert Doubled(3.0, on_create_value=lambda _, x: x + 1).raw_value == 8.0
        assert jax.tree.map(lambda x: x, Doubled(3.0)).raw_value == 6.0

    def test_copies_are_other_places(self):
        v = nnx.Param(jnp.ones(2), unit="volt")
        for other in (v.copy(), copy.deepcopy(v), pickle.loads(pickle.dumps(v))):
            assert type(other) is other.var_type is nnx.Param
            assert other.unit == "volt"
            other.value = jnp.zeros(2)
        assert v.value.tolist() == [1.0, 1.0]

    def test_names_of_types(self):
        assert nnx.variable_name_from_type(nnx.BatchStat) == "batch_stats"
        assert nnx.variable_type_from_name("params") is nnx.Param
        with pytest.raises(ValueError, match="not registered"):
            nnx.variable_type_from_name("nowhere")


class TestStructure:
    def test_items_of_a_marked_container_speak_for_themselves(self):
        module = nnx.Dict()
        module.layers = nnx.data([nnx.Param(jnp.ones(2)), jnp.tanh, 3, "relu", jnp.zeros(1)])
        module.scale = nnx.data(2.0)
        paths = nnx.to_flat_state(nnx.state(module)).paths
        assert paths == (("layers", 0), ("layers", 4), ("scale",))

        @nnx.jit
        def call(module):
            param, function, power, _, _ = module.layers
            return function(param[...]) ** range(power + 1)[-1]

        np.testing.assert_allclose(call(module), np.tanh(1.0) ** 3, rtol=1e-6)

    def test_paths_of_jax_name_attributes_and_number_items(self):
        model = nnx.Dict(items=nnx.List([nnx.Param(1.0), jnp.ones(2)]))
        paths = [path for path, _ in jax.tree_util.tree_leaves_with_path(model)]
        assert [jax.tree_util.keystr(p) for p in paths] == [".items[0].value", ".items[1]"]

    def test_split_and_merge_keep_variables_and_sharing(self):
        block = Block(nnx.Rngs(0))
        graphdef, params, rest = nnx.split(block, nnx.Param, ...)
        merged = nnx.merge(graphdef, params, rest)
        assert merged.first is merged.rest[2]
        assert merged.first.kernel is block.first.kernel
        assert nnx.merge(graphdef, params, rest, copy=True).first.kernel is not block.first.kernel
        assert nnx.to_flat_state(params).paths == (
            ("first", "bias"),
            ("first", "kernel"),
            ("rest", 0, "bias"),
            ("rest", 0, "kernel"),
        )
        assert nnx.to_flat_state(rest).paths == (("table",),)

    @pytest.mark.parametrize("owner", [list, tuple, nnx.List])
    def test_plain_values_next_to_variables_are_static(self, owner):
        variable, array = nnx.Param(1.0), jnp.ones(2)
        node = owner([1, variable, 2.0, array, "name", owner([3])])
        graphdef, state = nnx.split(node)
        assert dict(nnx.to_flat_state(state)) == {(1,): variable, (3,): array}
        assert nnx.merge(graphdef, state)[0] == 1
        assert graphdef != nnx.graphdef(owner([2, variable, 2.0, array, "name", owner([3])]))
        assert nnx.state(5) == 5, "alone it is the data"

    def test_what_an_attribute_holds_decides_whether_it_is_data(self):
        module = nnx.Module()
        module.held = None
        assert not nnx.state(module)
        for value in (nnx.Param(1.0), [nnx.Param(1.0)], {"a": jnp.ones(1)}, (jnp.ones(1),)):
            module.held = value
            assert len(jax.tree.leaves(nnx.state(module))) == 1
        module.held = 3
        assert not nnx.state(module)

    def test_a_state_from_jit_puts_no_arrays_in_place_of_plain_values(self):
        node = {"a": 1, "w": nnx.Param(jnp.ones(2))}
        graphdef, state = nnx.split(node)
        new = jax.jit(lambda s: nnx.state(nnx.merge(graphdef, jax.tree.map(jnp.add, s, s))))(state)
        nnx.update(node, new)
        assert type(node["a"]) is int
        np.testing.assert_array_equal(node["w"][...], [2, 2])

    def test_structures_of_equal_modules_are_equal(self):
        a, b = Block(nnx.Rngs(0)), Block(nnx.Rngs(1))
        assert nnx.graphdef(a) == nnx.graphdef(b)
        b.deterministic = True
        assert nnx.graphdef(a) != nnx.graphdef(b)
        b.deterministic = 0
        assert nnx.graphdef(a) != nnx.graphdef(b), "0 is not False"

    def test_filters_must_be_exhaustive_in_split(self):
        with pytest.raises(ValueError, match="no filter takes.*table"):
            nnx.split(Block(nnx.Rngs(0)), nnx.Param)
        with pytest.raises(ValueError, match="in the last place"):
            nnx.state(Block(nnx.Rngs(0)), ..., nnx.Param)

    def test_merge_names_what_is_missing(self):
        graphdef, _, rest = nnx.split(Block(nnx.Rngs(0)), nnx.Param, ...)
        with pytest.raises(ValueError, match=r"1 leaf, the GraphDef 5.*first/bias"):
            nnx.merge(graphdef, rest)

    def test_update_keeps_identity(self):
        block = Block(nnx.Rngs(0))
        kernel = block.first.kernel
        nnx.update(block, {"first": {"kernel": jnp.ones((2, 3))}, "table": jnp.ones(3)})
        assert block.first.kernel is kernel
        assert float(kernel.value.sum()) == 6.0
        assert block.table.tolist() == [1.0, 1.0, 1.0]
        with pytest.raises(ValueError, match="Expected a subgraph for 'first'"):
            nnx.update(block, {"first": jnp.ones(2)})

    def test_pop_removes(self):
        block = Block(nnx.Rngs(0))
        block(jnp.ones((1, 2)))
        found = nnx.pop(block, nnx.Intermediate)
        assert nnx.to_flat_state(found).paths == (("seen",),)
        assert not hasattr(block, "seen")

    def test_clone_shares_nothing(self):
        block = Block(nnx.Rngs(0))
        other = nnx.clone(block)
        assert other.first is other.rest[2]
        assert other.first.kernel is not block.first.kernel
        assert other.first.kernel.value is not block.first.kernel.value
        np.testing.assert_array_equal(other.first.kernel.value, block.first.kernel.value)

    def test_pytree_round_trip(self):
        block = Block(nnx.Rngs(0))
        doubled = jax.tree.map(lambda x: x * 2, block)
        np.testing.assert_array_equal(doubled.first.kernel.value, block.first.kernel.value * 2)
        assert doubled.rest[1] is jnp.tanh
        assert pickle.loads(pickle.dumps(Linear(1, 1, rngs=nnx.Rngs(0)))).din == 1

    def test_duplicates_are_found(self):
        assert nnx.find_duplicates(Block(nnx.Rngs(0))) == [[("first",), ("rest", 2)]]

    def test_capture_leaves_nothing_behind(self):
        block = Block(nnx.Rngs(0))
        out, seen = nnx.capture(block, nnx.Intermediate)(jnp.ones((1, 2)))
        assert out.shape == (1, 3)
        assert seen["seen"].value[0].shape == (1, 2)
        assert not hasattr(block, "seen")

    def test_attributes_are_set_below(self):
        block = Block(nnx.Rngs(0))
        block.eval()
        assert block.deterministic is True
        with pytest.raises(ValueError, match="nowhere"):
            block.set_attributes(nowhere=1)


class TestRngs:
    def test_draws_fold_in_the_count(self):
        rngs = nnx.Rngs(0, dropout=1)
        base = jax.random.key(0)
        assert rngs.params() == jax.random.fold_in(base, 0)
        assert rngs() == jax.random.fold_in(base, 1)
        assert rngs.dropout() == jax.random.fold_in(jax.random.key(1), 0)
        assert list(rngs) == ["dropout", "default"]

    def test_missing_streams_are_named(self):
        with pytest.raises(AttributeError, match=r"No RngStream named 'noise'.*'params'"):
            nnx.Rngs(params=0).noise()
        with pytest.raises(KeyError, match="noise"):
            nnx.Rngs(params=0)["noise"]
        with pytest.raises(ValueError, match="Invalid rng value"):
            nnx.Rngs("0")

    def test_fork_and_split(self):
        rngs, same = nnx.Rngs(0), nnx.Rngs(0)
        forked = rngs.fork()
        assert forked.default.key.value == same()
        split = nnx.Rngs(0).split(3)
        assert split.default.key.value.shape == split.default.count.value.shape == (3,)


class TestErrors:
    def test_writing_across_traces_names_the_variable_and_the_way_out(self):
        v = nnx.Param(jnp.ones(2))

        @jax.jit
        def leak(x):
            v.value = x
            return x

        with pytest.raises(errors.TraceContextError, match=r"(?s)'Param'.*test_nnx_core.*nnx\.jit"):
            leak(jnp.zeros(2))
        assert v.value.tolist() == [1.0, 1.0]


def test_the_truth_of_an_array_is_whether_it_has_rows():
    """Programs write `if self.bias:`, even when the numbers are traced."""
    assert nnx.Param(jnp.zeros(3))
    assert nnx.Param(jnp.zeros(1))
    assert not nnx.Param(jnp.zeros(0))
    assert jax.eval_shape(lambda v: v if v else 0.0, nnx.Param(jnp.zeros((1, 2)))).shape == (1, 2)
    assert [bool(nnx.Variable(x)) for x in (jnp.ones(()), 0, None, [], {"a": 1})] == [
        True,
        *[False] * 3,
        True,
    ]


def test_numpy_leaves_operators_to_variables_of_traced_values():
    x = np.ones((2, 3), np.float32)

    def f(kernel):
        return jnp.sum(x @ nnx.Param(kernel) + np.float32(1) * nnx.Param(kernel)[0])

    np.testing.assert_array_equal(jax.grad(f)(jnp.ones((3, 1))), [[4], [2], [2]])
    assert isinstance(x @ nnx.Param(jnp.ones((3, 1))), jax.Array)


def test_a_variable_without_metadata_has_none_that_could_be_edited():
    one = nnx.Param(1.0)
    with pytest.raises(TypeError):
        one._metadata["unit"] = "m"
    assert copy.deepcopy(one).get_metadata() == pickle.loads(pickle.dumps(one)).get_metadata() == {}
