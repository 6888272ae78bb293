"""`nnx.capture` finds sown values, whatever transform the sowing module runs in."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, PartitionSpec

from linnet.module_core import nnx
from linnet.module_core.errors import TraceContextError

X = jnp.arange(6.0).reshape(3, 2)
ALONG = nnx.StateAxes({nnx.Intermediate: 0, ...: None})


class Gain(nnx.Intermediate):
    """A type of variable for these tests."""


class Inner(nnx.Module):
    def __init__(self):
        self.weight = nnx.Param(jnp.full((2,), 2.0))

    def __call__(self, x):
        y = self.perturb("shift", x * self.weight[...])
        self.sow(nnx.Intermediate, "seen", y)
        self.sow(Gain, "gain", jnp.sum(y))
        return y


class Outer(nnx.Module):
    """Runs its inner module in one of `WAYS`."""

    def __init__(self, way):
        self.inner = Inner()
        self.listed = nnx.List([Inner()])
        self.way = way

    def __call__(self, x):
        return self.listed[0](WAYS[self.way](self.inner, x))


def merged(m, x):
    return nnx.merge(*nnx.split(m))(x)


def functional(m, x):
    graphdef, state = nnx.split(m)

    @jax.jit
    def run(state, x):
        copy = nnx.merge(graphdef, state)
        y = copy(x)
        return y, nnx.state(copy)

    y, state = run(state, x)
    nnx.update(m, state)
    return y


def with_custom_gradient(m, x):
    run = nnx.custom_vjp(Inner.__call__)
    run.defvjp(lambda m, x: (m(x), m), lambda m, g: (nnx.state(m), g[1]))
    return run(m, x)


JITTED = nnx.jit(Inner.__call__)
STEPS = nnx.scan(Inner.__call__, in_axes=(ALONG, 0), out_axes=0)
WHOLE = PartitionSpec()
WAYS = {
    "called": Inner.__call__,
    "jit": JITTED,
    "remat": nnx.remat(Inner.__call__),
    "vmap": nnx.vmap(Inner.__call__, in_axes=(ALONG, 0)),
    "scan": STEPS,
    "scan in jit": nnx.jit(lambda m, x: STEPS(m, x)),
    "cond": lambda m, x: nnx.cond(x[0, 0] < 9, Inner.__call__, lambda m, x: m(x), m, x),
    "switch": lambda m, x: nnx.switch(0, [Inner.__call__] * 2, m, x),
    "grad": lambda m, x: nnx.grad(lambda m, x: (m(x).sum(), 2 * x), has_aux=True)(m, x)[1],
    "vjp": lambda m, x: nnx.vjp(Inner.__call__, m, x)[0],
    "jvp": lambda m, x: nnx.jvp(Inner.__call__, (m, x), (nnx.state(m), x))[0],
    "custom_vjp": with_custom_gradient,
    "shard_map": nnx.shard_map(
        Inner.__call__,
        mesh=Mesh(np.array(jax.devices()[:1]), ("a",)),
        in_specs=(WHOLE, WHOLE),
        out_specs=WHOLE,
    ),
    "merge": merged,
    "split, jax.jit, merge": functional,
}


@pytest.mark.parametrize("way", WAYS)
def test_what_is_sown_inside_is_found(way):
    model = Outer(way)
    captured = nnx.capture(model, nnx.Intermediate)
    for x in (X, 2 * X):  # the second time nothing is traced
        y, found = captured(x)
        np.testing.assert_allclose(y, 4 * x)
        np.testing.assert_allclose(found["inner"]["seen"][0], 2 * x)
        np.testing.assert_allclose(jnp.sum(found["inner"]["gain"][0]), 2 * x.sum(), rtol=1e-6)
        assert type(found["inner"]["gain"]) is Gain
        np.testing.assert_allclose(found["listed"][0]["seen"][0], 4 * x)
    assert set(nnx.to_flat_state(nnx.state(model)).paths) == {
        ("inner", "weight"),
        ("listed", 0, "weight"),
    }


@pytest.mark.parametrize("way", ["called", "jit", "remat", "vmap", "scan", "cond", "merge"])
def test_the_gradient_by_a_perturbation_inside(way):
    model = Outer(way)
    _, shifts = nnx.capture(model, nnx.Perturbation)(X)

    def loss(shifts):
        y, found = nnx.capture(model, Gain, init=shifts)(X)
        return jnp.sum(y), found

    gradient, found = jax.grad(loss, has_aux=True)(shifts)
    np.testing.assert_allclose(gradient["inner"]["shift"][...], jnp.full((3, 2), 2.0))
    np.testing.assert_allclose(gradient["listed"][0]["shift"][...], jnp.ones((3, 2)))
    assert set(found["inner"]) == {"gain"}


def test_captures_in_captures_and_after_errors():
    model = Outer("called")

    def both(model, x):
        _, inner = nnx.capture(model.inner, nnx.Intermediate)(x)
        return model(x), inner

    (_, inner), outer = nnx.capture(both, nnx.Intermediate)(model, X)
    assert len(inner["seen"][...]) == len(outer["inner"]["seen"][...]) == 1

    def fails(model, x):
        model(x)
        raise KeyError("after")

    with pytest.raises(KeyError, match="after"):
        nnx.capture(fails, nnx.Intermediate)(model, X)
    assert not any("captures" in name for m in (model, model.inner) for name in vars(m))


def test_outputs_of_methods_under_a_transform():
    class Decorated(nnx.Module):
        def __init__(self):
            self.inner = Inner()

        @nnx.jit
        def __call__(self, x):
            return self.inner(x)

    model = Decorated()
    for _ in range(2):
        _, gains = nnx.capture(model, Gain, method_outputs=nnx.Intermediate)(X)
        assert set(gains["inner"]) == {"gain"}
        _, outputs = nnx.capture(model, method_outputs=nnx.Intermediate)(X)
        np.testing.assert_allclose(outputs["inner"]["__call__"][0], 2 * X)
        np.testing.assert_allclose(outputs["__call__"][0], 2 * X)
        _, sown = nnx.capture(model, nnx.Intermediate)(X)
        assert set(sown["inner"]) == {"gain", "seen", "shift"}


def test_sowing_in_a_transform_of_jax_s_own_raises_an_error():
    def run(model, x):
        return jax.vmap(lambda x: model.inner(x))(x)

    with pytest.raises(TraceContextError, match="Cannot mutate 'Intermediate'"):
        nnx.capture(run, nnx.Intermediate)(Outer("called"), X)
