"""nnx transforms against Flax's: the same programs, written once, with either library.

A program returns arrays, and the parts of its modules that should be the same. Results of the same
operations in the same order are compared bit by bit, gradients up to rounding.
"""

import flax.nnx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import linnet.nnx

X = np.linspace(-1, 1, 12, dtype=np.float32).reshape(4, 3)


def parts(nnx):
    class Block(nnx.Module):
        def __init__(self, rngs):
            self.linear = nnx.Linear(3, 3, rngs=rngs)
            self.norm = nnx.BatchNorm(3, rngs=rngs)
            self.dropout = nnx.Dropout(0.5, rngs=rngs)
            self.calls = nnx.Variable(jnp.zeros(()))

        def __call__(self, x):
            self.calls[...] += 1
            return self.dropout(nnx.relu(self.norm(self.linear(x)) + x))

    return Block


def everything(nnx, *nodes):
    """The leaves of some modules, by path."""
    found = {}
    for i, node in enumerate(nodes):
        for path, leaf in nnx.to_flat_state(nnx.state(node)):
            value = leaf[...] if isinstance(leaf, nnx.Variable) else leaf
            if jax.dtypes.issubdtype(value.dtype, jax.dtypes.prng_key):
                value = jax.random.key_data(value)
            found[i, *path] = value
    return found


def vmapped(nnx):
    block = parts(nnx)

    @nnx.split_rngs(splits=4)
    @nnx.vmap
    def make(rngs):
        return block(rngs)

    model = make(nnx.Rngs(0))
    y = nnx.vmap(lambda m, x: m(x))(model, jnp.stack([X] * 4))
    return y, everything(nnx, model)


def vmapped_by_filters(nnx):
    block = parts(nnx)
    axes = nnx.StateAxes({nnx.Param: 0, ...: None})
    make = nnx.vmap(lambda key: block(nnx.Rngs(key)).linear, out_axes=axes, axis_size=3)
    model = make(jax.random.split(jax.random.key(1), 3))
    return nnx.vmap(lambda m, x: m(x), in_axes=(axes, None))(model, X), everything(nnx, model)


def scanned_layers(nnx):
    block = parts(nnx)

    @nnx.split_rngs(splits=4)
    @nnx.vmap
    def make(rngs):
        return block(rngs)

    model = make(nnx.Rngs(0))

    @nnx.scan(in_axes=(0, nnx.Carry), out_axes=nnx.Carry)
    def forward(layer, x):
        return layer(x)

    return forward(model, X), everything(nnx, model)


def scanned_steps(nnx):
    model = parts(nnx)(nnx.Rngs(3))

    @nnx.scan(in_axes=(nnx.Carry, None, 0), out_axes=(nnx.Carry, 0))
    def steps(m, scale, x):
        return m, m(x[None] * scale)

    out, ys = steps(model, 2.0, X)
    assert out is model
    return ys, everything(nnx, model)


def scanned_with_carried_state(nnx):
    block = parts(nnx)
    model = nnx.vmap(lambda key: block(nnx.Rngs(key)))(jax.random.split(jax.random.key(0), 4))
    model.calls = nnx.Variable(jnp.zeros(()))
    carried = nnx.PathContains("calls")

    @nnx.scan(in_axes=(nnx.StateAxes({carried: nnx.Carry, ...: 0}), nnx.Carry), out_axes=nnx.Carry)
    def forward(layer, x):
        return layer(x)

    return forward(model, X), everything(nnx, model)


def jitted(nnx):
    model = parts(nnx)(nnx.Rngs(0))

    @nnx.jit
    def call(m, x):
        m.seen = nnx.Intermediate(x.sum())
        m.linear.extra = nnx.Param(jnp.ones(2))
        return m(x)

    return [call(model, X) for _ in range(3)], everything(nnx, model)


def branches(nnx):
    model = parts(nnx)(nnx.Rngs(0))
    outputs = []
    for i in range(3):
        outputs.append(nnx.cond(i == 1, lambda m, x: m(x), lambda m, x: x, model, X))
        nnx.switch(i, [lambda m: None, lambda m: m.calls.set_value(m.calls[...] * 2)], model)
    return outputs, everything(nnx, model)


def loops(nnx):
    model = parts(nnx)(nnx.Rngs(0))

    def body(i, state):
        m, x = state
        return m, m(x)

    _, y = nnx.fori_loop(0, 3, body, (model, jnp.asarray(X)))
    _, z = nnx.while_loop(lambda s: s[0].calls[...] < 5, lambda s: body(0, s), (model, y))
    return y, z, everything(nnx, model)


EXACT = [vmapped, vmapped_by_filters, branches, scanned_with_carried_state]
NEAR = [scanned_layers, scanned_steps, jitted, loops]


def gradients(nnx):
    model = parts(nnx)(nnx.Rngs(0))

    def loss(m, x):
        return (m(x) ** 2).sum()

    value, gradient = nnx.value_and_grad(loss)(model, X)
    by_stats = nnx.grad(loss, argnums=nnx.DiffState(0, nnx.PathContains("bias")))(model, X)
    both = nnx.grad(nnx.remat(loss), argnums=(0, 1))(model, X)
    return value, *(everything(nnx, g) for g in (gradient, by_stats, both[0])), both[1]


def tree_gradients(nnx):
    model = parts(nnx)(nnx.Rngs(0)).linear
    tangents = jax.tree.map(jnp.ones_like, nnx.clone(model))
    mode = {"graph_updates": False}
    forward = nnx.jvp(lambda m, x: m(x), (model, X), (tangents, jnp.ones_like(X)), **mode)
    y, back = nnx.vjp(lambda m, x: m(x), model, X, **mode)
    of_model, of_x = back(jnp.ones_like(y))
    gradient = nnx.grad(lambda m: (m(X) ** 2).sum(), **mode)(model)
    assert type(gradient) is type(of_model) is nnx.Linear
    return forward, of_x, everything(nnx, of_model, gradient)


def steps(nnx):
    model = parts(nnx)(nnx.Rngs(0))
    optimizer = nnx.Optimizer(model, optax.adam(1e-2), wrt=nnx.Param)

    @nnx.jit
    def step(m, optimizer, x):
        loss, gradient = nnx.value_and_grad(lambda m: (m(x) ** 2).mean())(m)
        optimizer.update(m, gradient)
        return loss

    return [step(model, optimizer, X) for _ in range(5)], everything(nnx, model)


def custom_gradient(nnx):
    model = parts(nnx)(nnx.Rngs(0)).linear

    @nnx.custom_vjp
    def f(m, x):
        return m(x)

    def backward(residuals, cotangent):
        (of_model, _), of_output = cotangent
        return jax.tree.map(lambda v: v + 2.0, of_model), of_output

    f.defvjp(lambda m, x: (f(m, x), ()), backward)
    of_model, of_x = nnx.grad(lambda m, x: f(m, x).sum(), argnums=(0, 1))(model, X)
    return everything(nnx, of_model), of_x


ROUNDED = [gradients, tree_gradients, steps, custom_gradient]


@pytest.mark.parametrize("program", [*EXACT, *NEAR, *ROUNDED], ids=lambda p: p.__name__)
def test_program(program):
    ours, theirs = program(linnet.nnx), program(flax.nnx)
    assert jax.tree.structure(ours) == jax.tree.structure(theirs)
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        assert jnp.asarray(a).dtype == jnp.asarray(b).dtype
        if program in EXACT:
            np.testing.assert_array_equal(a, b)
        else:
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "call",
    [
        lambda nnx, m: nnx.vmap(lambda a, b: 1, in_axes=(0, None), axis_size=3)(m, m),
        lambda nnx, m: nnx.grad(lambda a, b: a(X).sum())(m, m),
        lambda nnx, m: nnx.grad(lambda a: 1.0, argnums=(0, nnx.DiffState(0, nnx.Param)))(m),
        lambda nnx, m: nnx.grad(m.__call__)(X),
        lambda nnx, m: nnx.vmap(m.__call__)(X),
        lambda nnx, m: nnx.vmap(lambda m: 1, in_axes=(nnx.StateAxes({nnx.Cache: 0}),))(m),
        lambda nnx, m: nnx.scan(lambda c, x: x, in_axes=(nnx.Carry, 0), out_axes=0)(0, X),
        lambda nnx, m: nnx.scan(lambda x: x, in_axes=0, out_axes=None)(X),
        lambda nnx, m: nnx.scan(lambda c: c, in_axes=nnx.Carry, out_axes=nnx.Carry)(0),
        lambda nnx, m: nnx.scan(
            lambda c: nnx.clone(c), in_axes=nnx.Carry, out_axes=nnx.Carry, length=2
        )(m),
        lambda nnx, m: nnx.while_loop(lambda m: True, lambda m: nnx.clone(m), m),
    ],
)
def test_what_raises_an_error_there_raises_one_here(call):
    for nnx in (linnet.nnx, flax.nnx):
        with pytest.raises(ValueError):  # noqa: PT011  (Flax's words are its own)
            call(nnx, parts(nnx)(nnx.Rngs(0)))
