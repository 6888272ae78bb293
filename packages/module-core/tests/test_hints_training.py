"""Every hint of the training helpers, followed to the letter."""

import tempfile
from typing import Any

import jax
import jax.numpy as jnp
import optax
import pytest

import hints
from hints import Remedy
from linnet.module_core.training import TrainState, checkpoints, common_utils, jax_utils
from linnet.struct import FrozenDict

from .linen_programs import hints_of

W = {"w": jnp.ones(2)}
SPLIT = {"params": W, "_overwrite_with_gradient": {"scale": jnp.ones(1)}}


def updated(grads_of):
    state = TrainState.create(apply_fn=None, params=SPLIT, tx=optax.sgd(0.5))

    def loss(params):
        return sum(jnp.sum(x) for x in jax.tree.leaves(params))

    return state.apply_gradients(grads=jax.grad(loss)(grads_of(state)))


def stepped(params, grads):
    return TrainState.create(apply_fn=None, params=params, tx=optax.sgd(0.5)).apply_gradients(
        grads=grads
    )


class WithStats(TrainState):
    batch_stats: Any


def created(cls, **fields):
    return cls.create(apply_fn=None, params=W, tx=optax.sgd(0.5), **fields)


def saved(*steps, before=("1.5", 3), **options):
    folder = tempfile.mkdtemp()
    for step in before:
        checkpoints.save_checkpoint(folder, W, step, keep=9)
    for step in steps:
        checkpoints.save_checkpoint(folder, W, step, **options)
    return folder


REMEDIES = [
    Remedy(
        "Pass grads=grads[{}].",
        lambda: stepped(W, {"params": W}),
        lambda: stepped(W, {"params": W}["params"]),
        ("'params'",),
    ),
    Remedy(
        "or create the state with params=variables[{}].",
        lambda: stepped({"params": W}, W),
        lambda: [stepped({"params": W}, {"params": W}), stepped({"params": W}["params"], W)],
        ("'params'",),
    ),
    Remedy(
        "Take the gradients with respect to state.params.",
        lambda: stepped(W, FrozenDict(W)),
        lambda: stepped(W, W),
    ),
    Remedy(
        "loss, grads = jax.value_and_grad(f)(...).",
        lambda: stepped(W, jax.value_and_grad(lambda w: w["w"].sum())(W)),
        lambda: stepped(W, jax.value_and_grad(lambda w: w["w"].sum())(W)[1]),
    ),
    Remedy(
        "Differentiate one loss, a scalar, with respect to state.params. Average the gradients",
        lambda: stepped(W, jax.jacobian(lambda w: 2 * w["w"])(W)),
        lambda: stepped(W, jax.grad(lambda w: 2 * w["w"].sum())(W)),
    ),
    Remedy(
        "Take gradients with respect to the whole of `state.params`, which has that collection",
        lambda: updated(lambda state: state.params["params"]),
        lambda: updated(lambda state: state.params),
    ),
    Remedy(
        "Write {}.create(apply_fn=..., params=..., tx=optax.adam(1e-3)).",
        lambda: TrainState.create(apply_fn=None, params=W, tx=None),
        lambda: TrainState.create(apply_fn=None, params=W, tx=optax.adam(1e-3)),
        ("TrainState",),
    ),
    Remedy(
        "Add it in a subclass, and create an instance of that: class MyState({}): {}: Any.",
        lambda: created(TrainState, batch_stats={}),
        lambda: created(WithStats, batch_stats={}),
        ("TrainState", "batch_stats"),
    ),
    Remedy(
        "Set overwrite=True to replace this step and remove later ones, or choose another",
        lambda: saved(2),
        lambda: [saved(2, overwrite=True), saved(2, prefix="other_")],
    ),
    Remedy(
        "Available: {}.",
        lambda: checkpoints.restore_checkpoint(saved(), None, step=2),
        lambda: checkpoints.restore_checkpoint(saved(), None, step=3),
        ("checkpoint_1.5, checkpoint_3",),
    ),
    Remedy(
        "There are no checkpoints.",
        lambda: checkpoints.restore_checkpoint(saved(before=()), None, step=2),
        lambda: checkpoints.restore_checkpoint(saved(2, before=()), None, step=2),
    ),
    Remedy(
        "Pass step_type=float.",
        lambda: checkpoints.available_steps(saved()),
        lambda: checkpoints.available_steps(saved(), step_type=float),
    ),
    Remedy(
        "Leave it out for this process's devices.",
        lambda: jax_utils.replicate(W, []),
        lambda: jax_utils.replicate(W),
    ),
    Remedy(
        "Name the others in `static_argnums` or `static_argnames`.",
        lambda: jax_utils.pad_shard_unpad(lambda w, x, y: x)(W, jnp.ones(2), jnp.ones(3)),
        lambda: jax_utils.pad_shard_unpad(lambda w, x, y: x, static_argnums=(0, 2))(
            W, jnp.ones(2), jnp.ones(3)
        ),
    ),
    Remedy(
        "Give one number for all axes, or one for each.",
        lambda: jax_utils.scan_in_dim(
            lambda c, x: (c, x), 0, jnp.ones((2, 3)), (0, 1), unroll=(1, 1, 1)
        ),
        lambda: jax_utils.scan_in_dim(lambda c, x: (c, x), 0, jnp.ones((2, 3)), (0, 1), unroll=2),
    ),
    Remedy(
        "Pass arguments whose values are known after `input_spec`.",
        lambda: jax_utils.partial_eval_by_shape(lambda x, n: x * n, [(2,), 3]),
        lambda: jax_utils.partial_eval_by_shape(lambda x, n: x * n, [(2,)], 3),
    ),
]

ELSEWHERE = [  # they need several devices or processes, orbax, or tensorboardX
    "Drop the last elements, or pad them",
    "Pass orbax_checkpointer=orbax.checkpoint.PyTreeCheckpointer().",
    "Install orbax-checkpoint, or pass an orbax_checkpointer.",
    "Install orbax-checkpoint.",
    "Reduce it first, e.g. with jnp.mean, or use `histogram`.",
    "Channels come last.",
    "Samples come before channels.",
    "Pass a SummaryMetadata message, or None.",
    'python -m pip install "linnet-module-core[tensorboard]"',
    "Pass a SummaryMetadata message, or None.",  # test_tensorboard.py does both
]


@pytest.mark.parametrize("remedy", REMEDIES, ids=lambda r: r.words[:40])
def test_a_remedy_works(remedy):
    hints.try_remedy(remedy)


def test_every_hint_has_a_remedy():
    found = hints_of("training")
    assert hints.untried(found, REMEDIES, ELSEWHERE) == []
    assert hints.unknown(found, [*(remedy.words for remedy in REMEDIES), *ELSEWHERE]) == []
    with pytest.raises(Exception, match="no trees to stack"):
        common_utils.stack_forest([])
