"""Branches, loops, checks, stages and options of nnx.jit, and hand-written transforms."""

import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from comparing import near
from linnet.module_core import nnx
from linnet.module_core.errors import ArgumentError

from .nnx_models import block

X = np.linspace(-1, 1, 12, dtype=np.float32).reshape(4, 3)


@pytest.mark.parametrize("jitted", [False, True])
def test_cond_and_switch(jitted):
    m = block()

    def run(m, index, x):
        y = nnx.cond(index == 0, lambda m, x: m(x), lambda m, x: x, m, x)
        nnx.switch(
            index,
            [lambda m: None, lambda m: m.calls.set_value(m.calls[...] + 10), lambda m: None],
            m,
        )
        return y, m

    run = nnx.jit(run) if jitted else run
    y, same = run(m, 0, X)
    assert same is m
    assert float(m.calls[...]) == 1.0
    near(y, m.dense(X))
    y, _ = run(m, 1, X)
    near(y, X)
    assert float(m.calls[...]) == 11.0


def test_branches_that_leave_other_structures_raise_an_error():
    m = block()

    def add(m):
        m.new = nnx.Param(1.0)

    with pytest.raises(ArgumentError, match=r"branch 0 \(add\) has new"):
        nnx.cond(True, add, lambda m: None, m)
    with pytest.raises(TypeError, match="equal output types"):
        nnx.cond(True, lambda m: 1, lambda m: jnp.zeros(2), m)
    assert not hasattr(m, "new")
    nnx.cond(True, add, lambda m: setattr(m, "new", nnx.Param(2.0)), m)
    assert float(m.new[...]) == 1.0


def test_loops_carry_modules():
    m = block()

    def body(state):
        m, i = state
        m(X)
        return m, i + 1

    out, i = nnx.while_loop(lambda state: state[1] < 3, body, (m, 0))
    assert out is m
    assert int(i) == 3
    assert float(m.calls[...]) == 3.0
    assert nnx.fori_loop(0, 4, lambda i, m: (m(X), m)[1], m) is m
    assert float(m.calls[...]) == 7.0

    def look(m):
        m.calls[...] += 100  # a condition doesn't change anything
        return False

    nnx.while_loop(look, lambda m: m, m)
    assert float(m.calls[...]) == 7.0
    with pytest.raises(ArgumentError, match="new extra"):
        nnx.while_loop(lambda m: True, lambda m: (setattr(m, "extra", nnx.Param(1.0)), m)[1], m)
    with pytest.raises(ArgumentError, match="must return the structure"):
        nnx.fori_loop(0, 2, lambda i, m: block(1), m)
    assert not hasattr(m, "extra")


def test_checkify():
    from jax.experimental import checkify

    def f(m, x):
        checkify.check(jnp.all(x > 0), "not positive")
        return m(x)

    m = block()
    error, y = nnx.jit(nnx.checkify(f))(m, X)
    assert "not positive" in error.get()
    near(y, m.dense(X))
    assert float(m.calls[...]) == 1.0


def test_make_jaxpr_changes_nothing():
    m = block()
    program = nnx.make_jaxpr(lambda m, x: m(x))(m, X)
    assert len(program.jaxpr.outvars) == 2  # the output, and the count of calls
    assert float(m.calls[...]) == 0.0
    assert nnx.make_jaxpr(lambda m, n: m(X) * n, static_argnums=1)(m, 2).jaxpr.outvars


def test_stages_of_jit():
    m = block()
    f = nnx.jit(lambda m, x: m(x))
    assert f.eval_shape(m, X).shape == (4, 3)
    assert f.trace(m, X).jaxpr.in_avals
    lowered = f.lower(m, X)
    assert "tanh" in lowered.as_text()
    compiled = f.trace(m, X).lower().compile()
    assert float(m.calls[...]) == 0.0
    near(compiled(m, X), m.dense(X))
    near(lowered.compile()(m, X), m.dense(X))
    assert float(m.calls[...]) == 2.0
    made = nnx.jit(lambda m: (m, block(1))).eval_shape(m)
    assert made[1].dense.kernel.shape == (3, 3)
    assert isinstance(made[1].dense.kernel[...], jax.ShapeDtypeStruct)
    f.clear_cache()


@pytest.mark.parametrize("option", [{"donate_argnums": 0}, {"donate_argnames": "m"}])
def test_donated_modules_hold_the_new_buffers(option):
    m = block()
    other = jnp.ones((3, 3))
    kernel = m.dense.kernel[...] + 0  # kept outside the module

    @nnx.jit(**option)
    def f(m, x, other):
        return m(x) + other.sum()

    for _ in range(2):
        f(m, X, other)
    near(m.dense.kernel[...], kernel)
    assert float(m.calls[...]) == 2.0
    assert not other.is_deleted()
    given = jnp.ones((2, 3, 3))
    nnx.jit(lambda x: x * 2, donate_argnums=0)(given)
    assert given.is_deleted()
    shared = block()
    nnx.jit(lambda a, b: a(X), donate_argnums=0)(shared, shared)  # one module, which is donated
    assert float(shared.calls[...]) == 1.0
    with pytest.raises(ArgumentError, match="both static and donated"):
        nnx.jit(lambda a: a, donate_argnums=0, static_argnums=0)


def test_static_arguments_by_place_and_name():
    m = block()
    traces = []

    @nnx.jit(static_argnames=("times",))
    def f(m, times, x):
        traces.append(times)
        for _ in range(times):
            x = m(x)
        return x

    near(f(m, 2, X), f(m, times=2, x=X))
    f(m, 3, X)
    assert traces == [2, 2, 3]


def test_shardings():
    mesh = Mesh(np.array(jax.devices()[:1]), ("data",))
    split, whole = (NamedSharding(mesh, PartitionSpec(*s)) for s in (("data",), ()))
    by_kind = nnx.StateSharding({nnx.Param: split, ...: whole})
    m = block()

    @nnx.jit(in_shardings=(by_kind, split), out_shardings=(split, by_kind))
    def f(m, x):
        m.dense.kernel[...] *= 2
        return m(x), m

    for _ in range(2):
        y, same = f(m, X)
    assert same is m
    assert y.sharding.is_equivalent_to(split, 2)
    assert m.dense.kernel[...].sharding.is_equivalent_to(split, 2)
    assert m.calls[...].sharding.is_equivalent_to(whole, 0)
    assert float(m.calls[...]) == 2.0
    with pytest.raises(ArgumentError, match="in_shardings has 1 entry for 2 non-static arguments"):
        nnx.jit(lambda a, b: a, in_shardings=(split,))(X, X)


def test_shard_map():
    mesh = Mesh(np.array(jax.devices()[:1]), ("data",))
    spec = PartitionSpec
    m = block()

    @nnx.shard_map(
        mesh=mesh,
        in_specs=(nnx.StateSharding({...: spec()}), spec("data")),
        out_specs=spec("data"),
    )
    def f(m, x):
        return m(x)

    near(f(m, X), m.dense(X))
    assert float(m.calls[...]) == 1.0


def test_pmap():
    many = nnx.pmap(lambda x: nnx.Param(x))(jnp.ones((1, 3)))
    assert many.shape == (1, 3)
    y = nnx.pmap(lambda p, x: p[...] * x, in_axes=(0, None))(many, 2.0)
    near(y, np.full((1, 3), 2.0))


def test_partials():
    m = block()
    jitted = nnx.jit(lambda m, x: m(x))
    fast = nnx.cached_partial(jitted, m)
    near(fast(X), m.dense(X))
    assert fast.jitted_fn is jitted.jitted_fn  # trainers ask how often it was compiled
    again = nnx.jit_partial(lambda m, x: m(x), m)
    near(again(X), m.dense(X))
    assert again.eval_shape(X).shape == X.shape
    m.extra = nnx.Param(1.0)  # a fixed module may change
    near(fast(X), m.dense(X))
    assert float(m.calls[...]) == 3.0


def test_a_hand_written_transform():
    m = block()

    @nnx.update_context("mine")
    def run():
        with nnx.split_context("mine") as ctx:
            graphdef, state = ctx.split(m)

        def inner(graphdef, state):
            with nnx.merge_context("mine", inner=True) as ctx:
                inside = ctx.merge(graphdef, state)
            assert inside is not m
            inside.calls[...] += 3
            inside.new = nnx.Param(jnp.ones(2))
            with nnx.split_context("mine") as ctx:
                return ctx.split(inside, nnx.Param, ...)

        graphdef, params, rest = jax.jit(inner, static_argnums=0)(graphdef, state)
        with nnx.merge_context("mine", inner=False) as ctx:
            return ctx.merge(graphdef, params, rest)

    dense = m.dense
    assert run() is m
    assert m.dense is dense
    assert float(m.calls[...]) == 3.0
    assert m.new.shape == (2,)
    with (
        pytest.raises(ArgumentError, match="No update context is open for the tag 'mine'"),
        nnx.split_context("mine"),
    ):
        pass
    with nnx.split_context() as ctx:
        graphdef, state = ctx.split(m)
    with nnx.merge_context() as ctx:
        assert ctx.merge(graphdef, state).calls is m.calls


def test_what_a_context_has_split_is_only_referred_to_by_later_splits():
    dense = block().dense
    holder = nnx.Dict(dense=dense, gain=nnx.Param(jnp.ones(())))
    apart = block(1)
    with nnx.split_context() as ctx:
        parts = [ctx.split(x, nnx.Param, ...) for x in (dense, apart, holder, holder)]
    params = [nnx.to_flat_state(p).paths for _, p, _ in parts]
    assert params == [(("kernel",),), (("dense", "kernel"),), (("gain",),), ()]
    assert nnx.merge(*parts[0]).kernel is dense.kernel  # the first split refers to no other
    with nnx.merge_context() as ctx:
        merged = [ctx.merge(*p) for p in parts]
    assert merged[2].dense is merged[0]
    assert merged[3] is merged[2]
    assert merged[2].gain is holder.gain
    with (
        nnx.merge_context() as ctx,
        pytest.raises(ArgumentError, match="in the same order"),
    ):
        ctx.merge(*parts[2])


def test_a_hand_written_transform_of_modules_that_share_a_layer():
    dense = block().dense
    before = np.asarray(dense.kernel[...])
    holder = nnx.Dict(dense=dense, gain=nnx.Param(jnp.ones(())))

    def split(*modules):
        with nnx.split_context("two") as ctx:
            return zip(*[ctx.split(m) for m in modules], strict=True)

    def merge(graphdefs, states, inner):
        with nnx.merge_context("two", inner=inner) as ctx:
            return [ctx.merge(g, s) for g, s in zip(graphdefs, states, strict=True)]

    @jax.jit
    def run(graphdefs, states):
        inside, holding = merge(graphdefs, states, True)
        assert holding.dense is inside
        inside.kernel[...] *= 2
        holding.gain[...] += 1
        return tuple(split(inside, holding))

    with nnx.update_context("two"):
        merged = merge(*run(*split(dense, holder)), False)
    assert merged[0] is dense
    assert merged[1] is holder
    assert holder.dense is dense
    near(dense.kernel[...], 2 * before)
    assert float(holder.gain[...]) == 2.0


def test_threads_call_the_same_function():
    f = nnx.jit(lambda m, x: m(x))
    models = [block(seed) for seed in range(4)]

    def work(m):
        for _ in range(20):
            f(m, X)

    threads = [threading.Thread(target=work, args=(m,)) for m in models]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert [float(m.calls[...]) for m in models] == [20.0] * 4


def test_what_jax_cannot_take_is_named():
    with pytest.raises(TypeError, match="'mode' holds 'train' of type str") as caught:
        nnx.jit(lambda m, mode: m(X))(block(), "train")
    assert "static_argnames='mode'" in str(caught.value)


def test_a_graphdef_applies_states():
    m = block()
    graphdef, state = nnx.split(m)
    y, (_, after) = graphdef.apply(state)(X)
    near(y, m.dense(X))
    assert float(after.calls[...]) == 1.0
    assert float(m.calls[...]) == 0.0


@pytest.mark.parametrize("value", [0, 1.5, True, np.float32(2), jnp.ones(2), (1, {"a": 2.0}), None])
def test_what_a_loop_does_not_change_it_returns_itself(value):
    loops = [
        nnx.fori_loop(0, 3, lambda i, c: c, value),
        nnx.while_loop(lambda c: False, lambda c: c, value),
        nnx.scan(lambda c, x: (c, x))(value, jnp.ones(2))[0],
        nnx.scan(lambda c: c, in_axes=nnx.Carry, out_axes=nnx.Carry, length=2)(value),
    ]
    for result in loops:
        assert jax.tree.structure(result) == jax.tree.structure(value)
        pairs = zip(jax.tree.leaves(result), jax.tree.leaves(value), strict=True)
        assert all(a is b for a, b in pairs)
    total, same = nnx.scan(lambda c, x: ((c[0] + x, c[1]), None))((0.0, value), jnp.ones(2))[0]
    assert float(total) == 2.0
    assert jax.tree.leaves(same) == jax.tree.leaves(value) or same is value


def test_a_structure_of_a_tagged_split_merges_alone():
    dense = block().dense
    with nnx.update_context("alone"), nnx.split_context("alone") as ctx:
        parts = ctx.split(dense)
    assert nnx.merge(*parts).kernel is dense.kernel


def test_an_argument_between_static_and_donated_ones_is_named():
    mesh = jax.sharding.Mesh(np.array(jax.devices()[:1]), ("data",))
    split = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data"))

    @nnx.jit(in_shardings=(None, split, split), static_argnums=1, donate_argnums=2)
    def f(m, n, gone, x):
        return m.dense(x["x"]) * n

    with pytest.raises(ArgumentError, match=r"nnx.jit cannot lay out x\['y'\], of shape \(\)"):
        f(block(), 2, jnp.ones(3), {"x": X, "y": jnp.ones(())})
    assert f(block(), 2, jnp.ones(3), {"x": X}).shape == X.shape
