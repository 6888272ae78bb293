"""If jax traces a function once for one structure, nnx does, too: jit, scan and remat.

Loops and branches take their functions on every call, and are traced on every call.
"""

import gc
import weakref

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from linnet.module_core import nnx

from .nnx_models import block, blocks

X = jnp.ones((2, 3))


class Counted:
    """A function of a module that counts its traces."""

    def __init__(self):
        self.traces = 0

    def step(self, x, m):
        self.traces += 1
        return m(x), x

    def run(self, m, x):
        self.traces += 1
        return m(x)


def ways(counted):
    """Callers of one function each, with modules to call it on."""
    remat, jit = nnx.remat(counted.run), nnx.jit(counted.run)
    layers = nnx.scan(lambda x, m: counted.step(x, m))
    carried = nnx.scan(
        lambda m, x: counted.run(m, x), in_axes=(nnx.StateAxes({...: nnx.Carry}), 0), out_axes=0
    )
    return {
        "jit": (lambda m: jit(m, X), block),
        "remat": (lambda m: remat(m, X), block),
        "remat's gradient": (
            lambda m: nnx.grad(lambda m: remat(m, X).sum())(m).dense.kernel[...],
            block,
        ),
        "scan over layers": (lambda m: layers(X, m)[0], lambda: blocks(2)),
        "scan over inputs": (lambda m: carried(m, X[:, None]), block),
        "scan in jit": (nnx.jit(lambda m: layers(X, m)[0]), lambda: blocks(2)),
        "vmap of scan": (
            lambda m: nnx.vmap(lambda x, m: layers(x, m)[0], in_axes=(0, None))(X[None], m),
            lambda: blocks(2),
        ),
    }


@pytest.mark.parametrize("way", ways(Counted()))
def test_one_trace_for_one_structure(way):
    counted = Counted()
    run, make = ways(counted)[way]
    m = make()
    first = run(m)
    run(m)
    m.dense.kernel[...] = 2 * m.dense.kernel[...]
    second = run(m)
    other = run(make())  # another model of the same structure
    assert counted.traces == 1
    assert not np.allclose(first, second)  # with the values of the call
    np.testing.assert_allclose(other, first, rtol=1e-6)
    m.extra = nnx.Param(jnp.zeros(2))
    run(m)
    assert counted.traces == 2


def test_siblings_in_one_program_are_traced_once():
    counted = Counted()
    layers = nnx.scan(lambda x, m: counted.step(x, m))
    remat = nnx.remat(counted.run)
    stacks = [blocks(2) for _ in range(3)]
    singles = [block(i) for i in range(3)]

    @nnx.jit
    def run(stacks, singles, x):
        for m in stacks:
            x, _ = layers(x, m)
        for m in singles:
            x = remat(m, x)
        return x

    run(stacks, singles, X)
    assert counted.traces == 2
    assert all(float(m.calls[...]) == 1 for m in singles)


def test_flags_shown_to_all_steps_may_be_branched_on():
    traces = []

    @nnx.scan(in_axes=(nnx.Carry, 0, None, None))
    def total(c, x, flags, factor):
        traces.append(flags)
        return (c + factor * x if flags["add"] else c), None

    run = [total(0.0, jnp.ones(3), {"add": a}, f)[0] for a, f in ((True, 2.0), (False, 2.0))]
    np.testing.assert_allclose(run, [6.0, 0.0])
    assert float(total(0.0, jnp.ones(3), {"add": True}, 3.0)[0]) == 9.0
    assert len(traces) == 2


def test_a_loop_of_variables_whose_values_are_trees():
    class Memory(nnx.Module):
        def __init__(self):
            self.seen = nnx.Variable({"sum": jnp.zeros(2), "count": jnp.zeros((), int)})
            self.shift = nnx.Param({"by": jnp.arange(6.0).reshape(2, 3)})

        def __call__(self, x):
            old = self.seen[...]
            self.seen[...] = {"sum": old["sum"] + x, "count": old["count"] + 1}
            return x + self.shift[...]["by"]

    m = Memory()
    axes = nnx.StateAxes({nnx.Param: 1, ...: nnx.Carry})
    ys = nnx.scan(Memory.__call__, in_axes=(axes, 0), out_axes=0)(m, jnp.ones((3, 2)))
    np.testing.assert_allclose(ys, 1 + np.arange(6.0).reshape(2, 3).T)
    np.testing.assert_allclose(m.seen[...]["sum"], [3.0, 3.0])
    assert int(m.seen[...]["count"]) == 3


@pytest.mark.usefixtures("only_new_garbage")
def test_what_was_remembered_goes_with_the_function():
    def make():
        counted = Counted()
        layers = nnx.scan(lambda x, m: counted.step(x, m))
        remat = nnx.remat(lambda m, x: counted.run(m, x))
        layers(X, blocks(2))
        remat(block(), X)
        return [weakref.ref(counted)]

    kept = make()
    gc.collect()
    assert [r() for r in kept] == [None]


@pytest.mark.usefixtures("only_new_garbage")
def test_arguments_are_not_kept():
    @nnx.scan
    def step(c, x):
        return c + x, None

    x = jnp.arange(3.0)
    kept = weakref.ref(x)
    step(0.0, x)
    del x
    gc.collect()
    assert kept() is None


def test_derivatives_of_a_loop_are_those_of_jax():
    w = jnp.float32(0.5)

    @nnx.scan
    def step(c, x):
        return jnp.tanh(c * x), c

    plain = jax.grad(lambda w: jax.lax.scan(lambda c, x: (jnp.tanh(c * x), c), w, jnp.ones(3))[0])
    np.testing.assert_array_equal(jax.grad(lambda w: step(w, jnp.ones(3))[0])(w), plain(w))


@pytest.mark.parametrize("modes", [{"graph": False}, {"graph_updates": False}])
def test_a_scan_in_tree_mode_keeps_what_steps_write_to_a_module_that_all_see(modes):
    m = block()
    counted = Counted()
    run = nnx.scan(lambda m, x: counted.run(m, x), in_axes=(None, 0), out_axes=0, **modes)
    for calls in (3.0, 6.0):
        run(m, jnp.ones((3, 2, 3)))
        assert float(m.calls[...]) == calls
    assert counted.traces == 2  # once to see that there is something to pass on


@pytest.mark.parametrize("value", [0.5, jnp.float32(0.5), np.float32(0.5), "weak"])
@pytest.mark.parametrize("transform", ["jit", "remat", "scan"])
def test_a_number_that_a_step_sets_is_of_the_type_that_was_there(transform, value):
    if isinstance(value, str):
        value = jnp.asarray(0.5)
        assert value.weak_type
    traces = []

    class Scale(nnx.Module):
        def __init__(self):
            self.scale = nnx.Param(jnp.ones(()))
            self.key = nnx.Variable(jax.random.key(0))

    def step(m, x):
        traces.append(1)
        m.scale.set_raw_value(value)
        m.key[...] = jax.random.fold_in(m.key[...], 1)
        return x * m.scale[...]

    axes = nnx.StateAxes({...: nnx.Carry})
    run = {
        "jit": nnx.jit,
        "remat": nnx.remat,
        "scan": lambda f: nnx.scan(f, in_axes=(axes, 0), out_axes=0),
    }[transform](step)
    m = Scale()
    for _ in range(3):
        run(m, jnp.ones(2))
    assert len(traces) == 1
    assert m.scale[...].dtype == jnp.float32
