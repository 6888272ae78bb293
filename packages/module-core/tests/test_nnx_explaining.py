"""The messages of `nnx.jit` about functions that it traces again."""

import logging

import jax
import jax.numpy as jnp
import pytest

from linnet.module_core import nnx

from .nnx_models import Dense

X = jnp.ones((3, 3))


def dense():
    return Dense(3, rngs=nnx.Rngs(0))


class Net(nnx.Module):
    def __init__(self):
        self.blocks = nnx.List([dense(), dense()])
        self.deterministic = False
        self.factor = 1

    def __call__(self, x):
        return self.blocks[0](x)


def call(model, x):
    return model(x)


@pytest.fixture
def explained(caplog):
    """A function that makes a call, and returns what Linnet logged during it."""
    logging.getLogger("jax").setLevel(logging.ERROR)

    def run(f, *args, **kwargs):
        caplog.clear()
        f(*args, **kwargs)
        return [r.getMessage() for r in caplog.records if r.name == "linnet.nnx.jit"]

    with jax.explain_cache_misses(True):
        yield run
    logging.getLogger("jax").setLevel(logging.NOTSET)


def set_value(model):
    model.blocks[0].kernel[...] = jnp.ones((3, 3))


def set_type(model):
    model.blocks[0].kernel = nnx.BatchStat(jnp.ones((3, 3)))


def set_dtype(model):
    model.blocks[1].kernel = nnx.Param(jnp.ones((3, 3), jnp.bfloat16))


def set_metadata(model):
    model.blocks[1].kernel.set_metadata(sharding_hint="rows")


def share(model):
    model.blocks[1] = model.blocks[0]


CHANGES = {
    "nothing": (lambda model: None, None),
    "a value": (set_value, None),
    "a flag": (lambda model: model.eval(), ["model.deterministic is True, was False before"]),
    "an attribute": (
        lambda model: setattr(model, "name", "n"),
        ["model.name is new: 'n'"],
    ),
    "a number": (lambda model: setattr(model, "factor", 2), ["model.factor is 2, was 1 before"]),
    "a number's type": (
        lambda model: setattr(model, "factor", 1.0),
        ["model.factor is 1.0, was 1 before"],
    ),
    "a removed attribute": (
        lambda model: delattr(model, "factor"),
        ["model.factor is gone, was 1 before"],
    ),
    "a class": (
        set_type,
        ["model.blocks[0].kernel is BatchStat of f32[3,3], was Param of f32[3,3] before"],
    ),
    "a dtype": (
        set_dtype,
        ["model.blocks[1].kernel is Param of bf16[3,3], was Param of f32[3,3] before"],
    ),
    "metadata": (
        set_metadata,
        ["model.blocks[1].kernel.sharding_hint (metadata) is new: 'rows'"],
    ),
    "sharing": (share, ["model.blocks[1] is shared with model.blocks[0], was a Dense before"]),
    "a layer": (
        lambda model: model.blocks.append(dense()),
        ["model.blocks[2] is new: a Dense"],
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_changed_in_a_module_is_named(explained, change):
    edit, expected = CHANGES[change]
    f, model = nnx.jit(call), Net()
    f(model, X)
    edit(model)
    found = explained(f, model, X)
    if expected is None:
        assert found == []
        return
    (message,) = found
    first, *lines = message.split("\n  ")
    assert first == "nnx.jit traces call again (trace 2):"
    assert lines == expected


def test_arguments_outside_modules_are_named(explained):
    def step(model, batch, factor=1, *, state=None):
        return model(batch["x"]) * factor

    f, model = nnx.jit(step, static_argnames="factor"), Net()
    state = nnx.state(model)
    assert explained(f, model, {"x": X}) == []
    table = [
        (({"x": X[:1]},), {}, ["batch['x'] is f32[1,3], was f32[3,3] before"]),
        (({"x": X}, 2), {}, ["factor is 2, was 1 before", "factor is new: 2"]),
        (({"x": X, "y": X},), {}, ["batch['y'] is new: f32[3,3]"]),
        (({"x": X},), {"state": state}, ["state['blocks'][0]['kernel'] is new: shared with"]),
    ]
    for args, kwargs, expected in table:
        (message,) = explained(f, model, *args, **kwargs)
        assert any(line in message for line in expected), message
        assert explained(f, model, *args, **kwargs) == []
    f.clear_cache()
    (message,) = explained(f, model, {"x": X})
    assert "the cache was cleared" in message


def test_a_function_that_is_jitted_each_time(explained):
    def step(model, x):
        return model(x)

    model = Net()
    assert explained(nnx.jit(step), model, X) == []
    assert "passed to nnx.jit 2 times" in explained(nnx.jit(step), model, X)[0]
    assert "passed to nnx.jit 3 times" in explained(nnx.jit(step), model, X)[0]


def test_nothing_is_said_or_remembered_unless_asked(caplog):
    f = nnx.jit(lambda model, x: model(x))
    for x in (X, X[:1]):
        f(Net(), x)
    assert [r for r in caplog.records if r.name == "linnet.nnx.jit"] == []
    assert f._explainer._traces == []
