"""Heads that are split over eight devices: nothing moves between the devices inside attention.

`test_devices.py` runs this file in a process that has eight devices.
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
    """The heads of a cache are split as well."""
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


ROWS = jnp.asarray(np.random.default_rng(1).normal(size=(1, 1, 32, 32)), jnp.float32)
ALONG_SEQUENCE = OPTIONS | {
    "mask and bias": {"mask": ROWS > -1, "bias": ROWS},
    "other keys": {"key_positions": jnp.arange(32)[::-1], "is_causal": True},
    "an offset for each row": {"query_offset": jnp.array([3, -2]), "window": (9, 4)},
}


@pytest.mark.skipif(not hasattr(jax, "set_mesh"), reason="jax.set_mesh is new in jax 0.7.1")
@pytest.mark.parametrize(
    ("name", "split_keys"), [*((name, True) for name in ALONG_SEQUENCE), ("mask and bias", False)]
)
def test_a_sequence(name, split_keys):
    """Each device computes its rows; one operation gathers the keys and values."""
    mesh = Mesh(np.array(jax.devices()), ("sequence",), axis_types=(AxisType.Explicit,))
    options = ALONG_SEQUENCE[name]
    arrays = [X[0], X[1][:, :, :2], X[2][:, :, :2]]  # four heads share a key head

    def run(*x):
        def of(*x):
            return functional.dot_product_attention(*x, implementation="chunked", **options)

        y, pull = jax.vjp(of, *x)
        return y, pull(y)

    expected = jax.jit(run)(*arrays)
    with jax.set_mesh(mesh):
        split, whole = (NamedSharding(mesh, PartitionSpec(None, x)) for x in ("sequence", None))
        of_keys = split if split_keys else whole
        layouts = (split, of_keys, of_keys)
        placed = [jax.device_put(x, layout) for x, layout in zip(arrays, layouts, strict=True)]
        program = jax.jit(run).lower(*placed).compile()
        found = program(*placed)
    moved = MOVES.findall(program.as_text())
    assert [moved.count(kind) for kind in ("all-gather", "all-to-all")] == [int(split_keys), 0]
    near(jax.tree.map(np.asarray, found), expected, 1e-4, 1e-5)
    for y, x in zip((found[0], *found[1]), (placed[0], *placed), strict=True):
        assert y.sharding.is_equivalent_to(x.sharding, y.ndim)
