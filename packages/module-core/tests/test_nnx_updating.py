"""Update, pop, map and copies: which values reach which object, and which arrays are shared."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from linnet.module_core import nnx
from linnet.module_core.errors import ArgumentError


def buffers(node):
    return {x.unsafe_buffer_pointer() for x in jax.tree.leaves(nnx.pure(nnx.state(node)))}


class TestUpdate:
    def test_a_variable_takes_the_state_that_it_passed(self):
        speed = nnx.BatchStat(jnp.ones(2))
        _, params, stats, rest = nnx.split(speed, nnx.Param, nnx.BatchStat, ...)
        nnx.update(speed, params, nnx.BatchStat(stats[...] * 5), rest)
        assert speed[...].tolist() == [5.0, 5.0]
        nnx.update(speed, jnp.zeros(2))
        assert speed[...].tolist() == [0.0, 0.0]
        with pytest.raises(ArgumentError, match="Expected a value for the BatchStat"):
            nnx.update(speed, nnx.State({"a": 1}))

    def test_what_is_added_is_the_object_s_own(self):
        source = nnx.Dict(new=nnx.Param(jnp.ones(1)), deep=nnx.Dict(x=nnx.Param(jnp.ones(1))))
        model = nnx.Dict(old=nnx.Param(jnp.zeros(1)))
        nnx.update(model, nnx.state(source))
        assert type(model.new) is nnx.Param
        model.new[...] = jnp.zeros(1)
        model.deep["x"][...] = jnp.zeros(1)
        assert source.new[0] == source.deep.x[0] == 1.0

    @pytest.mark.parametrize("key", ["params", "kernal"])
    def test_bare_arrays_are_not_added_to_a_module(self, key):
        class Layer(nnx.Module):
            def __init__(self):
                self.kernel = nnx.Param(jnp.zeros(1))

        layer = Layer()
        with pytest.raises(ArgumentError, match=f"values for {key}, but Layer has no '{key}'"):
            nnx.update(layer, {"kernel": jnp.ones(1), key: {"scale": jnp.ones(1)}})
        assert list(nnx.state(layer)) == ["kernel"]
        assert layer.kernel[0] == 0.0

    def test_lists_grow_at_their_end(self):
        for items in (nnx.List([nnx.Param(1.0)]), [nnx.Param(1.0)]):
            model = nnx.Dict(items_=items)
            nnx.update(model, {"items_": {0: 2.0, 1: nnx.Param(3.0)}})
            assert [x[...] for x in model.items_] == [2.0, 3.0]
            assert len(items) == 2

    def test_tuples_are_made_again(self):
        first = nnx.Param(1.0)
        model = nnx.Dict(pair=(first, jnp.ones(2)))
        nnx.update(model, {"pair": {0: 5.0, 1: jnp.zeros(2)}})
        assert model.pair[0] is first
        assert first[...] == 5.0
        assert model.pair[1].tolist() == [0.0, 0.0]

    def test_an_error_changes_nothing(self):
        model = nnx.Dict(a=nnx.Param(1.0), b=nnx.Dict(c=nnx.Param(1.0)))
        for wrong in ({"a": 2.0, "b": 3.0}, {"a": 2.0, "b": {"c": {"d": 1.0}}}):
            with pytest.raises(ArgumentError, match="Expected a"):
                nnx.update(model, wrong)
            assert model.a[...] == 1.0

    def test_flat_states_do(self):
        model = nnx.Dict(a=nnx.Param(1.0))
        nnx.update(model, nnx.to_flat_state({"a": 2.0}))
        assert model.a[...] == 2.0

    def test_other_shapes_are_warned_of(self):
        model = nnx.Dict(layer=nnx.Dict(kernel=nnx.Param(jnp.ones((8, 3)))))
        text = r"layer/kernel \(8, 3\), now \(8, 4\)"
        with pytest.warns(UserWarning, match=text) as caught:
            nnx.update(model, {"layer": {"kernel": jnp.ones((8, 4))}})
        assert caught[0].filename == __file__

    def test_copies_of_the_same_are_not(self):
        model = nnx.Dict(kernel=nnx.Param(jnp.ones((8, 3))))
        nnx.update(model, {"kernel": jnp.ones((5, 8, 3))})
        assert model.kernel.shape == (5, 8, 3)


class TestPop:
    def test_lists_keep_their_places(self):
        for make in (list, nnx.List):
            seen, weight = nnx.Intermediate(1.0), nnx.Param(2.0)
            model = nnx.Dict(kept=make([seen, weight]))
            popped = nnx.pop(model, nnx.Intermediate)
            assert list(model.kept) == [None, weight]
            assert len(model.kept) == 2
            nnx.update(model, popped)
            assert model.kept[0][...] == 1.0

    def test_tuples_are_made_again(self):
        seen, weight = nnx.Intermediate(1.0), nnx.Param(2.0)
        model = nnx.Dict(pair=((seen, weight), "name"))
        popped = nnx.pop(model, nnx.Intermediate)
        assert popped["pair"][0][0] is seen
        assert model.pair == ((None, weight), "name")

    def test_arrays_are_taken_where_the_filter_says_so(self):
        node = {"a": jnp.array(1), "b": [jnp.array(90), nnx.Param(jnp.array(2))], "c": jnp.array(3)}
        small, rest = nnx.pop(node, lambda path, x: x[...] < 2, lambda path, x: x[...] == 90)
        assert dict(nnx.to_flat_state(small)) == {("a",): 1}
        assert dict(nnx.to_flat_state(rest)) == {("b", 0): 90}
        assert list(node) == ["b", "c"]
        assert node["b"][0] is None

    def test_shared_variables_are_taken_from_everywhere(self):
        shared = nnx.Intermediate(1.0)
        model = nnx.Dict(a=shared, b=nnx.Dict(c=shared))
        assert nnx.to_flat_state(nnx.pop(model, nnx.Intermediate)).paths == (("a",),)
        assert list(model) == ["b"]
        assert not model.b

    @pytest.mark.parametrize(
        "node",
        [nnx.Intermediate(1.0), (nnx.Intermediate(1.0),), 3],
        ids=["bare", "tuple", "number"],
    )
    def test_what_cannot_be_changed_in_place_raises_an_error(self, node):
        with pytest.raises(ArgumentError, match="pop (takes|removes)"):
            nnx.pop(node, nnx.Intermediate)


class TestMap:
    def test_values_become_variables_or_stay(self):
        shared = nnx.Param(jnp.ones(2))
        model = nnx.Dict(a=shared, b=nnx.BatchStat(jnp.zeros(1)), c=shared)
        made = nnx.map(lambda path, v: v * 2, model)
        assert type(made.a) is nnx.Param
        assert made.a is made.c
        names = nnx.map(lambda path, v: str(path[0]), model, recreate_variables=False)
        assert (names.a, names.b, names.c) == ("a", "b", "a")


def make_model():
    return nnx.Dict(
        w=nnx.Param(jnp.arange(3.0)),
        n=nnx.Variable(jnp.array(1)),
        key=nnx.Variable(jax.random.key_data(jax.random.key(0))),
        table=jnp.ones(2),
    )


COPIES = {
    "clone": nnx.clone,
    "clone in jit": lambda m: nnx.jit(nnx.clone)(m),
    "merge": lambda m: nnx.merge(*nnx.split(m), copy=True),
    "ema": lambda m: nnx.EMA(m, 0.5),
    "applied ema": lambda m: nnx.EMA(m, 0.5).apply_to(make_model()),
}


@pytest.mark.parametrize("name", COPIES)
def test_what_a_copy_holds_is_its_own(name):
    model = make_model()
    copy = COPIES[name](model)
    assert not buffers(model) & buffers(copy)
    before = model.w[...]

    @nnx.jit(donate_argnums=0)
    def step(model):
        model.w[...] += 1

    step(model)
    assert before.is_deleted()
    assert not any(x.is_deleted() for x in jax.tree.leaves(nnx.pure(nnx.state(copy))))


def test_a_clone_may_share_arrays():
    model = make_model()
    assert nnx.clone(model, arrays=False).w[...] is model.w[...]
    assert nnx.clone(model, variables=False).w is model.w


def test_a_step_may_donate_model_and_average():
    model = make_model()
    ema = nnx.EMA(model, 0.5)

    @nnx.jit(donate_argnums=(0, 1))
    def step(model, ema):
        model.w[...] += 1
        ema.update(model)

    for _ in range(3):
        step(model, ema)
    np.testing.assert_allclose(ema.params["w"][...], np.arange(3.0) + 2.125)


class TestStrongTypes:
    weak = jnp.full(2, 0.5)

    def test_variables_hold_them(self):
        variable = nnx.Param(self.weak)
        assert not jax.typeof(variable[...]).weak_type
        variable[...] = self.weak
        assert not jax.typeof(variable[...]).weak_type
        variable.set_value({"a": self.weak, "b": 3})
        assert not jax.typeof(variable[...]["a"]).weak_type
        assert variable[...]["b"] == 3

    def test_a_counter_compiles_once(self):
        count, traces = nnx.Variable(jnp.asarray(0)), []

        @nnx.jit
        def step(count):
            traces.append(1)
            count[...] = jnp.where(count[...] > 1, 0, 1)

        for _ in range(3):
            step(count)
        assert len(traces) == 1


class TestStateEquality:
    def test_with_mappings(self):
        assert nnx.State({}) == {}
        assert nnx.State({"a": {"b": 3}}) == {"a": {"b": 3}} == nnx.State({"a": {"b": 3}})
        assert nnx.State({"a": 1}) != {"a": 2}
        assert nnx.State({"a": 1}) != {"b": 1}
        assert nnx.State({}) != []

    def test_of_arrays_and_variables(self):
        x, y = jnp.ones(2), jnp.array([1.0, 2.0])
        assert nnx.State({"a": nnx.Param(x)}) == {"a": nnx.Param(x + 0)}
        assert nnx.State({"a": nnx.Param(x)}) != {"a": nnx.Param(y)}
        assert nnx.State({"a": nnx.Param(x)}) != {"a": nnx.BatchStat(x)}
        assert nnx.State({"a": x}) == {"a": np.ones(2)}
        assert nnx.State({"a": x}) != {"a": jnp.ones(3)}


def test_identities_of_temporary_objects_are_not_taken_twice():
    """A pytree whose children are made when it is flattened."""

    class Made:
        def __init__(self, n):
            self.n = n

    jax.tree_util.register_pytree_node(
        Made, lambda m: ([[nnx.Param(float(i))] for i in range(m.n)], m.n), lambda n, _: Made(n)
    )
    model = nnx.Dict(made=[Made(3), Made(3)])
    assert len([v for _, v in nnx.iter_graph(model) if isinstance(v, nnx.Param)]) == 6
    copied = []
    nnx.recursive_map(lambda path, v: copied.append(v) or v, model)
    assert len([v for v in copied if isinstance(v, nnx.Param)]) == 6


def test_merged_states_replace_leaves_by_what_is_below_and_the_other_way_round():
    nested, leaf = {"c": {"d": {"e": 1}}, "k": 2}, {"c": 0}
    for first, second, expected in (
        (nested, leaf, {"c": 0, "k": 2}),
        (leaf, nested, nested),
        (nested, {"c": {"d": 3, "f": 4}}, {"c": {"d": 3, "f": 4}, "k": 2}),
    ):
        assert nnx.merge_state(nnx.State(first), nnx.State(second)) == expected
        state = nnx.State(first)
        state |= second
        assert state == expected
