"""The names in `linnet.linen`, and the modules that importing it loads."""

import importlib
import inspect
import pkgutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import linnet.linen as nn

SUBMODULES = [entry.name for entry in pkgutil.iter_modules(nn.__path__) if entry.name[0] != "_"]


def test_every_name_is_there():
    assert len(set(nn.__all__)) == len(nn.__all__) > 70
    for name in nn.__all__:
        assert hasattr(nn, name), name
    hidden = {
        name
        for name, value in vars(nn).items()
        if name[0] != "_" and name not in nn.__all__ and not inspect.ismodule(value)
    }
    assert not hidden


# Names that refer to a different object in an older vocabulary.
OLDER = {"partitioning.remat"}


@pytest.mark.parametrize("name", SUBMODULES)
def test_submodules_hold_what_is_above_them(name):
    module = importlib.import_module(f"linnet.linen.{name}")
    assert getattr(nn, name) is module
    assert name in nn.__all__
    for inner in module.__all__:
        value = getattr(module, inner)
        if inner in nn.__all__ and f"{name}.{inner}" not in OLDER:
            assert getattr(nn, inner) is value


RECORDED_ONCE = {"gelu", "logsumexp", "relu", "relu6", "softmax"}


def test_activations_are_jax_s():
    x = jnp.linspace(-2.0, 2.0, 8)
    shared = set(nn.activation.__all__).intersection(dir(jax.nn)) - {"tanh"}
    assert len(shared) > 20
    for name in shared:
        ours, jaxs = getattr(nn, name), getattr(jax.nn, name)
        assert list(inspect.signature(ours).parameters) == list(inspect.signature(jaxs).parameters)
        assert (ours is jaxs) == (name not in RECORDED_ONCE)
        if name in RECORDED_ONCE:
            np.testing.assert_array_equal(ours(x), jaxs(x))
    assert nn.tanh is jnp.tanh
    assert nn.normalize is nn.standardize


def test_a_name_that_is_not_there_is_an_attribute_error():
    with pytest.raises(AttributeError, match="has no attribute 'Desne'"):
        nn.Desne
