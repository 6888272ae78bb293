"""The fields, children and collections of a `bridge.Module` while it runs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from comparing import placed
from linnet.module_core import bridge, linen, nnx
from linnet.module_core.errors import (
    ArgumentError,
    ArgumentTypeError,
    InvalidRngError,
    ScopeParamNotFoundError,
)

X = placed(np.random.default_rng(0).normal(size=(2, 3)), jnp.float32)
KEY = jax.random.key(0)
NORMAL = jax.nn.initializers.lecun_normal()


def shapes(tree):
    return jax.tree.map(jnp.shape, tree)


class Kernel(bridge.Module):
    features: int

    @bridge.compact
    def __call__(self, x):
        return x @ self.param("kernel", NORMAL, (x.shape[-1], self.features))


class LinenKernel(linen.Module):
    features: int

    @linen.compact
    def __call__(self, x):
        self.sow("intermediates", "inputs", x)
        seen = self.variable("seen", "mean", jnp.zeros, ())
        if self.is_mutable_collection("seen") and not self.is_initializing():
            seen.value = jnp.mean(x)
        return x @ self.param("kernel", NORMAL, (x.shape[-1], self.features))

    def shifted(self, x):
        return x + 1


class Plain(nnx.Module):
    """Asks which module runs it, and draws from a stream if told to."""

    def __init__(self, n, *, rngs):
        self.kernel = nnx.Param(NORMAL(rngs.params(), (n, n)))
        self.noise = rngs.noise.fork()
        self.runs = nnx.Intermediate(jnp.array(0))

    def __call__(self, x, noisy=False):
        runner = bridge.current_module()
        if runner is not None and not runner.is_initializing():
            self.runs.value += 1
        return x @ self.kernel + (jax.random.normal(self.noise()) if noisy else 0)


def in_compact(make):
    class Net(bridge.Module):
        @bridge.compact
        def __call__(self, x, **options):
            return make()(x, **options)

    return Net()


def in_setup(make):
    class Net(bridge.Module):
        def setup(self):
            self.child = make()

        def __call__(self, x, **options):
            return self.child(x, **options)

    return Net()


def plain():
    return bridge.nnx_in_bridge_mdl(lambda rngs: Plain(3, rngs=rngs))


@pytest.mark.parametrize(("place", "name"), [(in_compact, "Plain_0"), (in_setup, "child")])
def test_an_nnx_module_asks_the_module_that_runs_it(place, name):
    net = place(plain)
    variables = net.init(KEY, X)
    assert set(variables["params"]) == {name}
    assert int(variables["intermediates"][name]["runs"]) == 0
    _, changed = net.apply(variables, X, rngs=KEY, mutable=True)
    assert int(changed["intermediates"][name]["runs"]) == 1
    assert bridge.current_module() is None


def test_every_method_of_a_bound_module_is_a_place_to_ask():
    class Net(bridge.Module):
        def setup(self):
            assert bridge.current_module() is self
            self.inner = Kernel(3)

        def helper(self):
            return bridge.current_module()

        @bridge.compact
        def __call__(self, x):
            assert self.helper() is self
            assert self.inner(x).shape == (2, 3)
            return bridge.current_module() is self

    assert Net().init_with_output(KEY, X)[0]
    assert Net().helper() is None  # not bound


def test_a_helper_of_a_compact_method_names_children_where_that_is():
    class Net(bridge.Module):
        @bridge.compact
        def __call__(self, x):
            return self.helper(Kernel(3)(x))

        def helper(self, x):
            return Kernel(2)(x)

    assert shapes(Net().init(KEY, X)) == {
        "params": {"Kernel_0": {"kernel": (3, 3)}, "Kernel_1": {"kernel": (3, 2)}}
    }


@pytest.mark.parametrize(("place", "name"), [(in_compact, "LinenKernel_0"), (in_setup, "child")])
def test_a_linen_module_changes_what_apply_lets_change(place, name):
    net = place(lambda: bridge.linen_in_bridge_mdl(LinenKernel(4)))
    variables = net.init(KEY, X)
    assert set(variables) == {"params", "seen"}
    assert set(variables["params"]) == {name}
    y = net.apply(variables, X)
    for mutable in (True, ["seen", "intermediates"]):
        z, changed = net.apply(variables, X, mutable=mutable)
        np.testing.assert_array_equal(z, y)
        np.testing.assert_allclose(changed["seen"][name]["mean"], X.mean(), rtol=1e-5)
        np.testing.assert_array_equal(changed["intermediates"][name]["inputs"][0], X)
    _, changed = net.apply(variables, X, mutable="seen")
    assert set(changed) == {"seen"}


def test_a_child_is_in_collections_once_under_each_of_its_attributes():
    class Net(bridge.Module):
        @bridge.compact
        def __call__(self, x):
            self.first = plain()
            self.second = bridge.linen_in_bridge_mdl(LinenKernel(2))
            return self.second(self.first(x))

    variables = Net().init(KEY, X)
    assert set(variables["params"]) == {"Plain_0", "LinenKernel_0"}
    assert Net().apply(variables, X, rngs=KEY).shape == (2, 2)


def test_parent_none_makes_a_module_of_its_own():
    found = {}

    class Net(bridge.Module):
        @bridge.compact
        def __call__(self, x):
            found["free"] = Kernel(2, parent=None)
            found["own"] = Kernel(2, parent=self, name="own")
            return found["own"](x)

    assert set(Net().init(KEY, X)["params"]) == {"own"}
    assert found["free"].scope is None
    assert shapes(found["free"].init(KEY, X)) == {"params": {"kernel": (3, 2)}}
    with pytest.raises(
        ArgumentError, match="Kernel got a parent that is not running a method"
    ) as error:
        Kernel(2, parent=Net())
    assert "parent=None makes an independent module" in str(error.value)


@pytest.mark.parametrize("field", ["module", "list", "nnx.List", "dict", "nnx", "variable"])
def test_what_fields_hold_is_filled_and_the_user_s_stays(field):
    held, call = {
        "module": (Kernel(3), lambda f, x: f(x)),
        "list": ([Kernel(3), Kernel(3)], lambda f, x: f[1](f[0](x))),
        "nnx.List": (nnx.List([Kernel(3)]), lambda f, x: f[0](x)),
        "dict": ({"a": Kernel(3)}, lambda f, x: f["a"](x)),
        "nnx": (Plain(3, rngs=nnx.Rngs(0)), lambda f, x: f(x)),
        "variable": (nnx.Param(jnp.ones((3, 3))), lambda f, x: x @ f),
    }[field]

    class Net(bridge.Module):
        held: nnx.Data[object]

        @bridge.compact
        def __call__(self, x):
            return call(self.held, x)

    net = Net(held)
    before = shapes(nnx.to_pure_dict(nnx.state(held)) if field != "variable" else held.value)
    y, variables = net.init_with_output(KEY, X)
    np.testing.assert_array_equal(net.apply(variables, X), y)
    doubled = jax.tree.map(lambda v: 2 * v, variables)
    factor = 4 if field == "list" else 2
    np.testing.assert_allclose(net.apply(doubled, X), factor * y, rtol=1e-5)
    np.testing.assert_array_equal(net.apply(variables, X), y)  # the field is unchanged
    after = shapes(nnx.to_pure_dict(nnx.state(held)) if field != "variable" else held.value)
    assert after == before


def test_a_running_module_splits_by_the_places_of_its_variables():
    seen = []

    class Net(bridge.Module):
        @bridge.compact
        def __call__(self, x):
            x = Kernel(3)(x)
            self.head = Kernel(2)
            y = self.head(x)
            seen.append(nnx.state(self, nnx.Param))
            merged = nnx.merge(*nnx.split(self.head))
            np.testing.assert_array_equal(merged(x), y)
            return y

    variables = Net().init(KEY, X)
    Net().apply(variables, X)
    for state in seen:
        assert shapes(nnx.to_pure_dict(state)) == {
            "Kernel_0": {"kernel": (3, 3)},
            "Kernel_1": {"kernel": (3, 2)},
        }


def test_a_stream_without_a_key_is_not_drawn_from():
    net = in_compact(plain)
    variables = net.init(KEY, X)
    assert net.apply(variables, X).shape == X.shape
    with pytest.raises(InvalidRngError, match="apply got no key for it"):
        net.apply(variables, X, noisy=True)
    assert net.apply(variables, X, noisy=True, rngs={"params": 0, "noise": 1}).shape == X.shape


class Twin(linen.Module):
    @linen.compact
    def __call__(self, x):
        return self.project(x) + self.param("shift", NORMAL, (1, 2))

    @linen.compact
    def project(self, x):
        return x @ self.param("matrix", NORMAL, (x.shape[-1], 2))


def test_a_method_of_a_linen_module_makes_what_it_uses():
    model = bridge.ToNNX(Twin(), rngs=nnx.Rngs(0))
    assert bridge.lazy_init(model.project, X) is model
    assert set(nnx.state(model, nnx.Param)) == {"matrix"}
    np.testing.assert_array_equal(model.project(X), X @ model.matrix)
    with pytest.raises(ScopeParamNotFoundError):
        model(X)


def test_lazy_init_under_vmap_makes_an_ensemble():
    @nnx.split_rngs(splits=3)
    @nnx.vmap
    def make(rngs):
        return bridge.lazy_init(bridge.ToNNX(Twin(), rngs=rngs).project, X)

    members = make(nnx.Rngs(0)).matrix.value
    assert members.shape == (3, 3, 2)
    assert len(np.unique(np.asarray(members)[:, 0, 0])) == 3


def test_an_instance_or_a_class_in_the_other_s_place_is_named():
    instance = Plain(3, rngs=nnx.Rngs(0))
    for take in (bridge.ToLinen, bridge.to_linen, bridge.to_linen_class):
        with pytest.raises(ArgumentTypeError, match="got an instance of Plain") as error:
            take(instance)
        assert "nnx.bridge.to_linen(Plain" in str(error.value)
    with pytest.raises(ArgumentTypeError, match="takes a class of nnx modules, got 3 of type int"):
        bridge.ToLinen(3)
    with pytest.raises(ArgumentError, match="takes an instance of a linen module"):
        bridge.ToNNX(Twin)
    with pytest.raises(ArgumentError, match="takes a function that makes the module"):
        in_compact(lambda: bridge.nnx_in_bridge_mdl(instance)).init(KEY, X)


def test_to_linen_is_a_static_argument():
    def layer():
        return bridge.ToLinen(Plain, args=[3], kwargs={})

    assert hash(layer()) == hash(layer())
    assert layer() == layer()
    run = jax.jit(lambda layer, variables, x: layer.apply(variables, x), static_argnums=0)
    variables = layer().init(KEY, X)
    np.testing.assert_allclose(run(layer(), variables, X), layer().apply(variables, X), rtol=1e-6)


@pytest.mark.parametrize("abstract_init", [True, False])
def test_intermediates_start_from_what_the_constructor_put_into_them(abstract_init):
    class Counting(nnx.Module):
        def __init__(self, *, rngs):
            self.runs = nnx.Intermediate(jnp.array(3))

        def __call__(self, x):
            self.runs.value += 1
            return x * self.runs.value

    layer = bridge.ToLinen(Counting, abstract_init=abstract_init)
    variables = layer.init(KEY, X)
    np.testing.assert_array_equal(layer.apply(variables, X), 4 * X)
    _, changed = layer.apply(variables, X, mutable=["intermediates"])
    assert int(changed["intermediates"]["runs"]) == 4
    np.testing.assert_array_equal(layer.apply(changed, X), 5 * X)
