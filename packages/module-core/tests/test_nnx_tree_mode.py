"""`graph=False` and `graph_updates=False`: only values are passed on."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, PartitionSpec

from linnet.module_core import nnx
from linnet.module_core.errors import ArgumentError

X = jnp.ones((2,))
MESH = Mesh(np.array(jax.devices()[:1]), ("axis",))
WHOLE = PartitionSpec()


class Layer(nnx.Module):
    def __init__(self):
        self.weight = nnx.Param(jnp.full((2,), 2.0))
        self.calls = nnx.BatchStat(jnp.zeros(()))
        self.array = jnp.zeros(())
        self.parts = [jnp.zeros(())]


class Shared(nnx.Module):
    def __init__(self):
        self.a = self.b = nnx.Param(jnp.ones(2))


def loss(m, *rest):
    return jnp.sum(m.weight[...])


def with_aux(f):
    return lambda *args: (jnp.sum(jax.tree.leaves(nnx.state(args[0], nnx.Param))[0]), f(*args))


def vmap(f, **modes):
    return lambda *args: nnx.vmap(f, in_axes=None, out_axes=None, axis_size=2, **modes)(*args)


# Each runs a function of modules, and returns its result.
WAYS = {
    "jit": nnx.jit,
    "jit with shardings": lambda f, **m: nnx.jit(f, out_shardings=None, donate_argnums=(), **m),
    "remat": nnx.remat,
    "checkify": lambda f, **m: lambda *args: nnx.checkify(f, **m)(*args)[1],
    "vmap": vmap,
    "cond": lambda f, **m: lambda *args: nnx.cond(True, f, f, *args, **m),
    "switch": lambda f, **m: lambda *args: nnx.switch(0, [f, f], *args, **m),
    "grad": lambda f, **m: (
        lambda *a: nnx.grad(with_aux(f), has_aux=True, allow_int=True, **m)(*a)[1]
    ),
    "vjp": lambda f, **m: lambda *args: nnx.vjp(with_aux(f), *args, has_aux=True, **m)[2],
    "shard_map": lambda f, **m: (
        lambda *args: nnx.shard_map(
            f, mesh=MESH, in_specs=(WHOLE,) * len(args), out_specs=WHOLE, check_vma=False, **m
        )(*args)
    ),
}
MODES = {"graph=False": {"graph": False}, "graph_updates=False": {"graph_updates": False}}
modes = pytest.mark.parametrize("mode", MODES)
ways = pytest.mark.parametrize("way", WAYS)


@modes
@ways
def test_values_are_handed_on_and_no_structure(way, mode):
    def edit(m):
        m.calls[...] += 1
        m.array = m.array + 1
        m.parts[0] = m.parts[0] + 1
        m.parts.append(jnp.zeros(()))
        m.new = nnx.Param(jnp.ones(()))
        m.flag = True
        del m.weight
        return jnp.zeros(())

    m = Layer()
    weight = m.weight
    WAYS[way](edit, **MODES[mode])(m)
    assert float(m.calls[...]) == 1
    assert float(m.array) == float(m.parts[0]) == 0
    assert set(vars(m)) == {"weight", "calls", "array", "parts"}
    assert m.weight is weight
    assert len(m.parts) == 1


@modes
@ways
@pytest.mark.parametrize(
    "what",
    [lambda m: m, lambda m: m.weight, lambda m: [nnx.state(m, nnx.Param)]],
    ids=["module", "variable", "state"],
)
def test_an_argument_in_the_output_raises_an_error(way, mode, what):
    m = Layer()

    def run(m):
        m.calls[...] += 1
        return what(m)

    with pytest.raises(ArgumentError, match=f"The object in the output.*{mode}"):
        WAYS[way](run, **MODES[mode])(m)
    assert float(m.calls[...]) == 0
    assert type(WAYS[way](lambda m: nnx.clone(m), **MODES[mode])(m)) is Layer


@ways
def test_shared_objects_raise_an_error_only_without_graphs(way):
    run = WAYS[way](lambda m, *rest: jnp.sum(jax.tree.leaves(m)[0]), graph=False)
    m = Layer()
    with pytest.raises(ArgumentError, match="one Variable is at 0/a and 0/b"):
        run(Shared())
    with pytest.raises(ArgumentError, match="Duplicate found"):
        run(m, m)
    with pytest.raises(ArgumentError, match="within itself.*graph=False"):
        WAYS[way](lambda m: Shared(), graph=False)(m)
    made = WAYS[way](lambda m: Shared(), graph_updates=False)(Shared())
    assert made.a is made.b


AXES, SHARDING = nnx.StateAxes({...: 0}), nnx.StateSharding({...: WHOLE})
FILTERS = {
    "vmap in_axes": lambda **m: nnx.vmap(loss, in_axes=(AXES,), **m),
    "vmap out_axes": lambda **m: nnx.vmap(loss, out_axes={"a": AXES}, **m),
    "pmap in_axes": lambda **m: nnx.pmap(loss, in_axes=AXES, **m),
    "scan in_axes": lambda **m: nnx.scan(loss, in_axes=(AXES, nnx.Carry), out_axes=nnx.Carry, **m),
    "scan out_axes": lambda **m: nnx.scan(loss, out_axes=(nnx.Carry, AXES), **m),
    "jit in_shardings": lambda **m: nnx.jit(loss, in_shardings=(SHARDING,), **m),
    "jit out_shardings": lambda **m: nnx.jit(loss, out_shardings=SHARDING, **m),
    "shard_map in_specs": lambda **m: nnx.shard_map(
        loss, mesh=MESH, in_specs=(SHARDING,), out_specs=WHOLE, **m
    ),
    "grad argnums": lambda **m: nnx.grad(loss, argnums=nnx.DiffState(0, nnx.Param), **m),
    "custom_vjp nondiff_argnums": lambda **m: nnx.custom_vjp(
        loss, nondiff_argnums=(nnx.DiffState(0, nnx.Param),), **m
    ),
}


@modes
@pytest.mark.parametrize("where", FILTERS)
def test_specs_by_filter_raise_an_error(where, mode):
    with pytest.raises(ArgumentError, match=rf"A \w+ in {where.split()[1]} treats"):
        FILTERS[where](**MODES[mode])


@modes
def test_a_loop_gives_a_new_object_around_the_same_variables(mode):
    def turn(m):
        m.calls[...] += 1
        m.array = m.array + 1
        return m

    loops = [
        lambda m: nnx.fori_loop(0, 2, lambda i, m: turn(m), m, **MODES[mode]),
        lambda m: nnx.while_loop(lambda m: m.calls[...] < 2, turn, m, **MODES[mode]),
        lambda m: nnx.scan(lambda m, x: (turn(m), x), **MODES[mode])(m, X)[0],
    ]
    for loop in loops:
        m = Layer()
        result = loop(m)
        assert result is not m
        assert result.calls is m.calls
        assert float(m.calls[...]) == float(result.array) == 2
        assert float(m.array) == 0


@pytest.mark.parametrize("mode", [nnx.set_graph_mode, nnx.set_graph_updates])
def test_the_mode_that_is_set(mode):
    with mode(False):
        run = nnx.jit(lambda m: m)
    with pytest.raises(ArgumentError, match="does not allow"):
        run(Layer())
    m = Layer()
    assert nnx.jit(lambda m: m)(m) is m
