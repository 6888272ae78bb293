"""A group of processes trains like one process; test_processes.py runs these tests."""

import jax
import numpy as np
import pytest
from jax.experimental import multihost_utils

from processes.models import (
    LAYOUTS,
    STYLES,
    X,
    Y,
    mesh_of_all,
    over_processes,
    raw,
    set_mesh,
    whole,
)

pytestmark = pytest.mark.skipif("jax.process_count() < 2", reason="needs a group of processes")


@pytest.fixture(scope="module")
def mesh():
    return mesh_of_all()


@pytest.fixture(scope="module")
def alone():
    """The losses and arrays of each style, trained in this process."""
    found = {}
    for style, training in STYLES.items():
        one = training(None)
        found[style] = one.train(X, Y), {k: np.asarray(raw(v)) for k, v in one.arrays().items()}
    return found


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("style", STYLES)
def test_training(style, layout, mesh, alone):
    axis = LAYOUTS[layout]
    with set_mesh(mesh):
        training = STYLES[style](axis, mesh)
        x, y = (over_processes(v, mesh, "data") for v in (X, Y))
        losses = training.train(x, y)
    expected, arrays = alone[style]
    np.testing.assert_allclose(losses, expected, rtol=1e-5)
    assert losses[-1] < losses[0]
    split = 0
    for path, x in training.arrays().items():
        assert len(x.sharding.device_set) == jax.device_count(), path
        split += not x.is_fully_replicated
        if x.is_fully_replicated:  # whole in this process, too
            multihost_utils.assert_equal(np.asarray(raw(x)), path)
        # The first bias comes before a norm: see eps in models.TX.
        np.testing.assert_allclose(whole(x), arrays[path], rtol=1e-4, atol=1e-5, err_msg=path)
    assert split == (0 if axis is None else 6)  # two kernels and their moments
