"""Loops whose steps return variables other than those they were passed."""

import jax
import jax.numpy as jnp
import pytest

from linnet.module_core import nnx
from linnet.module_core.errors import ArgumentError, TraceContextError

from .nnx_models import block

XS = jnp.arange(1.0, 4.0)


def by_scan(step, carry):
    return nnx.scan(lambda c, x: (step(c, x), x))(carry, XS)[0]


def by_scan_beside_others(step, carry):
    def both(x, c, m):
        m.calls[...] += 1
        return m.calls[...] * x, step(c, x)

    axes = (0, nnx.Carry, nnx.StateAxes({...: None}))
    return nnx.scan(both, in_axes=axes, out_axes=(0, nnx.Carry))(XS, carry, block())[1]


def by_scan_of_one(step, carry):
    def one(pair):
        i, c = pair
        return i + 1, step(c, XS[i])

    return nnx.scan(one, length=3, in_axes=nnx.Carry, out_axes=nnx.Carry)((0, carry))[1]


def by_fori_loop(step, carry):
    return nnx.fori_loop(0, 3, lambda i, c: step(c, XS[i]), carry)


def by_while_loop(step, carry):
    def body(pair):
        i, c = pair
        return i + 1, step(c, XS[i])

    return nnx.while_loop(lambda pair: pair[0] < 3, body, (0, carry))[1]


def by_jitted_scan(step, carry):
    return nnx.jit(lambda c: by_scan(step, c))(carry)


LOOPS = [by_scan, by_scan_beside_others, by_scan_of_one, by_fori_loop, by_while_loop]


def two(a=1.0, b=2.0):
    return {"a": nnx.Param(jnp.full(2, a)), "b": nnx.BatchStat(jnp.array(b))}


def mapped(c, x):
    return jax.tree.map(lambda v: v + x, c)


def made(c, x):
    return {k: type(v)(v[...] * 2 + x) for k, v in c.items()}


def written_and_made(c, x):
    c["a"][...] *= 3
    return made(c, x)


def one_made(c, x):
    c["a"][...] += x
    return {"a": c["a"], "b": nnx.BatchStat(c["b"][...] + c["a"][...].sum())}


def values_of(c):
    return [v.tolist() for v in jax.tree.leaves(c)]


@pytest.mark.parametrize("step", [mapped, made, written_and_made, one_made])
@pytest.mark.parametrize("loop", [*LOOPS, by_jitted_scan])
def test_steps_may_return_new_variables(loop, step):
    carry, expected = two(), two()
    for x in XS:
        expected = step(expected, x)
    kept = carry["a"], carry["b"]
    result = loop(step, carry)
    assert values_of(result) == values_of(expected)
    assert result["b"] is not kept[1]
    assert isinstance(result["b"], nnx.BatchStat)
    assert (result["a"] is kept[0]) == (step is one_made)
    assert values_of(carry["b"]) == [2.0]
    assert values_of(carry["a"]) == (values_of(result["a"]) if step is one_made else [[1.0, 1.0]])


@pytest.mark.parametrize("loop", LOOPS)
def test_states_are_carried(loop):
    model = block()
    graphdef, state = nnx.split(model)

    def merged(state, x):
        model = nnx.merge(graphdef, state, copy=True)
        model(x * jnp.ones((1, 3)))
        return nnx.state(model)

    assert loop(merged, state).calls[...] == 3.0
    assert model.calls[...] == 0.0
    shared = nnx.Param(jnp.ones(()))

    def doubled(pair, x):
        return (nnx.Param(pair[0][...] + x),) * 2

    first, second = loop(doubled, (shared, shared))
    assert first is second
    assert (float(first[...]), float(shared[...])) == (7.0, 1.0)


def test_a_step_is_differentiated_and_traced_once():
    traces = []

    def step(c, x):
        traces.append(x)
        return {"w": nnx.Param(c["w"][...] * x)}, None

    scan = nnx.scan(step)
    gradient = jax.grad(lambda w: scan({"w": nnx.Param(w)}, XS)[0]["w"][...])
    assert gradient(2.0) == 6.0
    assert gradient(3.0) == 6.0
    assert len(traces) == 1


MISTAKES = {
    "another class": lambda c, x: {**c, "a": nnx.BatchStat(c["a"][...])},
    "another module": lambda c, x: {**c, "m": block(1)},
    "arrays": lambda c, x: {**c, "a": c["a"][...] + x},
    "one for two": lambda c, x: {**c, "a": c["b"]},
    "other metadata": lambda c, x: {**c, "a": nnx.Param(c["a"][...], note="new")},
}


@pytest.mark.parametrize("mistake", MISTAKES)
@pytest.mark.parametrize("loop", [by_scan, by_fori_loop])
def test_other_structures_are_mistakes(loop, mistake):
    carry = {"a": nnx.Param(jnp.zeros(())), "b": nnx.Param(jnp.zeros(())), "m": block()}
    with pytest.raises(ArgumentError, match="returned modules other|return the structure"):
        loop(MISTAKES[mistake], carry)
    assert values_of(carry["a"]) == [0.0]


@pytest.mark.parametrize("option", [{"graph": False}, {"graph_updates": False}])
def test_variables_stay_where_only_values_change(option):
    step = nnx.scan(lambda c, x: (made(c, x), x), **option)
    with pytest.raises(ArgumentError, match="returned modules other"):
        step(two(), XS)
    with pytest.raises(ArgumentError, match="return the structure"):
        nnx.fori_loop(0, 3, lambda i, c: made(c, i), two(), **option)


def test_a_kept_variable_of_another_trace_level_is_a_mistake():
    outside = two()
    with pytest.raises(TraceContextError):
        jax.jit(lambda: by_fori_loop(one_made, outside)["b"][...])()
    assert values_of(outside) == values_of(two())
