"""`nnx.create` on one device; nnx_mesh.py tests it on eight."""

import jax
import jax.numpy as jnp

from comparing import identical
from linnet.module_core import draws, nnx
from linnet.module_core.layers.nnx import Layer, new_param


class Two(Layer):
    def __init__(self, n, *, rngs, first=None, scale=1.0):
        init = jax.nn.initializers.uniform()
        for name in ("a", "b"):
            setattr(self, name, new_param(self, init, (n, 3), jnp.float32, rngs, {}))
        self.first = first
        self.scale = nnx.Param(jnp.full(n, scale))
        self.name = f"two of {n}"


def test_the_model_is_that_of_its_constructor():
    rngs, others = nnx.Rngs(0), nnx.Rngs(0)
    made = nnx.create(Two, 2, rngs=rngs, scale=jnp.float32(2.0))
    expected = Two(2, rngs=others, scale=2.0)
    identical(nnx.state(made), nnx.state(expected))
    identical(nnx.state(rngs), nnx.state(others))
    assert made.name == "two of 2"
    assert type(made) is Two


def test_modules_among_the_arguments_are_shared_with_the_model():
    first = Two(1, rngs=nnx.Rngs(1))
    made = nnx.create(lambda first: Two(2, rngs=nnx.Rngs(0), first=first), first)
    assert made.first is first


def test_draws_are_grouped(monkeypatch):
    counts = []
    grouped = draws.Recorder.grouped

    def counting(self, values):
        counts.extend(len(group) for group in self._kinds.values())
        return grouped(self, values)

    monkeypatch.setattr(draws.Recorder, "grouped", counting)
    nnx.create(Two, 2, rngs=nnx.Rngs(0))
    assert counts == [2]


def test_a_mesh_that_is_set():
    set_mesh = getattr(jax, "set_mesh", None) or jax.sharding.use_mesh
    with set_mesh(jax.make_mesh((1,), ("data",))):
        made = nnx.create(Two, 2, rngs=nnx.Rngs(0))
    identical(nnx.state(made), nnx.state(Two(2, rngs=nnx.Rngs(0))))
