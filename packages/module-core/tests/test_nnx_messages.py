"""Errors of nnx transforms: they name variables by paths, and their hints work when followed."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from linnet.module_core import nnx
from linnet.module_core.errors import ArgumentError, ArgumentTypeError

from .nnx_models import Dense, block, blocks

X = jnp.ones((4, 3))


class Net(nnx.Module):
    def __init__(self, rngs=None):
        rngs = nnx.Rngs(0) if rngs is None else rngs
        self.blocks = nnx.List([Dense(3, rngs=rngs), Dense(3, rngs=rngs)])
        self.stats = nnx.Dict(mean=nnx.BatchStat(jnp.zeros(3)))


def notes(error):
    return "\n".join([str(error), *getattr(error, "__notes__", [])])


@pytest.mark.parametrize(
    ("f", "args", "words"),
    [
        (lambda m, x: 1, (Net(), X), [r"axis 0 of m.blocks\[0\].kernel", r"4: axis 0 of x"]),
        (
            lambda d: 1,
            ({"a": X, "b": [X[0]]},),
            [r"axis 0 of d\['a'\]", r"axis 0 of d\['b'\]\[0\]"],
        ),
        (
            lambda states, x: 1,
            ([nnx.state(Net())], X),
            [r"states\[0\]\['stats'\]\['mean'\], of shape \(3,\)"],
        ),
        (lambda x, y: 1, (X, 3.0), [r"along axis 0 of y, of shape \(\), which has no such axis"]),
        (lambda m, x: 1, (block(), X), [r"along axis 0 of m.calls, .*no such axis"]),
    ],
)
def test_axes_of_different_sizes_name_their_arrays(f, args, words):
    for transform in (nnx.vmap(f), nnx.scan(f, in_axes=0, out_axes=0)):
        with pytest.raises(ArgumentError) as caught:
            transform(*args)
        for word in words:
            assert caught.match(word)


def test_axes_of_different_sizes_and_the_size_that_is_asked_for():
    with pytest.raises(ArgumentError, match=r"(?s)7: axis_size\n  4: axis .* x.*\n  3: axis .* y"):
        nnx.vmap(lambda x, y: x, axis_size=7)(X, X[0])
    with pytest.raises(ArgumentError, match=r"(?s)7: length\n  4: axis 0 of x"):
        nnx.scan(lambda x: x, length=7, in_axes=0, out_axes=0)(X)
    with pytest.raises(ArgumentError, match=r"(?s)3: axis 0 of a.*4: axis 0 of b"):
        nnx.vmap(lambda a, *, b: a)(X[0], b=X)


def test_the_hint_about_axes_works():
    axes = nnx.StateAxes({nnx.BatchStat: 0, ...: None})
    with pytest.raises(ArgumentError, match=r"m.stats.mean, of shape \(3,\)"):
        nnx.vmap(lambda m, x: x, in_axes=(axes, 0))(Net(), X)
    nnx.vmap(lambda m, x: x, in_axes=(nnx.StateAxes({...: None}), 0))(Net(), X)


def test_an_axis_for_which_an_output_has_no_place():
    with pytest.raises(ArgumentError, match=r"stack the output\['a'\] along axis 2.*\(3,\)"):
        nnx.vmap(lambda x: {"a": x}, out_axes={"a": 2})(X)
    with pytest.raises(ArgumentError, match=r"stack the output\.kernel along axis 3"):
        nnx.vmap(lambda key: Dense(3, rngs=nnx.Rngs(key)), out_axes=3)(
            jax.random.split(jax.random.key(0), 2)
        )
    assert nnx.vmap(lambda x: {"a": x}, out_axes={"a": 1})(X)["a"].shape == (3, 4)


def test_a_variable_that_differs_from_step_to_step_is_named():
    m = Net()

    def set_mean(m, x):
        m.stats.mean.set_value(x)

    for call in (lambda f: f(m, X), lambda f: nnx.jit(f)(m, X)):
        with pytest.raises(ArgumentError, match=r"new value of m\.stats\.mean, which"):
            call(nnx.vmap(set_mean, in_axes=(None, 0)))

    def reduced(m, x):
        m.stats.mean.set_value(jax.lax.pmean(x, "batch"))

    nnx.vmap(reduced, in_axes=(None, 0), axis_name="batch")(m, X)
    np.testing.assert_array_equal(m.stats.mean[...], np.ones(3))


@pytest.mark.parametrize("transform", [nnx.vmap, lambda f: nnx.scan(f, in_axes=0, out_axes=0)])
def test_a_stream_that_is_not_split(transform):
    make = transform(lambda rngs, x: Dense(3, rngs=rngs).kernel[...] * x)
    with pytest.raises(
        ArgumentError, match=r"rngs\.default\.\w+, .*(?s:.)*nnx.split_rngs\(splits=4\)"
    ):
        make(nnx.Rngs(0), jnp.ones(4))
    kernels = nnx.split_rngs(splits=4)(make)(nnx.Rngs(0), jnp.ones(4))
    assert len(np.unique(kernels[:, 0, 0])) == 4


def test_a_draw_from_a_stream_that_is_split():
    layers = nnx.split_rngs(splits=4)(nnx.vmap(lambda rngs: nnx.Dict(rngs=rngs.fork())))(
        nnx.Rngs(0)
    )
    with pytest.raises(ArgumentError, match=r"(?s)'default' is split.*shape \(4,\).*nnx.vmap"):
        layers.rngs()
    assert nnx.vmap(lambda m, x: m.rngs.normal() * x)(layers, jnp.ones(4)).shape == (4,)
    rngs = nnx.Rngs(0)
    backups = nnx.split_rngs(rngs, splits=2)
    with pytest.raises(ArgumentError, match="restore_rngs"):
        rngs.normal()
    nnx.restore_rngs(backups)
    assert rngs.normal().shape == ()


def test_a_carried_variable_of_another_type():
    many = blocks(2)

    def step(m, _):
        m.calls.set_value(jnp.zeros((2,), int))
        return m

    loop = nnx.scan(step, in_axes=(nnx.Carry, 0), out_axes=nnx.Carry)
    with pytest.raises(ArgumentTypeError, match=r"m\.calls changes its type from float32 to int32"):
        loop(many, X)


@nnx.jit(donate_argnums=0)
def step(model, target):
    model.kernel[...] += target.kernel[...]


def dense():
    return Dense(3, rngs=nnx.Rngs(0))


def test_a_module_that_shares_arrays_with_a_donated_one():
    model, shared = dense(), dense()
    shared.kernel.set_value(model.kernel.get_value())
    with pytest.raises((ValueError, RuntimeError)) as caught:
        step(model, shared)
    assert "model.kernel and target.kernel hold one and the same array" in notes(caught.value)
    before = np.array(shared.kernel[...])
    step(model, nnx.clone(shared, arrays=True))  # as the note says
    np.testing.assert_allclose(model.kernel[...], 2 * before, rtol=1e-6)
    with pytest.raises((ValueError, RuntimeError)) as caught:
        step(dense(), shared)
    assert "Donated to an earlier call: target.kernel" in notes(caught.value)


def test_a_variable_that_is_donated_by_one_argument_and_not_by_the_other():
    model = dense()
    before = np.asarray(model.kernel[...])
    step(model, nnx.state(model))
    step(model, nnx.merge(*nnx.split(model)))
    np.testing.assert_allclose(model.kernel[...], 4 * before, rtol=1e-6)
