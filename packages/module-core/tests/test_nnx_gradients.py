"""Gradients of modules equal jax's on the same numbers, and no part of a module is lost."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from comparing import near
from linnet.module_core import nnx
from linnet.module_core.errors import ArgumentError, ArgumentTypeError

from .nnx_models import block

X = np.linspace(-1, 1, 12, dtype=np.float32).reshape(4, 3)


def loss(m, x):
    return (m(x) ** 2).sum()


def by_hand(kernel, x):
    return (jnp.tanh(x @ kernel) ** 2).sum()


def test_grad_is_a_state_of_the_parameters():
    m = block()
    gradient = nnx.grad(loss)(m, X)
    assert isinstance(gradient, nnx.State)
    assert nnx.to_flat_state(gradient).paths == (("dense", "kernel"),)
    assert isinstance(gradient.dense.kernel, nnx.Param)
    near(gradient.dense.kernel[...], jax.grad(by_hand)(m.dense.kernel[...], X))
    assert float(m.calls[...]) == 1.0


def test_value_aux_and_several_arguments():
    m = block()

    @nnx.value_and_grad(argnums=(0, 1), has_aux=True)
    def both(m, x):
        m.seen = nnx.Intermediate(x)
        return loss(m, x), (m, m.dense)

    (value, (same, dense)), (of_m, of_x) = both(m, X)
    assert same is m
    assert dense is m.dense
    near(m.seen[...], X)
    expected = jax.value_and_grad(by_hand, argnums=(0, 1))(m.dense.kernel[...], X)
    near(value, expected[0])
    near(of_m.dense.kernel[...], expected[1][0])
    near(of_x, expected[1][1])
    gradient, aux = nnx.grad(lambda m, x: (loss(m, x), x), has_aux=True)(m, X)
    near(aux, X)
    near(gradient.dense.kernel[...], expected[1][0])


def test_what_to_differentiate_by():
    m = block()
    m.calls[...] = jnp.float32(3.0)

    def f(m, other):
        return (m.dense.kernel[...] * m.calls[...]).sum() * other["s"]

    gradient = nnx.grad(f, argnums=nnx.DiffState(0, nnx.BatchStat))(m, {"s": 2.0})
    assert nnx.to_flat_state(gradient).paths == (("calls",),)
    near(gradient.calls[...], 2 * m.dense.kernel[...].sum())
    trees = nnx.grad(lambda t: f(t["m"], t), argnums=0)({"m": m, "s": 2.0})
    assert set(trees) == {"m", "s"}
    near(trees["m"].dense.kernel[...], np.full((3, 3), 6.0))
    variable, number = nnx.BatchStat(jnp.ones(2)), nnx.Param(jnp.ones(2))
    bare = nnx.grad(lambda a, b: (a[...] * b[...]).sum(), argnums=(0, -1))(variable, number)
    assert [type(g) for g in bare] == [nnx.BatchStat, nnx.Param]


def test_a_state_is_differentiated_like_its_module():
    m = block()
    graphdef, params, rest = nnx.split(m, nnx.Param, ...)
    gradient = nnx.grad(lambda p, r: loss(nnx.merge(graphdef, p, r), X))(params, rest)
    near(gradient.dense.kernel[...], nnx.grad(loss)(m, X).dense.kernel[...])


def test_shared_modules():
    m = block()
    m.again = m.dense
    gradient = nnx.grad(lambda m: m.again(m.dense(X)).sum())(m)
    assert nnx.to_flat_state(gradient).paths == (("again", "kernel"),)
    kernel = m.dense.kernel[...]
    near(
        gradient.again.kernel[...],
        jax.grad(lambda k: jnp.tanh(jnp.tanh(X @ k) @ k).sum())(kernel),
    )
    first, second = nnx.grad(lambda a, b: loss(a, X) + loss(b, X), argnums=(0, 1))(m, m)
    near(first.again.kernel[...], 2 * jax.grad(by_hand)(kernel, X))
    assert not second
    with pytest.raises(ArgumentError, match="two prefixes"):
        nnx.grad(lambda a, b: loss(a, X))(m, m)


def test_tree_mode_gives_modules():
    m = block()
    m.rngs = None
    for mode in ({"graph": False}, {"graph_updates": False}):
        gradient = nnx.grad(loss, **mode)(m, X)
        assert type(gradient) is type(m)
        near(gradient.dense.kernel[...], jax.grad(by_hand)(m.dense.kernel[...], X))
        assert float(gradient.calls[...]) == 0.0


def test_grad_mistakes():
    m = block()
    whole = block()
    whole.dense.kernel = nnx.Param(jnp.ones((3, 3), int))
    with pytest.raises(ArgumentTypeError, match="got int32 for Param at m.dense.kernel"):
        nnx.grad(loss)(whole, X)
    with pytest.raises(ArgumentError, match="argnum 0 is repeated"):
        nnx.grad(loss, argnums=(0, nnx.DiffState(0, nnx.Param)))(m, X)
    with pytest.raises(TypeError, match="at least 4 positional arguments"):
        nnx.grad(loss, argnums=3)(m, X)
    with pytest.raises(TypeError, match="ints and nnx.DiffState"):
        nnx.grad(loss, argnums="m")
    with pytest.raises(ArgumentError, match="bound methods"):
        nnx.grad(m.__call__)
    with pytest.raises(TypeError, match="scalar-output"):
        nnx.grad(lambda m, x: m(x))(m, X)
    with pytest.raises(TypeError, match="returns \\(loss, aux\\)"):
        nnx.grad(loss, has_aux=True)(m, X)
    with pytest.raises(ArgumentError, match="reduce_axes must be empty"):
        nnx.grad(loss, reduce_axes=("x",))
    assert float(m.calls[...]) == 0.0


def test_jvp_and_vjp_agree_with_jax():
    m = block()
    kernel = m.dense.kernel[...]
    tangent = jax.tree.map(
        lambda x: x if x.dtype != jnp.float32 else jnp.ones_like(x), nnx.clone(m)
    )
    y, dy = nnx.jvp(lambda m, x: m(x), (m, X), (tangent, jnp.ones_like(X)))
    expected = jax.jvp(
        lambda k, x: jnp.tanh(x @ k), (kernel, X), (jnp.ones((3, 3)), jnp.ones_like(X))
    )
    near(y, expected[0])
    near(dy, expected[1])
    assert float(m.calls[...]) == 1.0
    near(nnx.jvp(lambda m, x: m(x), (m, X), (nnx.state(tangent), jnp.ones_like(X)))[1], dy)
    y, back, aux = nnx.vjp(lambda m, x: (m(x), m), m, X, has_aux=True)
    assert aux is m
    of_m, of_x = back(jnp.ones_like(y))
    _, expected_back = jax.vjp(lambda k, x: jnp.tanh(x @ k), kernel, X)
    near(of_m.dense.kernel[...], expected_back(jnp.ones_like(y))[0])
    near(of_x, expected_back(jnp.ones_like(y))[1])
    assert float(of_m.calls[...]) == 0.0
    assert nnx.jvp(lambda x: x * 2)((1.0,), (2.0,)) == (2.0, 4.0)
    assert nnx.vjp(lambda x: x * 2)(3.0)[1](1.0) == (2.0,)
    with pytest.raises(TypeError, match="must be tuples"):
        nnx.jvp(lambda x: x, 1.0, 1.0)
    with pytest.raises(ArgumentTypeError, match="must return arrays, not modules"):
        nnx.vjp(lambda m: m, m)
    with pytest.raises(ArgumentError, match="has nothing at"):
        nnx.jvp(lambda m: m(X), (m,), (nnx.state(m, nnx.BatchStat),))


def test_custom_vjp_with_updates():
    seen = []

    @nnx.custom_vjp
    def f(m, z):
        m.calls[...] += 1
        return (m.dense.kernel[...] * z).sum()

    def forward(m, z):
        return f(m, z), (m, z)

    def backward(residuals, cotangent):
        (of_m, of_z), of_output = cotangent
        seen.append((nnx.to_flat_state(of_m).paths, of_z))
        _, z = residuals
        of_kernel = nnx.State({"dense": {"kernel": nnx.Param(jnp.full((3, 3), 7.0) * of_output)}})
        return of_kernel, of_output * z

    f.defvjp(forward, backward)
    m = block()
    of_m, of_z = nnx.grad(f, argnums=(0, 1))(m, 2.0)
    near(of_m.dense.kernel[...], np.full((3, 3), 7.0))
    near(of_z, 2.0)
    assert float(m.calls[...]) == 1.0
    assert ("dense", "kernel") in seen[0][0]
    assert seen[0][1] is None


def test_custom_vjp_without_updates_and_with_fixed_arguments():
    @nnx.custom_vjp(nondiff_argnums=(0,), graph_updates=False)
    def f(scale, m):
        return scale * m.dense.kernel[...].sum()

    def backward(scale, m, cotangent):
        tangent = jax.tree.map(jnp.zeros_like, nnx.state(m, nnx.Param))
        tangent["dense"]["kernel"][...] = jnp.full((3, 3), scale * 10 * cotangent)
        return (tangent,)

    f.defvjp(lambda scale, m: (f(scale, m), m), backward)
    near(nnx.grad(lambda m: f(3.0, m))(block()).dense.kernel[...], np.full((3, 3), 30.0))
    with pytest.raises(AttributeError, match="No VJP defined"):
        nnx.custom_vjp(lambda x: x)(1.0)
    f.defvjp(lambda scale, m: (f(scale, m), m), lambda scale, m, c: c)
    with pytest.raises(ArgumentTypeError, match="a tuple of 1 cotangent"):
        nnx.grad(lambda m: f(3.0, m))(block())


def test_remat_is_the_function_itself():
    m = block()
    again = nnx.grad(nnx.remat(loss))(m, X)
    near(again.dense.kernel[...], nnx.grad(loss)(m, X).dense.kernel[...])
    assert float(m.calls[...]) == 2.0
    static = nnx.remat(lambda m, x, twice: m(m(x)) if twice else m(x), static_argnums=2)
    assert static(m, X, True).shape == X.shape
    near(nnx.remat(m.__call__)(X), m(X))
    policy = nnx.remat(loss, policy=jax.checkpoint_policies.everything_saveable)
    near(nnx.grad(policy)(m, X).dense.kernel[...], again.dense.kernel[...])
