"""Draws whose bits come from a form of threefry that compiles quickly: JAX's, bit for bit.

Programs are compiled with all optimizations: rounding depends on them (see `test_compiled`).
"""

import jax
import jax.numpy as jnp
import pytest

from comparing import identical
from fixtures import programs_of_its_own as programs_of_its_own
from linnet import initializers
from linnet.initializers import _threefry

KEY = jax.random.key(7)
OTHERS = {
    "uniform": (0.3,),
    "normal": (0.3,),
    "truncated_normal": (0.3,),
    "lecun_normal": (),
    "variance_scaling": (0.7, "fan_out", "normal"),
    "orthogonal": (),
}


@pytest.fixture
def uses(monkeypatch):
    """The shapes that the generator was asked for."""
    shapes = []
    written_out = _threefry._numbers

    def counting(key, shape):
        shapes.append(shape)
        return written_out(key, shape)

    monkeypatch.setattr(_threefry, "_numbers", counting)
    return shapes


def both(name, key, shape, dtype=jnp.float32):
    arguments = OTHERS[name]
    ours = getattr(initializers, name)(*arguments)(key, shape, dtype)
    identical(ours, getattr(jax.nn.initializers, name)(*arguments)(key, shape, dtype))


@pytest.mark.parametrize("name", OTHERS)
def test_every_distribution(uses, name):
    both(name, KEY, (33, 70))
    assert uses or name == "variance_scaling"  # its bits are those of "normal", traced already


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
@pytest.mark.parametrize("name", ["lecun_normal", "normal"])
def test_every_dtype(name, dtype):
    both(name, KEY, (33, 7), dtype)


def test_the_generator_is_jax_s():
    key, ours = KEY, _threefry.with_rounds_written_out(KEY)
    for shape in ((), (3,), (2, 3, 40_000)):
        identical(jax.random.bits(ours, shape), jax.random.bits(key, shape))
    identical(jax.random.bits(ours, (5,), "uint8"), jax.random.bits(key, (5,), "uint8"))
    with jax.enable_x64(True) if hasattr(jax, "enable_x64") else jax.experimental.enable_x64():
        identical(jax.random.bits(ours, (5,), "uint64"), jax.random.bits(key, (5,), "uint64"))
    for derive in (
        lambda key: jax.random.split(key, (2, 3)),
        lambda key: jax.random.fold_in(key, 9),
    ):
        identical(jax.random.key_data(derive(ours)), jax.random.key_data(derive(key)))


@pytest.mark.parametrize("key", [jax.random.PRNGKey(3), jax.random.fold_in(KEY, 3)])
def test_keys_and_sizes(uses, key):
    for shape in ((), (1,), (2, 3, 2), (0, 5)):
        both("uniform", key, shape)
    both("normal", key, (2, 3), jnp.complex64)
    assert uses


@pytest.mark.parametrize("name", OTHERS)
def test_draws_in_a_program(name):
    """The same holds under transforms of the program, for typed and raw keys."""
    arguments, dtype = OTHERS[name], jnp.bfloat16 if name == "normal" else jnp.float32
    inits = [getattr(module, name)(*arguments) for module in (initializers, jax.nn.initializers)]
    draws = [jax.jit(lambda key, init=init: init(key, (7, 6), dtype)) for init in inits]
    identical(*(draw(KEY) for draw in draws))
    if name == "uniform":
        raw = jax.random.PRNGKey(3)
        identical(*(draw(raw) for draw in draws))
        identical(*(jax.vmap(draw)(jax.random.split(KEY, 2)) for draw in draws))
        identical(*(jax.lax.map(draw, jax.random.split(KEY, 2)) for draw in draws))
        identical(*(jax.checkpoint(draw)(KEY) for draw in draws))


def test_programs_for_other_platforms_have_jax_s_generator(uses):
    def barriers(platform):
        program = jax.jit(lambda key: initializers.uniform()(key, (3, 5), jnp.float32))
        exported = jax.export.export(program, platforms=[platform])(jax.random.PRNGKey(0))
        return exported.mlir_module().count("optimization_barrier")

    assert barriers("cpu")
    assert not barriers("cuda")
    assert uses


def test_what_jax_draws_itself(uses, monkeypatch):
    both("normal", jax.random.key(0, impl="rbg"), (4, 5))
    with jax.threefry_partitionable(False):
        both("normal", KEY, (4, 5))
    with jax.disable_jit():
        both("uniform", KEY, (2,))
    jax.jit(lambda: initializers.uniform()(KEY, (4, 7), jnp.float32))()
    jax.vmap(lambda key: initializers.uniform()(key, (4,), jnp.float32))(KEY[None])
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(jax, "default_backend", lambda: "gpu")
        jax.eval_shape(lambda key: initializers.uniform()(key, (4, 6), jnp.float32), KEY)
    monkeypatch.setattr(_threefry, "_MOST", 10)
    both("normal", KEY, (4, 5))
    assert not uses
