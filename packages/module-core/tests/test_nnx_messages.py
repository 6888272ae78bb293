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
        (lambda x, y: 1, (X, 3.0), [r"over axis 0 of y, of shape \(\), which has no such axis"]),
        (lambda m, x: 1, (block(), X), [r"over axis 0 of m.calls, .*no such axis"]),
    ],
)
def test_axes_of_different_sizes_name_their_arrays(f, args, words):
    for transform in (nnx.vmap(f), nnx.scan(f, in_axes=0, out_axes=0)):
        with pytest.raises(ArgumentError) as caught:
            transform(*args)
        for word in words:
            assert caught.match(word)


def test_axes_of_different_sizes_and_the_size_that_is_asked_for():
    # jax 0.6 takes the size that is asked for, and ignores all others.
    if jax.__version_info__ >= (0, 10):
        with pytest.raises(ArgumentError, match=r"(?s)7: axis_size\n  4: axis 0 of x"):
            nnx.vmap(lambda x: x, axis_size=7)(X)
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
    assert "model.kernel and target.kernel hold the same array" in notes(caught.value)
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


def set_to(value):
    def run(models):
        models[0]["net"].stats.mean.set_value(value)
        return models

    return run


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (jnp.ones((2, 3)), r"stats\.mean .*float32\[3\]"),
        (jnp.ones(3, int), r"stats\.mean .*float32\[3\] .*int32\[3\]"),
    ],
)
def test_branches_that_leave_other_types_name_the_variable(value, words):
    same = set_to(jnp.zeros(3))
    for call in (
        lambda other: nnx.cond(True, same, other, [{"net": Net()}]),
        lambda other: nnx.switch(0, [same, other, same], [{"net": Net()}]),
    ):
        with pytest.raises(ArgumentTypeError, match=r"models\[0\]\['net'\]\." + words):
            call(set_to(value))
    nnx.cond(True, same, set_to(jnp.ones(3)), [{"net": Net()}])


def test_turns_that_leave_other_types_name_the_variable():
    place = r"variable at \[0\]\['net'\]\.stats\.mean changes its "
    with pytest.raises(ArgumentError, match=place + r"shape from \(3,\) to \(2, 3\)"):
        nnx.fori_loop(0, 2, lambda i, x: set_to(jnp.ones((2, 3)))(x), [{"net": Net()}])
    with pytest.raises(ArgumentTypeError, match=place + r"type from float32\[3\] to int32\[3\]"):
        nnx.while_loop(lambda x: True, set_to(jnp.ones(3, int)), [{"net": Net()}])


def test_the_variable_that_cannot_be_differentiated_is_named():
    state = nnx.State({"n": nnx.Variable(jnp.int32(2))})
    with pytest.raises(ArgumentTypeError, match=r"int32 for Variable at s\['n'\]"):
        nnx.grad(lambda s: s["n"][...] * 1.0)(state)


def test_trees_of_another_form_are_shown_by_classes():
    net, other = Net(), lambda: Net(nnx.Rngs(1))
    with pytest.raises(
        ArgumentError, match=r"carry was \{'m': Net\} and became \{'m': Net, 'n': 1\}"
    ):
        nnx.scan(lambda c, x: {**c, "n": 1}, out_axes=nnx.Carry)({"m": net}, X)
    with pytest.raises(ArgumentError, match="carry was Net and became another module"):
        nnx.scan(lambda c, x: other(), out_axes=nnx.Carry)(net, X)
    with pytest.raises(ArgumentError, match=r"takes: \(Net, int32\[\]\) became \(Net, Net\)"):
        nnx.while_loop(lambda m: True, lambda m: (m[0], m[0]), (net, 1))
    with pytest.raises(ArgumentTypeError, match=r"0 \(.*\) returns Net and .* \(Net, \*\)"):
        nnx.cond(True, lambda m: m, lambda m: (m, 1), net)
    with pytest.raises(
        ArgumentError, match=r"but \(0, \{'a': 0\}\) is not a prefix of \(Net, float32\[4,3\]\)"
    ):
        nnx.vmap(lambda a, b: 1, in_axes=(0, {"a": 0}))(net, X)


def test_calls_to_an_abstract_module_say_how_to_fill_it():
    net = nnx.eval_shape(Net)
    with pytest.raises(TypeError, match="ShapeDtypeStruct") as caught:
        net.blocks[0](X)
    assert "nnx.update(module, state), or make the module itself" in notes(caught.value)
    nnx.update(net, nnx.state(Net()))
    assert net.blocks[0](X).shape == nnx.jit(Net)().blocks[0](X).shape == (4, 3)
