"""Random streams through split, fork, copy and reseeding: the keys and counts of Flax."""

import jax
import numpy as np
import pytest
from flax import nnx as flax_nnx
from flax.nnx import rnglib

from linnet.module_core import nnx


def content(rngs):
    """Keys and counts by stream."""
    return {
        name: (np.asarray(jax.random.key_data(s.key[...])), np.asarray(s.count[...]))
        for name, s in sorted(rngs.items())
    }


def check(do):
    """Runs `do(library, streams)` with both, and compares what it returns and leaves behind."""
    found = []
    for library in (flax_nnx, nnx):
        rngs = library.Rngs(params=0, dropout=1, noise=2)
        rngs.params()
        out = do(library, rngs)
        found.append((out, content(rngs)))
    jax.tree.map(np.testing.assert_array_equal, *found)


def inside(context, rngs):
    with context:
        return content(rngs)


@pytest.mark.parametrize(
    "options",
    [
        {"splits": 3},
        {"splits": (2, 3)},
        {"splits": 2, "only": "params"},
        {"splits": 2, "only": ["params", "noise"]},
        {"splits": 1, "squeeze": True},
        {"splits": 2, "only": lambda path, _: "dropout" in path},
    ],
)
def test_split_rngs(options):
    check(lambda library, rngs: inside(library.split_rngs(rngs, **options), rngs))
    check(lambda library, rngs: library.split_rngs(**options)(content)(rngs))
    check(lambda library, rngs: content(library.split_rngs(rngs, graph=False, **options)))


@pytest.mark.parametrize(
    "split",
    [None, 2, {"params": 3}, {"params": 3, "noise": None}, {"params": 3, "noise": (2, 2)}],
    ids=str,
)
@pytest.mark.filterwarnings("ignore:The 'split' argument:DeprecationWarning")  # Flax's own use
def test_fork_rngs(split):
    check(lambda library, rngs: inside(library.fork_rngs(rngs, split=split), rngs))
    check(lambda library, rngs: library.fork_rngs(split=split)(content)(rngs))
    check(lambda library, rngs: content(library.fork_rngs(rngs, split=split, graph=False)))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"split": 2},
        {"split": {"params": 3}, "fork": "dropout"},
        {"fork": ["noise", "params"], "broadcast": 2},
        {"split": 2, "only": "params"},
        {"broadcast": {"params": (2, 3)}},
        {"broadcast": 2, "split": {"params": 3}},
    ],
    ids=str,
)
def test_with_rngs(options):
    check(lambda library, rngs: content(library.with_rngs(rngs, graph=False, **options)))


def test_reseed():
    def several(library, rngs):
        other = library.Rngs(params=5)
        library.reseed((rngs, other), params=9, dropout=jax.random.key(3))
        return content(other)

    def split(library, rngs):
        with library.split_rngs(rngs, splits=3):
            library.reseed(rngs, params=9, policy="match_shape")
            return content(rngs)

    check(several)
    check(split)


def test_backups():
    def run(library, rngs):
        backup = nnx.backup_keys if library is nnx else rnglib.backup_keys
        backups = backup(rngs)
        library.reseed(rngs, params=4)
        rngs.params()
        library.restore_rngs(backups)

    check(run)
