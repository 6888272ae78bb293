"""The types of results, and the accuracy of sequences in half precision."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from linnet.layers_recurrent import linen

from . import loops
from .test_values import CELLS, FAST, B, H, declared, inputs

HALVES = [jnp.bfloat16, jnp.float16]


def types(tree):
    return {leaf.dtype for leaf in jax.tree.leaves(tree)}


@pytest.mark.parametrize("name", FAST)
def test_a_sequence_has_the_types_of_its_steps(name):
    """Checks all types of inputs, parameters and carry, with every `dtype`."""
    cell, _ = CELLS[name]
    params, carry = declared(name)
    xs = inputs(name, B, 2)
    for kinds in [
        (jnp.float32, jnp.bfloat16, jnp.bfloat16, None),
        (jnp.bfloat16, jnp.bfloat16, jnp.bfloat16, None),
        (jnp.float16, jnp.float32, jnp.float32, jnp.float16),
        (jnp.float32, jnp.float32, jnp.float16, jnp.float16),
    ]:
        as_params, as_carry, as_inputs, dtype = kinds
        made = cell.clone(dtype=dtype)
        at = (
            jax.tree.map(lambda p, t=as_params: p.astype(t), params),
            jax.tree.map(lambda c, t=as_carry: c.astype(t), carry),
            xs.astype(as_inputs),
        )

        def steps(params, carry, xs, made=made):
            for t in range(2):
                carry, y = made.apply({"params": params}, carry, xs[:, t])
            return carry, y

        def sequence(params, carry, xs, made=made):
            last, ys = linen.RNN(made, return_carry=True).apply(
                {"params": {"cell": params}}, xs, initial_carry=carry
            )
            return last, ys[:, -1]

        forms = [jax.eval_shape(function, *at) for function in (sequence, steps)]
        assert forms[0] == forms[1], kinds


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("name", FAST)
def test_half_precision_is_near_the_loop(name, dtype):
    """Results are within two units in the last place per step: gates are computed in float32."""
    cell, step = CELLS[name]
    params, carry = jax.tree.map(lambda a: jnp.asarray(a, dtype), declared(name))
    xs = jnp.asarray(inputs(name, B, 3), dtype)
    last, ys = linen.RNN(cell, return_carry=True).apply(
        {"params": {"cell": params}}, xs, initial_carry=carry
    )
    assert types((last, ys)) == {jnp.dtype(dtype)}
    wide = jax.tree.map(lambda a: np.asarray(a, np.float64), (params, carry))
    expected, expected_ys = loops.run(step, *wide, np.asarray(xs, np.float64))
    unit = float(jnp.finfo(dtype).eps)
    np.testing.assert_allclose(np.asarray(ys, np.float64), expected_ys, atol=6 * unit)
    for a, b in zip(loops.entries(last), expected, strict=True):
        np.testing.assert_allclose(np.asarray(a, np.float64), b, atol=12 * unit)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("name", CELLS)
def test_float64_is_computed_in_float64(name):
    cell, step = CELLS[name]
    params, carry = jax.tree.map(lambda a: a.astype(np.float64), declared(name))
    xs = inputs(name, B, 3).astype(np.float64)
    ys = linen.RNN(cell).apply({"params": {"cell": params}}, xs, initial_carry=carry)
    assert ys.dtype == jnp.float64
    _, expected = loops.run(step, params, carry, xs)
    np.testing.assert_allclose(ys, expected, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("name", CELLS)
def test_param_dtype_is_that_of_parameters_and_carry(name):
    cell = CELLS[name][0].clone(param_dtype=jnp.float16)
    if hasattr(cell, "recurrent_kernel_init"):
        cell = cell.clone(recurrent_kernel_init=jax.nn.initializers.lecun_normal())
    x = inputs(name, B)

    def made():
        carry = cell.initialize_carry(jax.random.key(0), x.shape)
        return carry, cell.init(jax.random.key(0), carry, x)

    assert types(jax.eval_shape(made)) == {jnp.dtype(jnp.float16)}


@pytest.mark.parametrize(
    ("name", "dtype"), [("lstm", jnp.bfloat16), ("gru", jnp.float16), ("simple", jnp.bfloat16)]
)
def test_gradients_in_half_precision(name, dtype):
    """Gradients have the types of their arguments, and are near those in float32."""
    cell, _ = CELLS[name]
    at = (*declared(name), inputs(name, B, 3))

    def loss(params, carry, xs):
        ys = linen.RNN(cell).apply({"params": {"cell": params}}, xs, initial_carry=carry)
        return jnp.sum(jnp.sin(ys.astype(jnp.float32)))

    half = jax.tree.map(lambda a: jnp.asarray(a, dtype), at)
    # The same numbers, in float32.
    full = jax.tree.map(lambda a: a.astype(jnp.float32), half)
    gradient = jax.jit(jax.grad(loss, argnums=(0, 1, 2)))
    ours, expected = gradient(*half), gradient(*full)
    assert types(ours) == {jnp.dtype(dtype)}
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(expected), strict=True):
        tolerance = 40 * float(jnp.finfo(dtype).eps)
        np.testing.assert_allclose(np.asarray(a, np.float32), b, rtol=tolerance, atol=tolerance)


def test_integers_are_promoted():
    layer = linen.RNN(linen.GRUCell(H))
    xs = np.arange(24).reshape(2, 4, 3)
    ys, variables = layer.init_with_output(jax.random.key(0), xs)
    assert ys.dtype == jnp.float32
    np.testing.assert_allclose(layer.apply(variables, xs.astype(np.float32)), ys, rtol=1e-6)


def test_complex_numbers():
    rng = np.random.default_rng(0)
    cell = linen.SimpleCell(H, param_dtype=jnp.complex64)
    params = {
        "i": {"kernel": rng.normal(size=(3, H)) + 1j, "bias": np.array([0.2j, -0.1])},
        "h": {"kernel": rng.normal(size=(H, H)) - 0.5j},
    }
    params = jax.tree.map(lambda p: (p / 3).astype(np.complex64), params)
    xs = rng.normal(size=(2, 4, 3)).astype(np.float32)
    ys = linen.RNN(cell).apply({"params": {"cell": params}}, xs)
    state = np.zeros((2, H), np.complex128)
    for t in range(4):
        inner = xs[:, t] @ params["i"]["kernel"] + params["i"]["bias"]
        state = np.tanh(inner + state @ params["h"]["kernel"])
        np.testing.assert_allclose(ys[:, t], state, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", FAST)
def test_ranks_and_types_are_never_promoted_implicitly(name):
    cell, _ = CELLS[name]
    params, carry = declared(name)
    xs = inputs(name, B, 2)
    lengths = jnp.arange(1, B + 1).clip(max=2)

    def loss(params, carry, xs):
        layer = linen.RNN(cell, return_carry=True)
        last, ys = layer.apply(
            {"params": {"cell": params}}, xs, initial_carry=carry, seq_lengths=lengths
        )
        return sum(jnp.sum(leaf) for leaf in jax.tree.leaves((last, ys)))

    with jax.numpy_rank_promotion("raise"), jax.numpy_dtype_promotion("strict"):
        jax.eval_shape(jax.grad(loss, argnums=(0, 1, 2)), params, carry, xs)
