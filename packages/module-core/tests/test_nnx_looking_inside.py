"""Objects that programs inspect: structures, texts, trace states, call records, prefixes."""

import jax
import jax.numpy as jnp
import pytest

from linnet.module_core import nnx
from linnet.module_core.errors import ArgumentError, ArgumentTypeError
from linnet.module_core.nnx import proxy_caller, reprlib, tracers
from linnet.module_core.nnx.structure import definitions


class Net(nnx.Module):
    def __init__(self):
        self.weight = nnx.Param(jnp.ones((3, 2)))
        self.mean = nnx.BatchStat(jnp.zeros(()))
        self.layers = nnx.List([nnx.Param(jnp.ones(3))])
        self.plain = [nnx.Param(jnp.ones(3))]
        self.size = 3

    def __call__(self, x):
        return self.weight[...] * x + self.layers[0][...] + self.plain[0][...] + self.mean[...]


AXES = {nnx.Param: 0, ...: None}


class TestPrefix:
    def test_of_a_module_for_vmap(self):
        net = Net()
        for transform, graph, options in (
            (nnx.vmap, True, {}),
            (nnx.vmap, False, {"graph": False}),
            (jax.vmap, False, {}),
        ):
            axes = nnx.prefix(net, AXES, graph=graph)
            assert transform(lambda m, x: m(x), in_axes=(axes, None), **options)(
                net, 2.0
            ).shape == (3, 2)

    def test_of_a_tree(self):
        tree = {"net": Net(), "x": jnp.ones((2,)), "v": nnx.Param(jnp.ones(3))}
        spec = nnx.prefix(tree, AXES)
        assert isinstance(spec["net"], nnx.StateAxes)
        assert (spec["x"], spec["v"]) == (None, 0)
        f = nnx.vmap(lambda t: t["net"](t["x"]) * t["v"][...], in_axes=(spec,))
        assert f(tree).shape == (3, 2)

    def test_a_function_gives_the_values(self):
        paths = []
        nnx.prefix([Net()], lambda path, leaf: paths.append(path))
        assert (0, "layers", 0) in paths
        assert len(paths) == 4

    def test_the_mode_that_is_set_counts(self):
        with nnx.set_graph_mode(False):
            assert isinstance(nnx.prefix(Net(), AXES), Net)

    def test_each_leaf_needs_a_filter(self):
        with pytest.raises(ArgumentError, match="No filter matched the leaf at mean"):
            nnx.prefix(Net(), {nnx.Param: 0})
        with pytest.raises(ArgumentError, match="prefix takes a mapping of filters"):
            nnx.prefix(Net(), 0)


class TestCheckPytree:
    def test_modules_pass(self):
        assert nnx.check_pytree(Net()) is None

    def test_others_do_not(self):
        with pytest.raises(ArgumentTypeError, match="Expected a Pytree, got 3"):
            nnx.check_pytree(3)

    def test_data_that_came_past_the_checks_is_found(self):
        net = Net()
        net.names = nnx.static([])
        net.names.append(jnp.ones(1))
        with pytest.raises(ArgumentError, match=r"Net\.names is marked as static"):
            nnx.check_pytree(net)


class TestNodes:
    def test_they_are_those_of_the_walk(self):
        weight = nnx.Param(1.0, unit="volt")
        graphdef = nnx.graphdef(nnx.Dict(a=weight, b=[weight, {"c": (3, jnp.ones(1))}]))
        assert graphdef.nodes == [
            definitions.NodeDef(nnx.Dict, 0, None, 2, nnx.Dict),
            definitions.VariableDef(nnx.Param, 1, None, {"unit": "volt"}),
            definitions.NodeDef(list, 2, None, 2),
            definitions.NodeRef(1),
            definitions.NodeDef(dict, 3, None, 1),
            graphdef.nodes[-1],
        ]
        assert graphdef.nodes[-1].type is tuple


class Range(reprlib.Representable):
    def __init__(self, low, high):
        self.low, self.high = low, high

    def __nnx_repr__(self):
        yield reprlib.Object(type(self), start="<", end=">", kv_sep=": ")
        yield reprlib.Attr("low", self.low)
        yield reprlib.Attr("high", self.high, start="[", end="]")


class Said(nnx.Module):
    def __nnx_repr__(self):
        yield reprlib.Object("Said")
        yield reprlib.Attr("by", "me", use_raw_value=True)


class TestTexts:
    def test_objects_say_how_they_print(self):
        assert repr(Range(Range(1, 2), "x")) == (
            "Range<\n  low: Range<\n    low: 1,\n    [high: 2]\n  >,\n  [high: 'x']\n>"
        )

    def test_modules_may(self):
        assert repr(Said()) == "Said(\n  by=me\n)"
        assert "said=Said(\n    by=me\n  )" in repr(nnx.Dict(said=Said()))

    def test_containers(self):
        assert repr(reprlib.PrettyMapping({"a": 1})) == "PrettyMapping({\n  'a': 1\n})"
        assert repr(reprlib.PrettySequence([1, "b"])) == "PrettySequence([\n  1,\n  'b'\n])"

        class Mine(dict, reprlib.MappingReprMixin):
            __repr__ = reprlib.get_repr

        class Items(list, reprlib.SequenceReprMixin):
            __repr__ = reprlib.get_repr

        assert repr(Mine(a=1)) == "Mine({\n  'a': 1\n})"
        assert repr(Items([1])) == "Items([\n  1\n])"

    def test_nothing_to_say(self):
        class Empty(reprlib.Representable):
            def __nnx_repr__(self):
                yield reprlib.Object("Empty", empty_repr="none")

        assert repr(Empty()) == "Empty(none)"

    def test_what_is_yielded_is_checked(self):
        class Wrong(reprlib.Representable):
            def __nnx_repr__(self):
                yield reprlib.Attr("a", 1)

        with pytest.raises(TypeError, match="must be an Object"):
            repr(Wrong())


class TestTraceState:
    def test_it_is_valid_where_it_was_made(self):
        outside, seen = tracers.TraceState(), []
        assert outside.is_valid()
        assert outside == tracers.TraceState()
        assert outside.jax_trace == tracers.current_jax_trace()

        @jax.jit
        def f(x):
            seen.append((outside.is_valid(), outside == tracers.TraceState()))
            return x

        f(1.0)
        assert seen == [(False, False)]


class TestNotesOfCalls:
    def test_they_are_followed(self):
        accessor = proxy_caller.DelayedAccessor().layers["a"][0]
        assert accessor.actions == (
            proxy_caller.GetAttr("layers"),
            proxy_caller.GetItem("a"),
            proxy_caller.GetItem(0),
        )
        holder = nnx.Dict(layers={"a": [7]})
        assert accessor(holder) == 7
        proxy = proxy_caller.CallableProxy(lambda steps, *args, **kw: (steps(holder), args, kw))
        assert proxy.layers["a"][0](1, b=2) == (7, (1,), {"b": 2})


def test_priorities_say_which_place_of_a_shared_variable_counts():
    class Tied(nnx.bridge.Module):
        pass

    def paths(node):
        return nnx.to_flat_state(nnx.state(node)).paths

    module = Tied()
    module.a = module.z = nnx.Param(1.0)
    module.m = nnx.Param(2.0)
    assert paths(module) == (("a",), ("m",))
    module.set_attr_priority("z", nnx.bridge.AttrPriority.HIGH)
    assert paths(module) == paths(nnx.clone(module)) == (("m",), ("z",))
    assert nnx.clone(module).a is not module.a
    module.set_attr_priority("z", nnx.bridge.AttrPriority.LOW)
    assert paths(module) == (("a",), ("m",))
