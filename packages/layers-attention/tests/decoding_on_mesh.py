"""Rows of a batch that is split over eight devices are decoded on the devices that hold them.

`test_devices.py` runs this file in a process that has eight devices.
"""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from comparing import near
from linnet.layers_attention import linen
from linnet.layers_attention.functional import CacheOptions, Rotary

MOVES = re.compile(r" ((?:all-gather|all-to-all|collective-permute|all-reduce)(?:-start)?)\(")
ROWS, LENGTH = 8, 6
X = jnp.asarray(np.random.default_rng(0).normal(size=(ROWS, LENGTH, 8)), jnp.float32)
LENGTHS = jnp.array([3, 1, 2, 3, 1, 2, 3, 1])
STEPS = [(X[:, :3], LENGTHS), (X[:, 3:4], jnp.ones(ROWS, jnp.int32))]


@functools.cache
def decoder(ring):
    """A step with a layer, its first variables, and the outputs of two steps on one device."""
    layer = linen.MultiHeadAttention(
        2,
        decode=True,
        rotary=Rotary(),
        window=3,
        cache_options=CacheOptions(per_row=True, ring=ring),
    )

    def step(variables, x, lengths):
        y, cache = layer.apply(variables, x, lengths=lengths, mutable=["cache"])
        return y, {**variables, **cache}

    start = jax.jit(layer.init)(jax.random.key(0), X)
    variables, expected = start, []
    for given in STEPS:
        y, variables = jax.jit(step)(variables, *given)
        expected.append(y)
    return step, start, expected


@pytest.mark.parametrize("kind", [AxisType.Auto, AxisType.Explicit], ids=str)
@pytest.mark.parametrize("ring", [False, True])
def test_rows_stay_on_their_devices(kind, ring):
    if kind is AxisType.Explicit and not hasattr(jax, "set_mesh"):
        pytest.skip("jax.set_mesh is new in jax 0.7.1")
    step, variables, expected = decoder(ring)
    mesh = Mesh(jax.devices(), ("data",), axis_types=(kind,))
    rows = NamedSharding(mesh, PartitionSpec("data"))
    state = {
        "params": jax.device_put(variables["params"], NamedSharding(mesh, PartitionSpec())),
        "cache": jax.device_put(variables["cache"], rows),
    }
    for given, y in zip(STEPS, expected, strict=True):
        given = jax.device_put(given, rows)
        compiled = jax.jit(step).lower(state, *given).compile()
        assert MOVES.findall(compiled.as_text()) == []
        found, state = compiled(state, *given)
        near(np.asarray(found), y, 0, 1e-5)
    cached = state["cache"]["cached_key"]
    assert cached.sharding.shard_shape(cached.shape)[0] == 1
