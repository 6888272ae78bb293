"""linen modules in nnx, nnx modules in linen, and `bridge.Module` have Flax's variables."""

import flax.linen as flax_nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx as flax_nnx

from linnet.layers_linear import linen as linear
from linnet.layers_norm import linen as norm
from linnet.module_core import linen, nnx

X = jnp.asarray(np.random.default_rng(0).normal(size=(4, 3)), jnp.float32)
KEY = jax.random.key(0)
INIT = jax.nn.initializers.lecun_normal()


def same(found, expected):
    found, expected = (
        {jax.tree_util.keystr(p): x for p, x in jax.tree_util.tree_leaves_with_path(tree)}
        for tree in (found, expected)
    )
    assert found.keys() == expected.keys()
    for path in found:
        np.testing.assert_array_equal(found[path], expected[path], err_msg=path)


def linen_net(flax):
    nn = flax_nn if flax else linen
    dense, batch, dropout = (
        (flax_nn.Dense, flax_nn.BatchNorm, flax_nn.Dropout)
        if flax
        else (linear.Dense, norm.BatchNorm, linear.Dropout)
    )

    class Net(nn.Module):
        @nn.compact
        def __call__(self, x, train=False):
            x = dense(5)(x)
            x = batch(use_running_average=not train)(x)
            x = dropout(0.5, deterministic=not train)(x)
            return dense(2)(x)

    return Net()


@pytest.mark.parametrize("seeds", [{"default": 0}, {"params": 1, "dropout": 2}], ids=str)
def test_linen_in_nnx(seeds):
    found = []
    for library in (nnx, flax_nnx):
        net = linen_net(library is flax_nnx)
        module = library.bridge.ToNNX(net, rngs=library.Rngs(**seeds)).lazy_init(X)
        before = module(X)
        y = module(X, train=True, mutable=["batch_stats"])
        state = library.to_pure_dict(library.state(module, library.Param, library.BatchStat)[0])
        stats = library.to_pure_dict(library.state(module, library.BatchStat))
        counts = {name: int(s.count[...]) for name, s in module.to_nnx__rngs.items()}
        found.append((state, stats, before, y, counts))
    same(*found)


def nnx_net(library):
    class Net(library.Module):
        def __init__(self, n, *, rngs):
            self.kernel = library.Param(INIT(rngs.params(), (3, n)))
            self.mean = library.BatchStat(jnp.zeros(n))
            self.stream = rngs.dropout.fork()

        def __call__(self, x, train=False):
            x = x @ self.kernel[...]
            if train:
                self.mean[...] = self.mean[...] * 0.9 + x.mean(0)
                x = x + self.stream.normal(x.shape)
            return x - self.mean[...]

    return Net


def test_nnx_in_linen():
    found = []
    for library in (nnx, flax_nnx):
        nn = linen if library is nnx else flax_nn
        net = nnx_net(library)

        class Outer(nn.Module):
            @nn.compact
            def __call__(self, x, train=False, net=net, library=library):
                x = library.bridge.to_linen(net, 3)(x, train=train)
                return library.bridge.to_linen(net, 2, name="last")(x, train=train)

        keys = {"params": KEY, "dropout": jax.random.key(1)}
        variables = Outer().init(keys, X)
        y, updates = Outer().apply(
            variables, X, True, rngs={"dropout": KEY}, mutable=["batch_stats"]
        )
        found.append((variables, y, updates))
    same(*found)


def test_boxes():
    found = []
    for library in (nnx, flax_nnx):

        def init(*args, library=library):
            return library.with_metadata(INIT, unit="volt")(*args)

        class Net(library.Module):
            def __init__(self, *, rngs, library=library, init=init):
                self.kernel = library.Param(init(rngs.params(), (3, 2)))

            def __call__(self, x):
                return x @ self.kernel[...]

        box = library.bridge.to_linen(Net).init(KEY, X)["params"]["kernel"]
        builtin = ("hijax", "ref", "eager_sharding")  # Flax's own
        metadata = {k: v for k, v in box.metadata.items() if k not in builtin}
        found.append((type(box).__name__, box.var_type.__name__, metadata))
    assert found[0] == found[1]


def test_bridge_modules():
    found = []
    for library in (nnx, flax_nnx):
        bridge = library.bridge

        class Dense(bridge.Module):
            features: int

            @bridge.compact
            def __call__(self, x):
                w = self.param("w", INIT, (x.shape[-1], self.features))
                b = self.param("b", jax.nn.initializers.normal(), (self.features,))
                return x @ w[...] + b[...]

        class Net(bridge.Module):
            def setup(self, Dense=Dense):
                self.first = Dense(4)
                self.scale = self.param("scale", jax.nn.initializers.normal(), (4,))

            def __call__(self, x):
                return self.first(x) * self.scale[...]

        class Compact(bridge.Module):
            hidden: int

            @bridge.compact
            def __call__(self, x, Dense=Dense):
                calls = self.variable("counter", "calls", lambda: jnp.zeros((), jnp.int32))
                calls[...] += 1
                x = Dense(self.hidden)(x)
                x = x + jax.random.normal(self.make_rng("params"), x.shape)
                return Dense(2)(x)

        for module in (Net(), Compact(5)):
            for rngs in (KEY, {"params": 3}, 7):
                variables = module.init(rngs, X)
                found.append((variables, module.apply(variables, X, rngs=rngs)))
    half = len(found) // 2
    for ours, theirs in zip(found[:half], found[half:], strict=True):
        same(ours, theirs)
