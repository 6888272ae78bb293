"""Lifted transforms against Flax: random keys, trace counts, names, and results."""

import functools

import flax.linen
import jax
import numpy as np
import pytest

import linnet.linen
from parity import transform_models
from parity.test_modules import apply, assert_same, init

FLAX = transform_models.build(flax.linen)
LINNET = transform_models.build(linnet.linen)


@functools.cache
def flax_variables(name):
    return init(FLAX[name], jax.random.key)[1]


def sorted_tree(tree):
    """The tree with its dicts sorted by name: jax's transforms sort them."""
    return jax.tree.map(lambda x: x, tree)


def close(ours, theirs):
    ours, theirs = sorted_tree(ours), sorted_tree(theirs)
    assert jax.tree.structure(ours) == jax.tree.structure(theirs)
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", LINNET)
def test_init(name):
    (ours_y, ours), (theirs_y, theirs) = (init(c[name], jax.random.key) for c in (LINNET, FLAX))
    assert_same(sorted_tree(ours), sorted_tree(theirs))
    # `test_apply` compares outputs: in `init`, XLA fuses the operations that make a parameter with
    # those that use it.
    assert jax.tree.map(jax.typeof, ours_y) == jax.tree.map(jax.typeof, theirs_y)


@pytest.mark.parametrize("name", LINNET)
def test_apply(name):
    ours, theirs = (
        apply(cases[name], flax_variables(name), jax.random.key) for cases in (LINNET, FLAX)
    )
    close(ours, theirs)


@pytest.mark.parametrize("name", ["scan_broadcast", "jit", "remat", "scan_split", "vmap_split"])
def test_under_jit_and_with_raw_keys(name):
    ours, theirs = (
        jax.jit(lambda case=cases[name]: init(case, jax.random.PRNGKey))()
        for cases in (LINNET, FLAX)
    )
    assert_same(ours[1], theirs[1])
