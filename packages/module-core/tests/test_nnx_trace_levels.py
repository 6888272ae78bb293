"""A transform's changes reach objects of the caller's trace level, and no others.

A contract over every pair: `OUTER` are ways to run a function at a different trace level; `INNER`
are the nnx transforms, applied within that function to a module from outside it. A transform that
is added to `nnx` must be added to `INNER` as well, or a test here fails.
"""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, PartitionSpec

from linnet.module_core import nnx
from linnet.module_core.errors import TraceContextError

X = jnp.ones((2,))
MESH = Mesh(np.array(jax.devices()[:1]), ("axis",))
WHOLE = PartitionSpec()


class Layer(nnx.Module):
    """Weights that are never written, a count, a stream, and a raw array in a tuple."""

    def __init__(self):
        self.weight = nnx.Param(jnp.full((2,), 2.0))
        self.calls = nnx.BatchStat(jnp.zeros(()))
        self.noise = nnx.Rngs(0)
        self.fixed = (jnp.ones(2),)

    def read(self, x):
        return x * self.weight[...] + self.fixed[0] - 1

    def write(self, x):
        self.calls[...] += 1
        self.noise()
        return self.read(x)


def custom_vjp(f):
    made = nnx.custom_vjp(f)
    made.defvjp(lambda m, x: (f(m, x), m), lambda m, g: (nnx.state(m), g[1]))
    return made


def in_loop(turn):
    def run(f):
        return lambda m, x: turn(lambda c: (c[0], f(*c)), (m, x))[1]

    return run


def mapped(transform):
    def run(f):
        def axis(m, x):
            return transform(lambda m, x: f(m, x), in_axes=(None, 0))(m, x[None])[0]

        return axis

    return run


CARRIED = nnx.StateAxes({...: nnx.Carry})

INNER = {
    "cached_partial": lambda f: lambda m, x: nnx.cached_partial(nnx.jit(f), m)(x),
    "checkify": lambda f: lambda m, x: nnx.checkify(f)(m, x)[1],
    "checkpoint": nnx.checkpoint,
    "cond": lambda f: lambda m, x: nnx.cond(jnp.sum(x) > 0, f, lambda m, x: x, m, x),
    "custom_vjp": custom_vjp,
    "fori_loop": in_loop(lambda turn, c: nnx.fori_loop(0, 1, lambda i, c: turn(c), c)),
    "grad": lambda f: (
        lambda m, x: nnx.grad(lambda m, x: (f(m, x).sum(), f(m, x)), has_aux=True)(m, x)[1]
    ),
    "jit": nnx.jit,
    "jit_partial": lambda f: lambda m, x: nnx.jit_partial(f, m)(x),
    "jvp": lambda f: lambda m, x: nnx.jvp(lambda x: f(m, x), (x,), (x,))[0],
    "make_jaxpr": lambda f: lambda m, x: (nnx.make_jaxpr(f)(m, x), m.read(x))[1],
    "pmap": mapped(nnx.pmap),
    "remat": nnx.remat,
    "scan": lambda f: lambda m, x: nnx.scan(f, in_axes=(CARRIED, 0), out_axes=0)(m, x[None])[0],
    "shard_map": lambda f: nnx.shard_map(
        f, mesh=MESH, in_specs=(WHOLE, WHOLE), out_specs=WHOLE, check_vma=False
    ),
    "switch": lambda f: lambda m, x: nnx.switch(jnp.int32(x[0]), [lambda m, x: x, f], m, x),
    "value_and_grad": lambda f: (
        lambda m, x: nnx.value_and_grad(lambda m, x: (f(m, x).sum(), f(m, x)), has_aux=True)(m, x)[
            0
        ][1]
    ),
    "vjp": lambda f: lambda m, x: nnx.vjp(f, m, x)[0],
    "vmap": mapped(nnx.vmap),
    "while_loop": in_loop(
        lambda turn, c: nnx.while_loop(
            lambda c: c[0] < 1, lambda c: (c[0] + 1, turn(c[1])), (jnp.int32(0), c)
        )[1]
    ),
}
CHANGE_NOTHING = {"make_jaxpr"}

OUTER = {
    "jax.jit": lambda f: jax.jit(f)(X),
    "jax.vmap": lambda f: jax.vmap(f)(X[None])[0],
    "jax.grad": lambda f: jax.grad(lambda x: (f(x).sum(), f(x)), has_aux=True)(X)[1],
    "jax.checkpoint": lambda f: jax.checkpoint(f)(X),
    "jax.make_jaxpr": lambda f: jax.make_jaxpr(f)(X),
    "lax.map": lambda f: jax.lax.map(f, X[None])[0],
    "lax.scan": lambda f: jax.lax.scan(lambda c, x: (c, f(x)), 0, X[None])[1][0],
    "lax.cond": lambda f: jax.lax.cond(True, f, lambda x: x, X),
    "nnx.jit": lambda f: nnx.jit(f)(X),
    "nnx.remat": lambda f: nnx.remat(f)(X),
    "nnx.vmap": lambda f: nnx.vmap(f)(X[None])[0],
    "nnx.grad": lambda f: nnx.grad(lambda x: (f(x).sum(), f(x)), has_aux=True)(X)[1],
    "nnx.scan": lambda f: nnx.scan(f, in_axes=0, out_axes=0)(X[None])[0],
    "nnx.fori_loop": lambda f: nnx.fori_loop(0, 1, lambda i, x: f(x), X),
}
READING = ("jax.jit", "jax.vmap", "jax.grad", "lax.map", "nnx.jit", "nnx.scan")
"""A sample of `OUTER`, since each test that reads compiles a program."""

pytestmark = pytest.mark.filterwarnings("ignore:.*pmap.*:DeprecationWarning")


def leaves(model):
    return [leaf.raw_value for _, leaf in nnx.to_flat_state(nnx.state(model)) if is_variable(leaf)]


def is_variable(leaf):
    return isinstance(leaf, nnx.Variable)


def test_every_transform_is_in_the_table():
    transforms = {
        name
        for name, found in vars(nnx).items()
        if inspect.isfunction(found)
        and found.__module__.startswith("linnet.module_core.nnx.transforms.")
        and name not in ("prefix", "transform_metadata")  # which don't start a trace
    }
    assert {n for n in dir(nnx) if n in transforms} <= set(INNER)


@pytest.mark.parametrize("inner", INNER)
def test_writing_to_a_module_from_outside_raises_an_error_and_changes_nothing(inner):
    model = Layer()
    before = leaves(model)
    run = INNER[inner](Layer.write)
    for name, outer in OUTER.items():
        if inner in CHANGE_NOTHING:
            outer(lambda x: run(model, x))
        elif inner == "jvp":  # its function itself writes to a module from outside
            with pytest.raises(TraceContextError, match="trace level"):
                run(model, X)
        else:
            with pytest.raises(
                TraceContextError, match="Cannot mutate '(BatchStat|RngCount)'.*level"
            ):
                outer(lambda x: run(model, x))
        after = leaves(model)
        assert all(a is b for a, b in zip(before, after, strict=True)), name
    assert int(model.noise.default.count[...]) == 0


@pytest.mark.parametrize("inner", INNER)
def test_reading_a_module_from_outside_works_and_changes_nothing(inner):
    model = Layer()
    before = leaves(model)
    run = INNER[inner](Layer.read)
    for name in READING:
        if inner == "while_loop" and name == "jax.grad":
            continue  # jax rejects this pair
        got = OUTER[name](lambda x: run(model, x))
        np.testing.assert_allclose(got, [2.0, 2.0], err_msg=name)
        after = leaves(model)
        assert all(a is b for a, b in zip(before, after, strict=True)), name


@pytest.mark.parametrize("inner", sorted(INNER.keys() - CHANGE_NOTHING - {"jvp"}))
def test_writing_at_the_level_of_the_call_works(inner):
    model = Layer()
    INNER[inner](Layer.write)(model, X)
    assert float(model.calls[...]) >= 1
    assert int(model.noise.default.count[...]) >= 1


def test_a_hand_written_transform_raises_an_error_too():
    model = Layer()
    before = leaves(model)

    @nnx.update_context("mine")
    def run(x):
        with nnx.split_context("mine") as context:
            graphdef, state = context.split(model)

        @jax.checkpoint
        def inside(state, x):
            with nnx.merge_context("mine", inner=True) as context:
                copy = context.merge(graphdef, state)
            y = copy.write(x)
            with nnx.split_context("mine") as context:
                return y, context.split(copy)

        y, (new, state) = inside(state, x)
        with nnx.merge_context("mine", inner=False) as context:
            context.merge(new, state)
        return y

    with pytest.raises(TraceContextError, match="Cannot mutate 'BatchStat'"):
        jax.jit(run)(X)
    assert all(a is b for a, b in zip(before, leaves(model), strict=True))
    run(X)
    assert int(model.calls[...]) == 1


def test_moving_to_shardings_inside_of_a_trace_leaves_no_tracer():
    model = Layer()
    there = jax.sharding.NamedSharding(MESH, WHOLE)
    run = nnx.jit(Layer.read, in_shardings=(there, None))
    np.testing.assert_allclose(jax.jit(lambda x: run(model, x))(X), [2.0, 2.0])
    assert not any(isinstance(x, jax.core.Tracer) for x in leaves(model))


@pytest.mark.parametrize("outer", OUTER)
def test_a_stream_from_outside_is_not_drawn_from(outer):
    rngs = nnx.Rngs(0, dropout=1)
    draws = [rngs, rngs.dropout, lambda: rngs.normal((2,)), rngs.fork, lambda: rngs.split(2)]
    for draw in draws:
        with pytest.raises(TraceContextError, match="Cannot mutate 'RngCount'"):
            OUTER[outer](lambda x, draw=draw: (draw(), x)[1])
    assert int(rngs.default.count[...]) == int(rngs.dropout.count[...]) == 0
    assert rngs.dropout() == jax.random.fold_in(jax.random.key(1), 0)


def test_a_stream_that_left_its_trace_is_not_drawn_from():
    left = []
    jax.jit(lambda x: (left.append(nnx.Rngs(params=0)), x)[1])(X)
    with pytest.raises(TraceContextError, match="Cannot mutate 'RngCount'"):
        left[0].params()


def test_a_structure_that_changes_at_another_level():
    def rename(m):
        m.other, m.weight = m.weight, None
        m.listed = [1]

    model = Layer()
    with pytest.raises(TraceContextError, match="Cannot mutate 'Layer'"):
        jax.jit(lambda x: (nnx.jit(rename)(model), x)[1])(X)
    assert model.weight[...].tolist() == [2.0, 2.0]
    nnx.jit(rename)(model)
    assert model.weight is None


def test_arrays_and_lists_of_a_module_from_outside():
    class Held(nnx.Module):
        def __init__(self):
            self.array = jnp.zeros(2)
            self.items = [jnp.zeros(2)]

    def write(m, x):
        m.items[0] = x
        return x

    def rebind(m, x):
        m.array = x
        return x

    for change in (write, rebind):
        held = Held()
        with pytest.raises(TraceContextError, match="Cannot mutate 'Held'"):
            jax.jit(lambda x, change=change, held=held: nnx.jit(change)(held, x))(X)
        assert not any(isinstance(x, jax.core.Tracer) for x in (held.array, *held.items))
        nnx.jit(change)(held, X)
        assert 1.0 in (float(held.array[0]), float(held.items[0][0]))


def test_an_object_that_has_nothing_yet():
    class Empty(nnx.Module):
        def fill(self, x):
            self.kernel = nnx.Param(x)

    empty = object.__new__(Empty)
    nnx.jit(Empty.fill)(empty, X)
    assert empty.kernel[...].tolist() == [1.0, 1.0]
