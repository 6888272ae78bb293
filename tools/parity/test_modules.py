"""Whole models against Flax: the same parameters, outputs and collections, bit for bit."""

import functools

import flax
import flax.linen
import jax
import numpy as np
import pytest

import linnet.linen
import linnet.module_core.config
from parity import module_models

FLAX = module_models.build(flax.linen)
LINNET = module_models.build(linnet.linen)
KINDS = {"typed": jax.random.key, "raw": jax.random.PRNGKey}


def keys(streams, make_key, offset=0):
    return {s: make_key(i + offset) for i, s in enumerate(streams)}


def assert_same(ours, theirs):
    """Checks that trees are identical: structure, order of keys, dtypes, shapes and every bit."""
    assert plain(ours) == plain(theirs)
    ours, theirs = jax.tree.leaves(ours), jax.tree.leaves(theirs)
    for a, b in zip(ours, theirs, strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(np.asarray(a), np.asarray(b))


def plain(tree):
    """Nested lists of names, in order of insertion."""
    if isinstance(tree, dict):
        return [(name, plain(value)) for name, value in tree.items()]
    if isinstance(tree, tuple):
        return [plain(value) for value in tree]
    return None


@functools.cache
def flax_variables(name):
    """What Flax's `init` returns, without the intermediates."""
    variables = init(FLAX[name], jax.random.key)[1]
    variables.pop("intermediates", None)
    return variables


def init(case, make_key):
    kwargs = {k: v for k, v in case.kwargs.items() if k == "method"}
    return case.make().init_with_output(keys(case.init_streams, make_key), *case.args, **kwargs)


def apply(case, variables, make_key):
    return case.make().apply(
        variables,
        *case.args,
        rngs=keys(case.apply_streams, make_key, 10),
        mutable=case.mutable,
        **case.kwargs,
    )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", LINNET)
def test_init(name, kind):
    assert_same(init(LINNET[name], KINDS[kind]), init(FLAX[name], KINDS[kind]))


@pytest.mark.parametrize("name", LINNET)
def test_apply(name):
    make_key = jax.random.key
    variables = flax_variables(name)
    ours, theirs = (apply(cases[name], variables, make_key) for cases in (LINNET, FLAX))
    assert_same(ours, theirs)


# Compiling takes seconds per model, so models that differ only in names are not compiled.
@pytest.mark.parametrize("name", ["streams", "noisy", "deep", "counter", "images", "tokens"])
def test_jitted(name):
    variables = flax_variables(name)

    def run(case):
        return init(case, jax.random.key), apply(case, variables, jax.random.key)

    ours, theirs = jax.jit(lambda: run(LINNET[name]))(), jax.jit(lambda: run(FLAX[name]))()
    # In both libraries, jit returns dicts with sorted keys.
    assert_same(ours, theirs)


@pytest.mark.parametrize("flag", ["fix_rng_separator", "preserve_adopted_names"])
@pytest.mark.parametrize("name", ["collide", "field", "shared_field", "streams", "passed"])
def test_config_flags(name, flag):
    with linnet.module_core.config.temp_flip_flag(flag, True):
        ours = init(LINNET[name], jax.random.key)
    with flax.config.temp_flip_flag(flag, True):
        theirs = init(FLAX[name], jax.random.key)
    assert_same(ours, theirs)


@pytest.mark.parametrize("name", ["compact", "setup", "counter", "images", "tokens"])
def test_lazy_init(name):
    shapes = [jax.ShapeDtypeStruct(x.shape, x.dtype) for x in LINNET[name].args]
    ours = LINNET[name].make().lazy_init(jax.random.key(3), *shapes)
    theirs = FLAX[name].make().lazy_init(jax.random.key(3), *shapes)
    assert_same(jax.tree.map(lambda x: x, ours), theirs)  # Flax's is sorted by name
