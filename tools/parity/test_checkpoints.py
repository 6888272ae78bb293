"""Checkpoints of Flax load here and those of Linnet there, as msgpack and as orbax writes them."""

import flax
import flax.training.checkpoints as theirs
import flax.training.orbax_utils as flax_orbax_utils
import flax.training.train_state
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import linnet.training.checkpoints as ours
from comparing import near
from linnet.module_core.config import config
from linnet.training import TrainState, orbax_utils

pytestmark = pytest.mark.filterwarnings("ignore")  # orbax's own


def state(made_by, value):
    cls = TrainState if made_by is ours else flax.training.train_state.TrainState
    params = {"params": {"w": jnp.full((2, 3), value), "b": [jnp.ones(2, jnp.bfloat16)]}}
    return cls.create(apply_fn=None, params=params, tx=optax.adam(0.1)).replace(step=3)


@pytest.mark.parametrize("orbax", [False, True])
@pytest.mark.parametrize(("writer", "reader"), [(ours, theirs), (theirs, ours), (ours, ours)])
def test_what_one_writes_the_other_reads(writer, reader, orbax, tmp_path):
    switches = (config, flax.config)
    before = [s.flax_use_orbax_checkpointing for s in switches]
    for switch in switches:
        switch.update("flax_use_orbax_checkpointing", orbax)
    try:
        path = writer.save_checkpoint(tmp_path, state(writer, 5.0), 7, keep=2)
        writer.save_checkpoint(tmp_path, state(writer, 6.0), 8, keep=2)
    finally:
        for switch, value in zip(switches, before, strict=True):
            switch.update("flax_use_orbax_checkpointing", value)
    assert reader.latest_checkpoint(tmp_path) == path.replace("_7", "_8")
    expected, target = state(writer, 5.0), state(reader, 0.0)
    restored = reader.restore_checkpoint(tmp_path, target, step=7)
    assert type(restored) is type(target)
    assert restored.step == 3
    near(restored.params, expected.params, rtol=0, atol=0)
    raw = reader.restore_checkpoint(tmp_path, None, step=7)
    assert set(raw) == {"step", "params", "opt_state"}


def test_arguments_of_orbax_are_those_of_flax():
    mesh = jax.sharding.Mesh(np.array(jax.devices()[:1]), ("x",))
    split = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("x"))
    tree = {
        "split": jax.device_put(jnp.ones(4), split),
        "numpy": np.ones(3),
        "number": 3,
        "text": "a",
        "placed": jax.ShapeDtypeStruct((4,), jnp.bfloat16, sharding=split),
        "none": None,
    }
    whole = tree | {"array": jnp.ones(2), "key": jax.random.key(0)}
    for name, args in {
        "save_args_from_target": [whole],
        "restore_args_from_target": [whole],
        "maybe_construct_transformations": [whole, None],
    }.items():
        ours, theirs = (getattr(m, name)(*args) for m in (orbax_utils, flax_orbax_utils))
        assert repr(ours) == repr(theirs)
    ours, theirs = (m.restore_args_from_target(tree, mesh) for m in (orbax_utils, flax_orbax_utils))
    assert repr(ours) == repr(theirs)
    bare = {"number": 3, "shape": jax.ShapeDtypeStruct((4,), jnp.float32), "numpy": np.ones(2)}
    ours, theirs = (m.restore_args_from_target(bare) for m in (orbax_utils, flax_orbax_utils))
    assert repr(ours) == repr(theirs)
    for given in (None, {}, {"a": 1}):
        for target in (None, tree, [None, {"a": (1, None)}], optax.TraceState(None)):
            ours, theirs = (
                m.maybe_construct_transformations(target, given)
                for m in (orbax_utils, flax_orbax_utils)
            )
            assert repr(ours) == repr(theirs)
    assert not any(orbax_utils.is_multi_device_array(x) for x in jax.tree.leaves(whole))


def test_an_array_on_one_device_is_replicated_on_a_mesh():
    mesh = jax.sharding.Mesh(np.array(jax.devices()[:1]), ("x",))
    found = orbax_utils.restore_args_from_target({"a": jnp.ones(2)}, mesh)["a"].sharding
    assert found == jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
