"""What calls cost: FLOPs of a call and of its vector-Jacobian product, in tables of models."""

import jax
import jax.numpy as jnp
import pytest

from linnet.module_core import linen as nn
from linnet.module_core.linen.recording import Costs
from linnet.module_core.linen.summary import table

KEY = jax.random.key(0)
X = jnp.ones((2, 3))
INIT = jax.nn.initializers


class Dense(nn.Module):
    features: int = 4

    @nn.compact
    def __call__(self, x):
        kernel = self.param("kernel", INIT.normal(), (x.shape[-1], self.features))
        bias = self.param("bias", INIT.zeros, (self.features,))
        return x @ kernel + bias


class Norm(nn.Module):
    @nn.compact
    def __call__(self, x, train=False):
        mean = self.variable("batch_stats", "mean", jnp.zeros, x.shape[-1:])
        if train and not self.is_initializing():
            mean.value = 0.9 * mean.value + 0.1 * x.mean(0)
        return x - mean.value


def rows(module, *args, flops=True, vjp=False):
    costs = Costs(flops, vjp)
    return table(module, KEY, args, {}, mutable=nn.DenyList("intermediates"), costs=costs)


def paths(rows):
    return ["/".join(row.path) for row in rows]


@pytest.mark.parametrize(("m", "k", "n"), [(2, 3, 4), (1, 5, 1), (7, 2, 6)])
def test_flops_of_a_dense_layer(m, k, n):
    class Outer(nn.Module):
        @nn.compact
        def __call__(self, x):
            return Dense(n)(x)

    outer, dense = rows(Outer(), jnp.ones((m, k)), vjp=True)
    forward = 2 * m * k * n + m * n
    # Gradients for kernel, input and bias; the parameters after the call are results of it too, and
    # their gradients are added.
    backward = 2 * m * k * n + 2 * m * k * n + (m - 1) * n + (k * n + n)
    assert outer.flops == dense.flops == forward
    assert outer.vjp_flops == dense.vjp_flops == forward + backward


def test_flops_are_those_of_apply():
    def train(mean, x):
        new = 0.9 * mean + 0.1 * x.mean(0)
        return x - new, new

    expected = jax.jit(train).lower(jnp.ones(3), X).cost_analysis()["flops"]
    (row,) = rows(Norm(), X, True)
    assert row.flops == expected
    (row,) = rows(Norm(), X, False)
    assert row.flops == X.size


@pytest.mark.parametrize("make_key", [jax.random.key, jax.random.PRNGKey])
def test_flops_of_random_numbers(make_key):
    class Noise(nn.Module):
        @nn.compact
        def __call__(self, x, key):
            seed = self.variable("state", "key", lambda: make_key(3))
            if not self.is_initializing():
                seed.value = jax.random.fold_in(seed.value, 1)
            return x + jax.random.normal(key, x.shape)

    def noise(seed, key, x):
        return x + jax.random.normal(key, x.shape), jax.random.fold_in(seed, 1)

    raw = [jax.random.PRNGKey(i) for i in range(2)]
    expected = jax.jit(noise).lower(*raw, X).cost_analysis()["flops"]
    (row,) = rows(Noise(), X, make_key(1), vjp=True)
    assert row.flops == expected
    assert row.vjp_flops > 0


def test_flops_with_modules_and_functions_as_arguments():
    class Caller(nn.Module):
        @nn.compact
        def __call__(self, fn, x):
            return fn(x)

    class Model(nn.Module):
        @nn.compact
        def __call__(self, x):
            dense, factor = Dense(3), x.sum()
            y = Caller()(dense, x)
            return Caller()(lambda z: dense(z) * factor, y)

    found = rows(Model(), X, vjp=True)
    dense = 2 * 2 * 3 * 3 + 2 * 3
    assert paths(found) == ["", "Caller_0", "Dense_0", "Caller_1"]
    assert [row.flops for row in found] == [2 * dense + 5 + 6, dense, dense, dense + 6]
    assert found[1].vjp_flops == found[2].vjp_flops


def test_flops_of_calls_that_return_no_arrays():
    class Odd(nn.Module):
        @nn.compact
        def __call__(self, x, options):
            return {"y": Dense()(x), "text": "s", "none": None, "fn": print, "o": options}

    options = {1: X, "a": "unsortable"}
    found = rows(Odd(), X, options, vjp=True)
    assert [row.flops for row in found] == [56, 56]
    (row,) = rows(nn.Sequential([lambda x: jnp.argmax(x, -1)]), X, vjp=True)
    assert row.flops > 0
    assert row.vjp_flops == 0  # no gradient flows through an integer
    (row,) = rows(nn.Sequential([lambda: ()]), vjp=True)
    assert (row.flops, row.vjp_flops) == (0, 0)


@pytest.mark.parametrize("answer", [None, NotImplementedError(), RuntimeError("unimplemented")])
def test_a_backend_without_cost_analysis(monkeypatch, answer):
    def cost_analysis(self):
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(jax.stages.Lowered, "cost_analysis", cost_analysis)
    (row,) = rows(Dense(), X, vjp=True)
    assert (row.flops, row.vjp_flops) == (-1, -1)
    assert "unknown" in Dense().tabulate(KEY, X, compute_flops=True)


def test_an_error_of_the_repeated_call_says_what_was_going_on():
    class Decoder(nn.Module):
        @nn.compact
        def __call__(self, x):
            decoding = self.has_variable("cache", "x")
            self.variable("cache", "x", jnp.zeros, x.shape)
            if decoding and x.shape[0] != 1:
                raise ValueError("one at a time")
            return x

    assert paths(rows(Decoder(), X, flops=False)) == [""]
    with pytest.raises(ValueError, match="one at a time") as caught:
        rows(Decoder(), X)
    assert any("while counting FLOPs" in note for note in caught.value.__notes__)
