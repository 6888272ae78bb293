"""Layers' parameters are drawn in groups: the same bits for every initializer of the library."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from comparing import identical
from fixtures import programs_of_its_own as programs_of_its_own
from linnet import initializers
from linnet.layers_linear import linen, nnx
from linnet.module_core import draws
from linnet.module_core import linen as core
from linnet.module_core import nnx as nnx_core

REQUIRED = {"constant": (2.5,), "variance_scaling": (1.5, "fan_avg", "normal")}
# Except aliases and initializers that ignore their key; `delta_orthogonal` needs a window.
NAMES = sorted(
    {*initializers.__all__}
    - {"Initializer", "zeros", "ones", "zeros_init", "ones_init", "constant", "delta_orthogonal"}
    - {"kaiming_normal", "kaiming_uniform", "xavier_normal", "xavier_uniform"}
)


def make(name):
    return getattr(initializers, name)(*REQUIRED.get(name, ()))


class Stack(core.Module):
    names: tuple[str, ...]
    dtype: object = jnp.float32

    @core.compact
    def __call__(self, x):
        for name in self.names:
            for twin in "ba":
                init = make(name)  # a new one: equal, not the same
                options = {"kernel_init": init, "param_dtype": self.dtype}
                linen.Dense(3, name=f"{name}_{twin}", **options)(x)
                if name == self.names[0]:
                    linen.DenseGeneral((3, 2), name=f"{name}_general_{twin}", **options)(x)
        return x


def without_groups(monkeypatch):
    monkeypatch.setattr(draws.jax, "device_count", lambda: 2)


@pytest.mark.parametrize(
    ("names", "dtype"),
    [(NAMES, jnp.float32), (["lecun_normal", "uniform"], jnp.bfloat16)],
    ids=["all", "bfloat16"],
)
def test_linen_layers_draw_the_same_bits(monkeypatch, names, dtype):
    model, key = Stack(tuple(names), dtype), jax.random.key(1)

    def init(key):
        return model.init(key, jnp.ones((1, 4)))

    program = str(jax.make_jaxpr(lambda key: init(key))(key))
    assert program.count("name=_draw_all") == len(names) + 1
    grouped = jax.jit(lambda key: init(key))(key)
    without_groups(monkeypatch)
    identical(grouped, jax.jit(lambda key: init(key))(key))


def test_nnx_layers_draw_the_same_bits(monkeypatch):
    def layers():
        rngs = nnx_core.Rngs(0)
        return nnx_core.List(
            [
                layer
                for _ in range(2)
                for layer in (
                    nnx.Linear(4, 3, rngs=rngs),
                    nnx.LinearGeneral(4, (3, 2), rngs=rngs),
                    nnx.Conv(2, 3, 3, rngs=rngs),
                    nnx.Embed(5, 3, rngs=rngs),
                )
            ]
        )

    assert str(nnx_core.jit(layers).trace().jaxpr).count("name=_draw_all") == 4
    grouped = nnx_core.state(nnx_core.jit(layers)())
    without_groups(monkeypatch)
    identical(grouped, nnx_core.state(nnx_core.jit(layers)()))


def test_filling_is_not_drawing():
    for name in ("zeros_init", "ones_init", "constant"):
        assert draws.draws_of(make(name)) is None
    assert draws.draws_of(initializers.lecun_normal()) is not None
    traced = []

    @jax.jit
    def scaled(scale):
        traced.append(draws.draws_of(initializers.normal(scale)))
        traced.append(draws.draws_of(jax.nn.initializers.normal(scale)))

    scaled(np.float32(2.0))
    assert traced == [None, None]
