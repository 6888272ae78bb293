"""States of nnx through the libraries that save them: what comes back is what went in."""

import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from linnet.module_core import nnx
from linnet.struct import serialization


class Model(nnx.Module):
    """All that a state can hold: shared and listed variables, low precision, integers, keys."""

    def __init__(self, seed):
        rngs = nnx.Rngs(seed, fast=jax.random.key(seed, impl="rbg"))
        self.layers = [
            nnx.Param(rngs.normal((2, 3))),
            nnx.Param(rngs.normal((3,)).astype("bfloat16")),
        ]
        self.tied = {"kernel": self.layers[0]}
        self.steps = nnx.BatchStat(jnp.int32(seed))
        self.streams = rngs
        self.many = rngs.split(4)


def make(seed):
    return Model(seed)


def values(node):
    found = {}
    for path, variable in nnx.to_flat_state(nnx.state(node)):
        value = variable.get_value()
        if jnp.issubdtype(value.dtype, jax.dtypes.prng_key):
            found["/".join(map(str, path)) + "/impl"] = str(jax.random.key_impl(value))
            value = jax.random.key_data(value)
        found["/".join(map(str, path))] = np.asarray(value)
    return found


def same(a, b):
    found, expected = values(a), values(b)
    assert found.keys() == expected.keys()
    for name in found:
        np.testing.assert_array_equal(found[name], expected[name], err_msg=name)
        assert getattr(found[name], "dtype", None) == getattr(expected[name], "dtype", None), name
    assert a.tied["kernel"] is a.layers[0]
    np.testing.assert_array_equal(a.streams.normal((2,)), b.streams.normal((2,)))
    np.testing.assert_array_equal(a.streams.fast.normal((2,)), b.streams.fast.normal((2,)))


def test_orbax(tmp_path):
    ocp = pytest.importorskip("orbax.checkpoint")
    model = Model(1)
    model.streams()
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(tmp_path / "model", nnx.state(model))
        checkpointer.wait_until_finished()
        graphdef, expected = nnx.split(nnx.eval_shape(lambda: make(0)))
        same(nnx.merge(graphdef, checkpointer.restore(tmp_path / "model", expected)), model)
        # Into a model that already exists, whose variables keep their identity.
        other = Model(2)
        kernel = other.layers[0]
        nnx.update(other, checkpointer.restore(tmp_path / "model", nnx.state(other)))
    assert other.layers[0] is kernel
    assert int(other.steps.value) == 1


def test_safetensors(tmp_path):
    safetensors = pytest.importorskip("safetensors.numpy")
    model, other = Model(1), Model(2)
    # Numbers of a type that every reader knows; the rest is in the model.
    arrays = {
        k: v.astype(np.float32) if v.dtype == jnp.bfloat16 else v
        for k, v in values(model).items()
        if not isinstance(v, str)
    }
    safetensors.save_file(arrays, tmp_path / "model.safetensors")
    loaded = safetensors.load_file(tmp_path / "model.safetensors")
    for path, variable in nnx.to_flat_state(nnx.state(other)):
        value = jnp.asarray(loaded["/".join(map(str, path))])
        if jnp.issubdtype(variable.dtype, jax.dtypes.prng_key):
            value = jax.random.wrap_key_data(value, impl=jax.random.key_impl(variable.get_value()))
        else:
            value = value.astype(variable.dtype)
        variable.set_value(value)
    same(other, model)


def test_bytes_of_flax_s_format():
    model, other = Model(1), Model(2)
    params = nnx.state(model, (nnx.Param, nnx.BatchStat))
    data = serialization.to_bytes(nnx.to_pure_dict(params))
    restored = nnx.restore_int_paths(serialization.msgpack_restore(data))
    state = nnx.state(other, (nnx.Param, nnx.BatchStat))
    nnx.replace_by_pure_dict(state, restored)
    nnx.update(other, state)
    np.testing.assert_array_equal(other.layers[0].value, model.layers[0].value)
    assert other.layers[1].dtype == jnp.bfloat16


def test_pickle():
    model = Model(1)
    same(pickle.loads(pickle.dumps(model)), model)
    graphdef, state = pickle.loads(pickle.dumps(nnx.split(model)))
    same(nnx.merge(graphdef, state), model)
