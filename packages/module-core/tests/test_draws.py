"""Draws of a traced program in groups: the same bits, the same tree, one loop for each kind.

Bits are compared between two compiled programs, with and without groups, at the usual level of
optimization: XLA folds constants within both.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from comparing import identical
from fixtures import programs_of_its_own as programs_of_its_own
from linnet.module_core import draws, linen, nnx
from linnet.module_core.layers.nnx import Layer, new_param

INITIALIZERS = {
    "normal": jax.nn.initializers.normal(0.3),
    "truncated_normal": jax.nn.initializers.truncated_normal(0.3),
    "uniform": jax.nn.initializers.uniform(0.3),
    "lecun_normal": jax.nn.initializers.lecun_normal(),
    "glorot_uniform": jax.nn.initializers.glorot_uniform(),
    "scaled": jax.nn.initializers.variance_scaling(0.7, "fan_out", "normal"),
    "orthogonal": jax.nn.initializers.orthogonal(0.3),
    "delta_orthogonal": jax.nn.initializers.delta_orthogonal(),
    "zeros": jax.nn.initializers.zeros,
    "constant": jax.nn.initializers.constant(0.3),
}


class Leaves(linen.Module):
    """Two parameters of each initializer, in modules of their own."""

    names: tuple[str, ...]
    dtype: object = jnp.float32
    wrap: object = staticmethod(lambda init: init)

    @linen.compact
    def __call__(self):
        for name in self.names:
            for twin in ("z", "a"):
                shape = (3, 2, 4) if name.startswith("delta") else (2, 4)
                self.param(f"{name}_{twin}", self.wrap(INITIALIZERS[name]), shape, self.dtype)


def single(monkeypatch):
    """Turns grouping off."""
    monkeypatch.setattr(draws.jax, "device_count", lambda: 2)


def loops(function, *args):
    """How many loops the program has."""
    return str(jax.make_jaxpr(lambda *args: function(*args))(*args)).count("name=_draw_all")


def compare(monkeypatch, model, key, dtype_of_loops=None):
    grouped = jax.jit(lambda key: model.init(key))(key)
    count = loops(model.init, key)
    single(monkeypatch)
    alone = jax.jit(lambda key: model.init(key))(key)
    identical(grouped, alone)
    assert list(grouped["params"]) == list(alone["params"])
    return count


DRAWN = tuple(name for name in INITIALIZERS if name not in ("zeros", "constant"))


def test_every_initializer_draws_the_same_bits(monkeypatch):
    count = compare(monkeypatch, Leaves(tuple(INITIALIZERS)), jax.random.key(3))
    assert count == len(DRAWN) + 1  # jax's `constant` cannot be told from the others


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16, jnp.complex64])
def test_every_dtype(monkeypatch, dtype):
    names = ("normal", "lecun_normal", "orthogonal")
    if dtype is not jnp.complex64:
        names = ("normal", "truncated_normal", "uniform")
    assert compare(monkeypatch, Leaves(names, dtype), jax.random.key(3)) == 3


@pytest.mark.parametrize("impl", ["threefry2x32", "rbg", "unsafe_rbg"])
def test_every_generator_and_kind_of_key(monkeypatch, impl):
    """The generators include those whose bits depend on a batch."""
    model = Leaves(("normal", "glorot_uniform"))
    assert compare(monkeypatch, model, jax.random.key(3, impl=impl)) == 2


def test_raw_keys(monkeypatch):
    assert compare(monkeypatch, Leaves(("normal",)), jax.random.PRNGKey(3)) == 1


def test_threefry_that_is_not_partitionable(monkeypatch):
    with jax.threefry_partitionable(False):
        assert compare(monkeypatch, Leaves(("normal", "uniform")), jax.random.key(3)) == 2


def test_boxes_stay_around_what_was_drawn(monkeypatch):
    boxed = functools.partial(linen.with_partitioning, names=(None, "model"))
    model = Leaves(("normal",), wrap=boxed)
    assert compare(monkeypatch, model, jax.random.key(3)) == 1
    assert jax.jit(model.init)(jax.random.key(0))["params"]["normal_a"].names == (None, "model")


def test_a_function_of_the_user_runs_once():
    calls = []

    def counting(key, shape, dtype):
        calls.append(shape)
        return jax.random.normal(key, shape, dtype)

    model = Leaves(("normal",), wrap=lambda init: counting)
    assert loops(model.init, jax.random.key(0)) == 0
    assert len(calls) == 2


def test_a_value_that_was_changed_is_not_a_draw(monkeypatch):
    class Changed(linen.Module):
        @linen.compact
        def __call__(self):
            init = INITIALIZERS["normal"]
            for name in ("a", "b", "c"):
                self.param(name, init, (2,))
            self.put_variable("params", "a", 2 * self.get_variable("params", "a"))
            self.put_variable("other", "b", self.get_variable("params", "b"))

    assert compare(monkeypatch, Changed(), jax.random.key(0)) == 1


class Sum(linen.Module):
    """Computes with its parameters, sows, draws other keys and has an effect."""

    effect: object

    @linen.compact
    def __call__(self, x):
        for name in "ba":
            x = x + jnp.tanh(self.param(name, INITIALIZERS["normal"], (2, 4)))
            self.sow("sown", "x", x)
        x = linen.remat(Leaves)(("normal",), name="again")() or x
        jax.debug.callback(self.effect)
        own = self.param("own", jax.random.normal, (4,))
        return {"x": x * own + jax.random.normal(self.make_rng("noise"), (4,)), "b": None, "n": 3}


def with_output(model, keys):
    return jax.jit(lambda keys: model.init_with_output(keys, jnp.ones((2, 4))))(keys)


def test_what_an_output_is_computed_from_is_drawn_in_groups(monkeypatch):
    seen = []
    model = Sum(lambda: seen.append("ran"))
    keys = {"params": jax.random.key(0), "noise": jax.random.key(1)}
    assert loops(lambda keys: model.init_with_output(keys, jnp.ones((2, 4))), keys) == 1
    output, variables = with_output(model, keys)
    jax.effects_barrier()
    assert seen == ["ran"]
    single(monkeypatch)
    alone, variables_alone = with_output(model, keys)
    identical(variables["params"], variables_alone["params"])
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-6), output, alone)
    jax.tree.map(np.testing.assert_allclose, variables["sown"], variables_alone["sown"])


def test_values_that_leave_the_program_are_those_of_the_caller_s():
    kept = []

    class Keeping(linen.Module):
        @linen.compact
        def __call__(self):
            init = INITIALIZERS["normal"]
            total = self.param("a", init, (2,)) + self.param("b", init, (2,))
            kept.append(total)
            return total

    def both(key):
        output, _ = Keeping().init_with_output(key)
        return output, kept[-1]

    for _ in range(2):
        identical(*jax.jit(lambda key: both(key))(jax.random.key(0)))
    assert len(kept) == 3  # the method has run twice the first time


def test_errors_in_a_program_are_those_of_the_method():
    class Wrong(linen.Module):
        @linen.compact
        def __call__(self):
            return self.param("a", INITIALIZERS["normal"], (2,)).no_such_attribute

    with pytest.raises(AttributeError, match="no_such_attribute"):
        jax.jit(Wrong().init_with_output)(jax.random.key(0))


def test_draws_of_an_inner_trace_are_left_alone(monkeypatch):
    class Outer(linen.Module):
        @linen.compact
        def __call__(self):
            split = {"params": True}
            mapped = linen.vmap(
                Leaves, variable_axes={"params": 0}, split_rngs=split, axis_size=2, in_axes=()
            )
            mapped(("normal",), name="mapped")()
            linen.remat(Leaves)(("normal",), name="again")()
            linen.jit(Leaves)(("normal",), name="jitted")()
            Leaves(("normal",), name="plain")()

    assert compare(monkeypatch, Outer(), jax.random.key(0)) == 1


def test_draws_inside_of_remat_are_grouped(monkeypatch):
    class Two(linen.Module):
        @linen.compact
        def __call__(self):
            for inner in (linen.remat(Leaves), linen.remat(linen.remat(Leaves))):
                inner(("normal",))()

    assert compare(monkeypatch, Two(), jax.random.key(0)) == 1


def test_vmap_of_init_groups_nothing():
    keys = jax.random.split(jax.random.key(0), 3)
    init = Leaves(("normal",)).init
    assert loops(jax.vmap(init), keys) == 0
    many = jax.jit(jax.vmap(init))(keys)
    identical(jax.tree.map(lambda x: x[1], many), jax.jit(init)(keys[1]))


def test_several_devices_or_a_mesh_group_nothing(monkeypatch):
    init = Leaves(("normal",)).init
    assert loops(init, jax.random.key(0)) == 1
    single(monkeypatch)
    assert loops(init, jax.random.key(0)) == 0


def test_a_loop_has_a_largest_length(monkeypatch):
    monkeypatch.setattr(draws, "_LONGEST", 2)

    class Five(linen.Module):
        @linen.compact
        def __call__(self):
            for i in range(5):
                self.param(f"p{i}", INITIALIZERS["uniform"], (3,))

    assert compare(monkeypatch, Five(), jax.random.key(0)) == 2  # the fifth is drawn by itself


class Pair(Layer):
    def __init__(self, rngs, **metadata):
        for name in ("z", "a"):
            value = new_param(self, INITIALIZERS["normal"], (2, 3), jnp.float32, rngs, metadata)
            setattr(self, name, value)
        self.again = nnx.Param(2 * self.a.value)


@pytest.mark.parametrize("impl", ["threefry2x32", "rbg"])
def test_nnx_jit_of_a_constructor(monkeypatch, impl):
    def make():
        return Pair(nnx.Rngs(jax.random.key(0, impl=impl)))

    grouped, text = nnx.state(nnx.jit(make)()), str(nnx.jit(make).trace().jaxpr)
    assert text.count("name=_draw_all") == 1
    single(monkeypatch)
    identical(grouped, nnx.state(nnx.jit(make)()))


def test_nnx_jit_with_streams_from_outside(monkeypatch):
    def make(rngs):
        return Pair(rngs), Pair(rngs)

    def run():
        rngs = nnx.Rngs(0)
        return nnx.state(nnx.jit(make)(rngs)), rngs.params.count.value

    grouped = run()
    single(monkeypatch)
    identical(grouped, run())


def test_a_hook_s_value_is_kept():
    hooked = nnx.jit(lambda: Pair(nnx.Rngs(0), on_create_value=lambda _, value: value + 10))()
    assert np.asarray(hooked.a.value).min() > 5
