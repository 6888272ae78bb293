"""Batches and replicas on eight devices, which test_devices.py runs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from linnet.module_core.errors import ShapeError
from linnet.module_core.training import common_utils, jax_utils

DEVICES = jax.local_devices()
N = len(DEVICES)


def on_each_device(x, devices=DEVICES):
    """Whether each of the devices holds one entry of the first axis."""
    shards = {shard.device: shard.data.shape for shard in x.addressable_shards}
    return shards == dict.fromkeys(devices, (1, *x.shape[1:]))


def test_replicas():
    tree = {"a": np.arange(2.0), "n": 3, "key": jax.random.key(0)}
    copies = jax_utils.replicate(tree)
    assert all(map(on_each_device, jax.tree.leaves(copies)))
    np.testing.assert_array_equal(copies["a"], np.tile(np.arange(2.0), (N, 1)))
    back = jax_utils.unreplicate(copies)
    np.testing.assert_array_equal(back["a"], tree["a"])
    assert back["n"].item() == 3
    assert back["key"] == tree["key"]
    some = DEVICES[: (N + 1) // 2]
    assert on_each_device(jax_utils.replicate(tree, some)["a"], some)


def test_batches_are_on_the_devices_in_advance():
    fetched = []

    def batches():
        for i in range(4):
            fetched.append(i)
            yield {"x": np.full((N, 2), i)}

    ahead = jax_utils.prefetch_to_device(batches(), 2)
    assert fetched == []
    first = next(ahead)["x"]
    assert fetched == [0, 1]
    assert on_each_device(first)
    assert [batch["x"][0, 0].item() for batch in ahead] == [1, 2, 3]
    # An iterable that is not an iterator would otherwise start over each time.
    assert len(list(jax_utils.prefetch_to_device([np.ones((N, 1))] * 3, 2))) == 3


def test_shards():
    batch = {"x": np.arange(4 * N).reshape(2 * N, 2)}
    np.testing.assert_array_equal(common_utils.shard(batch)["x"], batch["x"].reshape(N, 2, 2))
    keys = common_utils.shard_prng_key(jax.random.key(0))
    assert (keys == jax.random.split(jax.random.key(0), N)).all()
    if N > 1:
        with pytest.raises(ShapeError, match=rf"\['x'\] has shape \({2 * N + 1}, 1\)"):
            common_utils.shard({"x": np.ones((2 * N + 1, 1))})


def test_metrics():
    def step(x):
        return {"loss": jax_utils.pmean(x.mean(), "batch")}

    losses = [jax.pmap(step, axis_name="batch")(np.full((N, 2), i)) for i in range(3)]
    np.testing.assert_array_equal(common_utils.get_metrics(losses)["loss"], [0.0, 1.0, 2.0])


class TestPadShardUnpad:
    @pytest.mark.parametrize("size", [1, N, 2 * N - 1, 2 * N])
    @pytest.mark.parametrize("least", [None, 3])
    def test_any_size(self, size, least):
        shapes = []

        def step(params, batch, *, weights, flag):
            assert flag == "static"
            shapes.append(batch["x"].shape)
            return batch["x"] * params * weights[..., None]

        padded = jax_utils.pad_shard_unpad(step, static_argnames=("flag",))
        x = np.arange(2.0 * size).reshape(size, 2)
        found = padded(2.0, {"x": x}, weights=np.ones(size), flag="static", min_device_batch=least)
        np.testing.assert_array_equal(found, 2 * x)
        assert shapes == [(N, max(-(-size // N), least or 0), 2)]

    def test_results_may_be_left_as_they_are(self):
        padded = jax_utils.pad_shard_unpad(
            lambda x: (x.sum(), "name"), static_argnums=(), static_return=True
        )
        assert padded(jnp.ones(2 * N + 1)) == (2 * N + 1, "name")

    def test_in_a_traced_program(self):
        padded = jax_utils.pad_shard_unpad(lambda x: x + 1, static_argnums=())
        np.testing.assert_array_equal(jax.jit(padded)(jnp.zeros((5, 2))), np.ones((5, 2)))

    @pytest.mark.parametrize(
        "batch", [{"x": np.ones(3), "y": np.ones(4)}, {}, np.float32(3)], ids=repr
    )
    def test_an_argument_without_a_batch_size_raises_an_error(self, batch):
        with pytest.raises(ShapeError, match="one batch size"):
            jax_utils.pad_shard_unpad(lambda p, x: x)(None, batch)
