"""Checkpoints of Flax load here and those of Linnet there, as msgpack and as orbax writes them."""

import flax
import flax.training.checkpoints as theirs
import flax.training.train_state
import jax.numpy as jnp
import optax
import pytest

import linnet.training.checkpoints as ours
from comparing import near
from linnet.module_core.config import config
from linnet.training import TrainState

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
