"""What the backward pass of repeated layers computes again, and what it keeps."""

import jax
import jax.numpy as jnp
import pytest

from comparing import near, sample
from linnet.module_core import linen as nn
from linnet.module_core import nnx

N, LENGTH, WIDTH = 3, 8, 2
KEY = jax.random.key(0)
X = sample((1, LENGTH, WIDTH))  # [B, T, D]


def attention(x, kernel, key=None):
    """A layer with products, attention weights, a mask and elementwise functions."""
    q = x @ kernel
    weights = jax.nn.softmax(jnp.einsum("btd,bsd->bts", q, x))
    if key is not None:
        q = q * jax.random.bernoulli(key, 0.5, q.shape)
    return x + jnp.tanh(jnp.exp(q) + jnp.einsum("bts,bsd->btd", weights, x))


def recurrent(x, kernel, key=None):
    """A layer with a loop in it."""

    def step(h, y):
        h = jnp.tanh(jnp.exp(h) + y @ kernel)
        return h, h

    return jax.lax.scan(step, jnp.zeros_like(x[:, 0]), x.swapaxes(0, 1))[1].swapaxes(0, 1)


def linen_loop(layer, dropout=False, **options):
    class Layer(nn.Module):
        @nn.compact
        def __call__(self, x):
            kernel = self.param("kernel", jax.nn.initializers.normal(), (WIDTH, WIDTH))
            return layer(x, kernel, self.make_rng("dropout") if dropout else None)

    model = nn.Repeat(Layer, N, **options)
    variables = model.init(KEY, X)
    return lambda x: model.apply(variables, x, rngs={"dropout": KEY})


def nnx_loop(layer, dropout=False, **options):
    class Layer(nnx.Module):
        def __init__(self, rngs):
            self.kernel = nnx.Param(rngs.normal((WIDTH, WIDTH)))
            self.rngs = rngs.fork()

        def __call__(self, x):
            return layer(x, self.kernel[...], self.rngs() if dropout else None)

    return lambda x: nnx.Repeat(Layer, N, rngs=nnx.Rngs(0), **options)(x)


LOOPS = pytest.mark.parametrize("loop", [linen_loop, nnx_loop], ids=["linen", "nnx"])


def kept(function):
    """Shapes and types of what the backward pass of the loop finds in memory, sorted."""
    leaves = jax.tree.leaves(jax.eval_shape(lambda x: jax.vjp(function, x)[1], X))
    return sorted((x.shape, str(x.dtype)) for x in leaves)


@LOOPS
def test_what_is_costly_is_kept(loop):
    shapes = kept(loop(attention))
    everything = kept(loop(attention, remat=False))
    assert len(shapes) < len(everything)
    assert ((N, *X.shape), "float32") in shapes  # a product with weights
    square = ((N, 1, LENGTH, LENGTH), "float32")
    assert square in everything
    assert square not in shapes


@LOOPS
def test_masks_are_not_drawn_again(loop):
    bits = ((N, *X.shape), "uint32")
    assert bits in kept(loop(attention, dropout=True))


@LOOPS
def test_layers_with_loops_keep_everything(loop):
    assert kept(loop(recurrent)) == kept(loop(recurrent, remat=False))
    assert kept(loop(recurrent)) != kept(loop(recurrent, remat="nothing"))


@LOOPS
@pytest.mark.parametrize("layer", [attention, recurrent])
@pytest.mark.parametrize("unroll", [1, True])
def test_gradients_are_the_same(loop, layer, unroll):
    def gradient(remat):
        function = loop(layer, dropout=True, remat=remat, unroll=unroll)
        return jax.jit(jax.grad(lambda x: (function(x) ** 2).sum()))(X)

    near(gradient(None), gradient(False))


@LOOPS
def test_effects_happen_once(loop):
    seen = []

    def layer(x, kernel, key=None):
        jax.debug.callback(lambda x: seen.append(x), x[0, 0, 0])
        return attention(x, kernel)

    function = loop(layer)
    jax.effects_barrier()
    seen.clear()
    jax.block_until_ready(jax.grad(lambda x: function(x).sum())(X))
    jax.effects_barrier()
    assert len(seen) == N
