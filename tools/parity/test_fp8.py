"""Products in 8-bit floating point equal Flax's bit for bit, gradients and state included.

There are two exceptions, listed in differences.toml: einsums whose operands are swapped, for which
Flax stores each operand's history as the other's; and products without a `preferred_element_type`.
"""

import flax.linen
import jax
import jax.numpy as jnp
import pytest
from flax.linen import fp8_ops

import linnet.linen
from comparing import identical
from linnet.linen import fp8_ops as ours

KEY = jax.random.key(7)
DOTS = ["Fp8DotGeneralOp", "Fp8DirectDotGeneralOp", "NANOOFp8DotGeneralOp"]

pytestmark = pytest.mark.filterwarnings("ignore:.*Fp8DotGeneralOp is deprecated")


def normal(*shape, dtype=jnp.float32):
    return jax.random.normal(jax.random.key(len(shape)), shape, dtype)


def steps(module, variables, *arguments):
    """Outputs, gradients and state over a few steps, in which the scales come into effect."""

    @jax.jit
    def step(variables, *arrays):
        def loss(variables, *arrays):
            y = module.apply(variables, *(a for a in arguments if isinstance(a, str)), *arrays)
            return jnp.sum(jnp.sin(y.astype(jnp.float32)) * 30), y

        (_, y), grads = jax.value_and_grad(loss, (0, 1), has_aux=True)(variables, *arrays)
        return y, grads

    arrays = [a for a in arguments if not isinstance(a, str)]
    for size in (1.0, 3.0, 0.01):
        scaled = [a * jnp.asarray(size, a.dtype) for a in arrays]
        y, (grads, x_grad) = step(variables, *scaled)
        yield y, grads, x_grad
        kept = "_overwrite_with_gradient"
        variables = {**variables, kept: grads[kept]}


def compared(make, *arguments):
    pair = [make(nn) for nn in (linnet.linen, flax.linen)]
    variables = [m.init(KEY, *arguments) for m in pair]
    identical(*variables)
    for a, b in zip(*(steps(m, variables[0], *arguments) for m in pair), strict=True):
        identical(a, b)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float32, None], ids=str)
@pytest.mark.parametrize("name", DOTS)
def test_dense(name, dtype):
    x = normal(3, 5, 4)
    if name.startswith("NANOO"):
        x = jnp.abs(x)  # Small negative numbers are NaN in Flax on the CPU.
    compared(lambda nn: nn.Dense(6, dtype=dtype, dot_general_cls=getattr(nn, name)), x)


@pytest.mark.parametrize("name", DOTS[:2])
def test_dense_general(name):
    def make(nn):
        return nn.DenseGeneral((2, 3), axis=(1, -1), dot_general_cls=getattr(nn, name))

    compared(make, normal(3, 5, 4))


@pytest.mark.parametrize("equation", ["abc,cd->abd", "bqhd,bkhd->bhqk", "...a,ab->...b"])
@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float32], ids=str)
def test_einsum(equation, dtype):
    shapes = {"a": ((3, 5, 4), (4, 6)), "b": ((2, 3, 4, 5), (2, 6, 4, 5)), ".": ((3, 5, 4), (4, 6))}
    x, y = (normal(*shape, dtype=dtype) for shape in shapes[equation[0]])
    compared(lambda nn: nn.Fp8Einsum(amax_history_length=3), equation, x, y)


X = jnp.array([1.0, 2.7, -1000, 0.001, jnp.nan, jnp.inf, -0.3])
SCALE, HISTORY = jnp.array([0.4]), jnp.array([3.0, 0.0, 7.5])
E4M3, E5M2 = jnp.float8_e4m3fn, jnp.float8_e5m2
CALLS = {
    "get_fp8_max": (E5M2, jnp.bfloat16),
    "quantize": (X, E4M3, SCALE, jnp.bfloat16),
    "dequantize": (X.astype(E5M2), jnp.bfloat16, SCALE),
    "qdq": (X, E5M2, SCALE, jnp.float32),
    "compute_scale": (jnp.float32(3), SCALE, 448.0, 2),
    "compute_amax_history": (X[:3].astype(jnp.bfloat16), HISTORY),
    "update_fp8_meta": (X[:3], E4M3, SCALE, HISTORY),
    "quantize_dequantize_update": (X[:3], E4M3, SCALE, HISTORY, jnp.float32),
    "in_qdq": (jnp.float32, E4M3, X[:3], SCALE, HISTORY),
    "out_qdq": (jnp.float32, E5M2, X[:3], SCALE, HISTORY),
    "in_q": (jnp.float32, E4M3, X[:3], SCALE, HISTORY),
    "out_dq": (jnp.float32, SCALE, SCALE * 3, X),
}


@pytest.mark.parametrize("name", CALLS)
def test_parts(name):
    here, there = (getattr(module, name)(*CALLS[name]) for module in (ours, fp8_ops))
    identical(here, there, weak_types=False)


@pytest.mark.parametrize("name", ["in_qdq", "out_qdq", "in_q"])
def test_gradients_of_parts(name):
    *static, x, scale, history = CALLS[name]

    def pulled(module):
        out, pull = jax.vjp(lambda *a: getattr(module, name)(*static, *a), x, scale, history)
        return pull(jax.tree.map(jnp.ones_like, out))

    identical(pulled(ours), pulled(fp8_ops), weak_types=False)


def test_scaled_product():
    x, w, contract = normal(3, 5, 4), normal(4, 6), (((2,), (0,)), ((), ()))
    state = {f"{n}_scale": jnp.array([0.3]) for n in ("lhs", "rhs", "grad")}
    state |= {f"{n}_amax_history": jnp.array([2.0, 0.5]) for n in ("lhs", "rhs", "grad")}

    def pulled(module):
        def product(x, w, state):
            return module.fp8_scaled_dot_general(
                x, w, contract, preferred_element_type=jnp.float32, **state
            )

        out, pull = jax.vjp(product, x, w, state)
        return out, pull(jnp.cos(out) * 100)

    identical(pulled(ours), pulled(fp8_ops))
