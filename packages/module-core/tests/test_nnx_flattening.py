"""Objects as structures and leaves, as states with their structure, and as trees without one."""

import copy
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from linnet.module_core import nnx
from linnet.module_core.errors import ArgumentError, TraceContextError
from linnet.module_core.nnx.structure.flattening import IndexMap, RefMap


class Net(nnx.Module):
    def __init__(self):
        self.inner = nnx.Dict(kernel=nnx.Param(jnp.arange(3.0)), size=3)
        self.mean = nnx.BatchStat(jnp.zeros(2))

    def __call__(self, x):
        return x * self.inner.kernel


def is_structure_checked(change):
    """Whether a change of structure by nnx.jit within jax.jit raises an error."""
    net = Net()
    with pytest.raises(TraceContextError):
        jax.jit(lambda: nnx.jit(change)(net))()
    return net


def test_structure_of_another_trace_level_stays():
    def add(net):
        net.fresh = nnx.Param(jnp.ones(1))

    assert not hasattr(is_structure_checked(add), "fresh")


class TestUnpack:
    def test_states_know_their_structure(self):
        net = Net()
        params, stats = nnx.unpack(net, nnx.Param, nnx.BatchStat)
        assert list(params) == ["inner"]
        assert list(stats) == ["mean"]
        again = nnx.merge(params, stats)
        assert type(again) is Net
        assert again.inner.kernel is net.inner.kernel
        assert nnx.merge(nnx.graphdef(net), params, stats).mean is net.mean
        assert nnx.merge(stats, params, copy=True).mean is not net.mean

    def test_they_are_states(self):
        net = Net()
        whole = nnx.unpack(net)
        assert isinstance(whole, nnx.State)
        assert isinstance(whole.inner, nnx.State)
        assert whole == nnx.state(net) == whole
        whole.mean = jnp.ones(2)
        assert nnx.merge(whole).mean[...].tolist() == [1.0, 1.0]
        assert type(nnx.merge(whole).mean) is nnx.BatchStat
        nnx.update(net, whole)
        assert net.mean[...].tolist() == [1.0, 1.0]

    def test_they_are_trees_that_keep_what_they_know(self):
        whole = nnx.unpack(Net())
        for made in (
            jax.tree.map(jnp.zeros_like, whole),
            jax.jit(lambda s: s)(whole),
            copy.copy(whole),
            copy.deepcopy(whole),
            pickle.loads(pickle.dumps(whole)),
        ):
            assert type(made) is nnx.GraphState
            assert type(nnx.merge(made)) is Net
        paths = [p for p, _ in jax.tree_util.tree_flatten_with_path(nnx.state(Net()))[0]]
        assert [p for p, _ in jax.tree_util.tree_flatten_with_path(whole)[0]] == paths

    def test_parts_that_do_not_belong_together_raise_an_error(self):
        whole, other = nnx.unpack(Net()), nnx.unpack(nnx.Dict(a=nnx.Param(1.0)))
        with pytest.raises(ArgumentError, match="different structures"):
            nnx.merge(whole, other)
        with pytest.raises(ArgumentError, match="a state that knows its own; got State"):
            nnx.merge(whole, nnx.state(Net()))
        with pytest.raises(ArgumentError, match="4 leaves, the GraphDef 2. In several states"):
            nnx.merge(whole, whole)
        with pytest.raises(ArgumentError, match="no filter takes"):
            nnx.unpack(Net(), nnx.Param)
        with pytest.raises(ArgumentError, match="Expected a State object, got Param"):
            nnx.unpack(nnx.Param(1.0))

    def test_types_are_written_with_them(self):
        class Steps(nnx.Variable[nnx.A]):
            pass

        def tick(net: nnx.PureState[Net]) -> nnx.GraphState[Net]: ...

        assert Steps(1).get_value() == 1
        assert nnx.M.__bound__.__forward_arg__ == "Module"


class TestFlatten:
    def test_there_and_back(self):
        shared = nnx.Dict(limit=7, weight=nnx.Param(jnp.ones(2)))
        tree = nnx.List([shared, shared, nnx.Param(jnp.array(5.0)), jnp.zeros(1)])
        graphdef, flat = nnx.flatten(tree)
        assert flat.paths == ((0, "weight"), (2,), (3,))
        assert graphdef == nnx.graphdef(tree)
        for leaves in (flat, nnx.flatten(tree, with_paths=False)[1], nnx.state(tree)):
            again = nnx.unflatten(graphdef, leaves)
            assert again[0] is again[1]
            assert again[0].weight is shared.weight
            assert again[0].limit == 7
        assert nnx.unflatten(graphdef, flat, copy_variables=True)[2] is not tree[2]

    @pytest.mark.parametrize("leaf", [jnp.ones(2), nnx.Param(1.0)], ids=["array", "variable"])
    def test_of_a_leaf(self, leaf):
        graphdef, flat = nnx.flatten(leaf)
        assert flat.paths == ((),)
        assert nnx.unflatten(graphdef, flat) is leaf
        assert nnx.merge(graphdef, flat) is leaf

    def test_bare_values_become_variables_or_stay(self):
        graphdef, _ = nnx.flatten(nnx.Dict(a=nnx.Param(1.0)))
        assert type(nnx.unflatten(graphdef, [2.0]).a) is nnx.Param
        assert nnx.unflatten(graphdef, [2.0], recreate_variables=False).a == 2.0

    def test_several_share_by_their_indices(self):
        weight = nnx.Param(jnp.ones(1))
        refs, made = RefMap(), IndexMap()
        first, leaves = nnx.flatten(nnx.Dict(a=weight), ref_index=refs)
        second, none = nnx.flatten(nnx.Dict(b=weight), ref_index=refs)
        assert (len(leaves), len(none)) == (1, 0)
        assert refs[weight] == 1
        a = nnx.unflatten(first, leaves, index_ref=made)
        b = nnx.unflatten(second, none, index_ref=made)
        assert a.a is b.b
        assert len(made) == len(refs) == 3
        with pytest.raises(ArgumentError, match="refers to an object of a different structure"):
            nnx.unflatten(second, none)

    def test_what_was_flattened_before_is_never_taken_for_a_part(self):
        weight = nnx.Param(jnp.ones(1))
        refs, made = RefMap(), IndexMap()
        nnx.flatten(weight, ref_index=refs)
        holder = nnx.Dict(own=nnx.Param(jnp.zeros(1)), same=weight)
        holder.own_again = holder.own
        graphdef, leaves = nnx.flatten(holder, ref_index=refs)
        assert [n.index for n in graphdef.nodes] == [1, 2, 2, 0]
        with pytest.raises(ArgumentError, match="refers to an object of a different structure"):
            nnx.unflatten(graphdef, leaves)
        made[0] = weight
        again = nnx.unflatten(graphdef, leaves, index_ref=made)
        assert again.same is weight
        assert again.own is again.own_again is not weight

    def test_one_that_shares_nothing_is_made_alone(self):
        refs = RefMap()
        nnx.flatten(nnx.Param(jnp.ones(1)), ref_index=refs)
        weight = nnx.Param(jnp.zeros(1))
        alone = nnx.graphdef(nnx.Dict(a=weight, b=weight))
        graphdef, leaves = nnx.flatten(nnx.Dict(a=weight, b=weight), ref_index=refs)
        assert graphdef != alone
        again = nnx.unflatten(graphdef, leaves)
        assert again.a is again.b
        assert nnx.merge(graphdef, leaves).a.shape == (1,)

    def test_a_structure_with_others_before_it_is_not_taken_for_the_same_alone(self):
        model = nnx.Dict(w=nnx.Param(jnp.ones(1)))
        refs = RefMap([(nnx.Param(1.0), 0), (nnx.Param(2.0), 1)])
        kept = nnx.flatten(model, ref_index=refs)
        weight = nnx.Param(jnp.zeros(1))

        @nnx.jit
        def same(model, one, other):
            return model.w[...], one is other

        assert bool(same(model, weight, weight)[1])
        assert kept[0].num_nodes == 4

    def test_numbered_objects_are_filled(self):
        net = Net()
        numbers = RefMap([(net, "net"), (net.mean, "mean")])
        graphdef, leaves = nnx.flatten(net, with_paths=False, ref_outer_index=numbers)
        new = [x.copy(x[...] + 1) for x in leaves]
        mean = net.mean
        again = nnx.unflatten(graphdef, new, outer_index_outer_ref={"net": net, "mean": mean})
        assert again is net
        assert net.mean is mean
        assert mean[...].tolist() == [1.0, 1.0]

    def test_missing_leaves_raise_an_error(self):
        graphdef = nnx.graphdef(Net())
        for leaves in ([], nnx.State({}), nnx.FlatState([], sort=False)):
            with pytest.raises(ArgumentError, match="leaves, the GraphDef"):
                nnx.unflatten(graphdef, leaves)
        with pytest.raises(ArgumentError, match="first argument of unflatten must be a GraphDef"):
            nnx.unflatten({}, [])

    def test_a_leaf_by_filters_that_it_did_not_pass(self):
        speed = nnx.BatchStat(jnp.ones(1))
        graphdef, params, stats, rest = nnx.split(speed, nnx.Param, nnx.BatchStat, ...)
        assert nnx.merge(graphdef, params, stats, rest) is speed


class TestContexts:
    def test_later_splits_refer_to_earlier_ones(self):
        inner = nnx.Dict(w=nnx.Param(jnp.ones(1)))
        outer = nnx.Dict(inner=inner, gain=nnx.Param(2.0))
        with nnx.split_context() as ctx:
            parts = [ctx.split(x) for x in (outer, inner, outer)]
        assert [len(nnx.to_flat_state(s)) for _, s in parts] == [2, 0, 0]
        with nnx.merge_context() as ctx:
            a, b, c = [ctx.merge(*part) for part in parts]
        assert a is c
        assert a.inner is b


class TestTrees:
    def test_objects_come_back(self):
        net = Net()
        tree = {"first": net, "count": 3, "rest": (net, jnp.ones(2)), "bare": net.mean}
        pure = nnx.to_tree(tree)
        assert isinstance(pure["first"], nnx.NodeStates)
        assert type(pure["bare"].graphdef) is nnx.GraphDef
        assert len(jax.tree.leaves(pure)) == 4
        back = nnx.from_tree(pure)
        assert back["first"] is back["rest"][0] is not net
        assert back["bare"] is back["first"].mean
        assert back["count"] == 3

    def test_one_object_has_one_prefix(self):
        net = Net()
        tree = {"a": net, "b": (net.mean, 1)}
        assert nnx.to_tree(tree, prefix={"a": 0, "b": (0, None)})
        assert nnx.to_tree(tree, prefix=None)
        with pytest.raises(ArgumentError, match=r"two prefixes.* at a/mean .* at b/0"):
            nnx.to_tree(tree, prefix={"a": 0, "b": (1, None)})
        assert nnx.to_tree(tree, prefix={"a": 0, "b": 1}, check_aliasing=False)

    def test_how_objects_are_split_is_the_caller_s(self):
        seen = []

        def split(ctx, path, prefix, node):
            seen.append((path, prefix))
            parts = ctx.split(node, nnx.Param, ...)
            return nnx.NodeStates.from_split(*parts, metadata=prefix)

        def merge(ctx, path, prefix, leaf):
            seen.append((path, prefix, leaf.metadata))
            return ctx.merge(leaf.graphdef, *leaf.states)

        pure = nnx.to_tree([Net(), 2], prefix=[7, 8], split_fn=split)
        assert len(pure[0].states) == 2
        back = nnx.from_tree(pure, prefix=[9, 8], merge_fn=merge)
        assert type(back[0]) is Net
        assert seen == [((0,), 7), ((0,), 9, 7)]
        mapped = nnx.to_tree([1], split_fn=lambda c, path, p, x: x + 1, map_non_graph_nodes=True)
        assert mapped == [2]

    def test_changes_reach_the_caller(self):
        net = Net()

        @nnx.update_context("pour")
        def run(trees):
            @jax.jit
            def pour(pure):
                inner = nnx.from_tree(pure, ctxtag="pour", is_inner=True)
                assert inner[0] is inner[1]
                inner[0].mean[...] += inner[0].inner.kernel[1]
                inner[0].fresh = nnx.Param(jnp.ones(1))
                return nnx.to_tree(inner, ctxtag="pour")

            pure = nnx.to_tree(trees, ctxtag="pour")
            return nnx.from_tree(pour(pure), ctxtag="pour", is_inner=False)

        out = run([net, net])
        assert out[0] is out[1] is net
        np.testing.assert_array_equal(net.mean[...], 1.0)
        assert net.fresh[0] == 1.0

    def test_states_alone(self):
        states = nnx.NodeStates.from_states(nnx.state(Net()))
        assert states.state == nnx.state(Net())
        with pytest.raises(ArgumentError, match="No graphdef available"):
            states.graphdef
        prefixes = nnx.NodeStates.from_prefixes([0, None], metadata="axes")
        assert (prefixes.states, prefixes.metadata) == ((0, None), "axes")
        with pytest.raises(ArgumentError, match="exactly one state, got 2"):
            prefixes.state


def half(x):
    return x / 2


class WithFunction(nnx.Module):
    def __init__(self):
        self.act, self.kind, self.weight = half, float, nnx.Param(jnp.ones(2))


def test_the_structure_of_an_object_with_functions_pickles():
    graphdef, state = nnx.split(WithFunction())
    loaded = pickle.loads(pickle.dumps(graphdef))
    assert loaded == graphdef
    assert hash(loaded) == hash(graphdef)
    assert nnx.merge(loaded, state).act is half
