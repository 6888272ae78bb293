"""Training continues from a checkpoint in another group and on another mesh, with the same losses.

`saving.py` has saved a model of each style, and `saving_forever.py` several until it was killed.
test_processes.py runs these tests.
"""

import json
import os
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest
from jax.sharding import NamedSharding

from processes.models import STYLES, X, Y, mesh_of_all, over_processes, set_mesh, spec
from processes.saving_forever import ENOUGH, NUMBERS

FOLDER = Path(os.environ["CHECKPOINTS"])


@pytest.fixture
def mesh():
    alone = jax.process_count() == 1
    return mesh_of_all(2, 2, axes=("rest", "data")) if alone else mesh_of_all()


# As in saving.py, no mesh is set around orbax.


def new_training(style, mesh):
    with set_mesh(mesh):
        return STYLES[style]("data", mesh)


def losses_of(training, mesh, steps):
    x, y = (over_processes(v, mesh, "data") for v in (X, Y))
    with set_mesh(mesh):
        return training.train(x, y, steps)


def shapes(tree):
    return jax.tree.map(ocp.utils.to_shape_dtype_struct, tree)


@pytest.mark.parametrize("style", STYLES)
def test_training_goes_on(style, mesh):
    training = new_training(style, mesh)
    with ocp.StandardCheckpointer() as checkpointer:
        restored = checkpointer.restore(FOLDER / style, shapes(training.state))
    leaves = jax.tree.leaves(restored)
    for new, old in zip(leaves, jax.tree.leaves(training.state), strict=True):
        assert new.sharding.is_equivalent_to(old.sharding, new.ndim)
    assert sum(jnp.issubdtype(x.dtype, jax.dtypes.prng_key) for x in leaves) == 1
    training.state = restored
    expected = json.loads((FOLDER / f"{style}.json").read_text())
    np.testing.assert_allclose(losses_of(training, mesh, len(expected)), expected, rtol=1e-5)


def test_the_last_whole_checkpoint_is_usable_after_a_kill(mesh):
    steps = FOLDER / "steps"
    assert [path for path in steps.iterdir() if not path.name.isdigit()]  # what was being saved
    training = new_training("linen", mesh)
    numbers = jax.ShapeDtypeStruct(
        (NUMBERS,), jnp.int32, sharding=NamedSharding(mesh, spec("data"))
    )
    with ocp.CheckpointManager(steps) as manager:
        step = manager.latest_step()
        target = {"training": shapes(training.state), "numbers": numbers}
        restored = manager.restore(step, args=ocp.args.StandardRestore(target))
    assert step >= ENOUGH
    for shard in restored["numbers"].addressable_shards:
        np.testing.assert_array_equal(np.asarray(shard.data), step)
    training.state = restored["training"]
    losses = json.loads((FOLDER / "losses.json").read_text())
    expected = losses[step + 1 :]  # at least that of the step that was being saved
    assert expected
    np.testing.assert_allclose(losses_of(training, mesh, len(expected)), expected, rtol=1e-5)
