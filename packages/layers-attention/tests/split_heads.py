"""Heads that are split over eight devices: nothing moves between these inside of attention.

`test_chunked.py` runs this file in a process that has eight devices.
"""

import contextlib
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from comparing import near
from linnet.layers_attention import functional

MOVES = re.compile(r" ((?:all-gather|all-to-all|collective-permute|all-reduce)(?:-start)?)\(")
SHAPE = (2, 32, 8, 4)
X = [jnp.asarray(x, jnp.float32) for x in np.random.default_rng(0).normal(size=(3, *SHAPE))]
SEGMENTS = jnp.asarray(np.arange(64).reshape(2, 32) // 12)
OPTIONS = {
    "window": {"is_causal": True, "window": 5, "soft_cap": 3.0},
    "distances": {"is_causal": True, "bias": functional.alibi(8), "sinks": jnp.ones(8)},
    "segments": {"segment_ids": SEGMENTS},
}


@pytest.mark.parametrize("kind", [AxisType.Auto, AxisType.Explicit], ids=str)
@pytest.mark.parametrize("implementation", ["exact", "chunked"])
@pytest.mark.parametrize("name", OPTIONS)
def test_attention(kind, implementation, name):
    mesh = Mesh(np.array(jax.devices()), ("heads",), axis_types=(kind,))
    if kind == AxisType.Explicit and not hasattr(jax, "set_mesh"):
        pytest.skip("jax.set_mesh is new in jax 0.7.1")

    def loss(*x):
        y = functional.dot_product_attention(*x, implementation=implementation, **OPTIONS[name])
        return jnp.sum(jnp.square(y), (0, 1, 3)), y

    def run(*x):
        each, pull, y = jax.vjp(loss, *x, has_aux=True)
        return y, pull(jnp.ones_like(each))

    split = NamedSharding(mesh, PartitionSpec(None, None, "heads"))
    with jax.set_mesh(mesh) if hasattr(jax, "set_mesh") else contextlib.nullcontext():
        arrays = jax.device_put(X, split)
        program = jax.jit(run).lower(*arrays).compile()
        assert MOVES.findall(program.as_text()) == []
        y, gradients = program(*arrays)
    for found in (y, *gradients):
        assert found.sharding.shard_shape(found.shape)[2] == 1
    expected, expected_gradients = jax.jit(run)(*X)
    near(np.asarray(y), expected)
    for found, known in zip(gradients, expected_gradients, strict=True):
        near(np.asarray(found), known, 1e-4, 1e-5)


@pytest.mark.parametrize("implementation", ["exact", "chunked"])
def test_a_cache(implementation):
    """Its heads are split as well."""
    mesh = Mesh(np.array(jax.devices()), ("heads",))
    split = NamedSharding(mesh, PartitionSpec(None, None, "heads"))
    cache = functional.init_cache(SHAPE, SHAPE)

    def step(cache, *x):
        query, key, value = x
        longer = functional.extend_cache(cache, key, value)
        y = functional.dot_product_attention(
            query,
            longer.key,
            longer.value,
            is_causal=True,
            query_offset=longer.query_offset,
            implementation=implementation,
        )
        return longer.cache, y

    arrays = [x[:, :3] for x in X]
    program = jax.jit(step)
    _, expected = program(cache, *arrays)
    place = lambda x: split if x.ndim == 4 else NamedSharding(mesh, PartitionSpec())  # noqa: E731
    cache = jax.tree.map(lambda x: jax.device_put(x, place(x)), cache)
    arrays = jax.device_put(arrays, split)
    compiled = program.lower(cache, *arrays).compile()
    assert MOVES.findall(compiled.as_text()) == []
    after, y = compiled(cache, *arrays)
    near(np.asarray(y), expected)
    assert all(
        x.sharding.shard_shape(x.shape)[2] == 1 for x in jax.tree.leaves(after) if x.ndim == 4
    )
