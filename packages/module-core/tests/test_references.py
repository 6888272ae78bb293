"""A call leaves nothing behind that only the garbage collector would find."""

import contextlib
import gc
from unittest import mock

import jax
import jax.numpy as jnp
import pytest

from linnet.module_core import linen as nn
from linnet.module_core import nnx

pytestmark = pytest.mark.usefixtures("only_new_garbage")

KEY = jax.random.key(0)
X = jnp.ones((4, 2))
ones = jax.nn.initializers.ones


class Dense(nn.Module):
    features: int = 2

    @nn.compact
    def __call__(self, x):
        return x @ self.param("kernel", jax.nn.initializers.normal(), (x.shape[-1], self.features))


class Pair(nn.Module):
    @nn.compact
    def __call__(self, x):
        return Dense()(Dense(3)(x))


class Model(nn.Module):
    field: nn.Module

    def setup(self):
        self.encoder = Pair()
        self.scale = self.param("scale", ones, (2,))
        self.layers = [Dense()]

    def __call__(self, x):
        return self.layers[0](self.field(self.encoder(x) * self.scale))


class Transformed(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.jit(Dense)()(x)
        x = nn.remat(Pair)()(x)
        vmapped = nn.vmap(Pair, variable_axes={"params": 0}, split_rngs={"params": True})
        return nn.jit(vmapped)()(x)


MODELS = {
    "compact": Pair(),
    "setup": Model(Dense()),
    "sequential": nn.Sequential([Dense(3), Dense()]),
    "transformed": Transformed(),
}

CALLS = {
    "init": lambda model, key, x: model.init(key, x),
    "init_with_output": lambda model, key, x: model.init_with_output(key, x),
    "lazy_init": lambda model, key, x: model.lazy_init(KEY, x),
    "apply": lambda model, key, x: model.apply(model.init(key, x), x),
    "captured": lambda model, key, x: model.apply(
        model.init(key, x), x, mutable=["seen"], capture_intermediates=True
    ),
    "gradient": lambda model, key, x: jax.grad(lambda v: model.apply(v, x).sum())(
        model.init(key, x)
    ),
    "tabulate": lambda model, key, x: len(model.tabulate(key, x)),
    "flops": lambda model, key, x: len(model.tabulate(key, x, compute_flops=True)),
}


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("call", CALLS)
def test_a_call_leaves_no_tracers(call, name):
    model = MODELS[name]
    gc.collect()
    gc.disable()
    try:
        with mock.patch.object(gc, "collect", return_value=0), jax.checking_leaks():
            jax.eval_shape(lambda key, x: CALLS[call](model, key, x), KEY, X)
    finally:
        gc.enable()


class NnxBlock(nnx.Module):
    def __init__(self, rngs):
        self.kernel = nnx.Param(rngs.params.normal((2, 2)))
        self.rngs = rngs.fork()

    def __call__(self, x):
        return x @ self.kernel + self.rngs.dropout.normal(x.shape)


class NnxModel(nnx.Module):
    def __init__(self, rngs):
        self.blocks = nnx.List([NnxBlock(rngs), NnxBlock(rngs)])

    def __call__(self, x):
        for block in self.blocks:
            x = block(x)
        return x


def loss(model, x):
    return model(x).sum()


NNX_CALLS = {
    "construct": lambda model, x: nnx.state(NnxModel(nnx.Rngs(0))),
    "call": lambda model, x: model(x),
    "split": lambda model, x: nnx.split(model)[1],
    "clone": lambda model, x: nnx.state(nnx.clone(model)),
    "update": lambda model, x: nnx.update(model, nnx.state(model)),
    "iter_graph": lambda model, x: len(list(nnx.iter_graph(model))),
    "jit": lambda model, x: nnx.jit(loss)(model, x),
    "grad": lambda model, x: nnx.grad(loss)(model, x),
    "remat": lambda model, x: nnx.remat(loss)(model, x),
    "cond": lambda model, x: nnx.cond(True, loss, loss, model, x),
    "eval_shape": lambda model, x: len(jax.tree.leaves(nnx.eval_shape(loss, model, x))),
    "tabulate": lambda model, x: len(nnx.tabulate(model, x)),
}


@pytest.mark.parametrize("call", NNX_CALLS.values(), ids=NNX_CALLS)
def test_nnx_leaves_no_tracers(call):
    graphdef, state = nnx.split(NnxModel(nnx.Rngs(0)))

    def run(state, x):
        return jax.tree.leaves(call(nnx.merge(graphdef, state), x))

    gc.collect()
    gc.disable()
    try:
        with mock.patch.object(gc, "collect", return_value=0), jax.checking_leaks():
            jax.eval_shape(run, state, X)
    finally:
        gc.enable()


@pytest.mark.parametrize("fails", [False, True])
def test_a_call_leaves_no_modules_and_scopes(fails):
    class Failing(nn.Module):
        @nn.compact
        def __call__(self, x):
            y = Pair()(x)
            if fails:
                raise ValueError("stop")
            return y

    gc.collect()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        for _ in range(2):
            with contextlib.suppress(ValueError):
                Failing().init(KEY, X)
        gc.collect()
        left = [type(x).__name__ for x in gc.garbage if type(x).__module__.startswith("linnet")]
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()
    assert not left


def test_a_bound_module_keeps_its_place():
    bound = Model(Dense()).bind(Model(Dense()).init(KEY, X))
    assert bound.encoder.parent is bound
    assert bound.field.parent is bound
