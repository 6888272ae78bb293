"""Loading into arrays on eight devices, which test_devices.py runs: layouts are kept.

The target has no metadata: rules or `out_shardings` have laid it out. Values are NumPy arrays, as
from a file, or arrays that jax has put on the default device.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AbstractMesh, Mesh, NamedSharding, PartitionSpec

from linnet.module_core import linen, nnx, sharding
from linnet.module_core.training import train_state
from linnet.struct import serialization

P = PartitionSpec
# (1, 1) for the single device of tools that import every file to look for doctests.
DEVICES = np.array(jax.devices()).reshape(-1, 2 if len(jax.devices()) > 1 else 1)
MESH = Mesh(DEVICES, ("data", "model"))
LAYOUT = NamedSharding(MESH, P("data", "model"))
X = np.arange(32, dtype=np.float32).reshape(8, 4)

set_mesh = jax.set_mesh if hasattr(jax, "set_mesh") else jax.sharding.use_mesh


def target():
    return jax.device_put(np.zeros((8, 4), np.float32), LAYOUT)


class Weight(nnx.Module):
    def __init__(self):
        self.w = nnx.Param(target())


def updated(x):
    bare, state, several = Weight(), Weight(), nnx.Dict(held=nnx.Variable({"a": target()}))
    nnx.update(bare, {"w": x})
    nnx.update(state, nnx.State({"w": nnx.Param(x)}))
    nnx.update(several, nnx.State({"held": nnx.Variable({"a": x})}))
    return [bare.w, state.w, several.held["a"]]


def updated_bare_array(x):
    holder = nnx.Dict(x=target())
    nnx.update(holder, {"x": x})
    return [holder["x"]]


def replaced_by_pure_dict(x):
    state = nnx.state(Weight())
    nnx.replace_by_pure_dict(state, {"w": x})
    return [state.w]


def of_linen(x):
    return [nnx.bridge.linen_to_nnx({"params": {"w": x}}, Weight()).w]


def set_to(x):
    written, item = Weight(), Weight()
    written.w.set_value(x)
    item.w[...] = x
    return [written.w, item.w]


def of_a_state_dict(x):
    boxed = {"w": linen.Partitioned(target(), ("data", "model"))}
    state = train_state.TrainState(0, None, {"w": target()}, None, {})
    restored = serialization.from_state_dict(
        state, {**serialization.to_state_dict(state), "params": {"w": x}}
    )
    shape = jax.ShapeDtypeStruct((8, 4), "float32", sharding=LAYOUT)
    return [
        serialization.from_state_dict([target()], {"0": x})[0],
        serialization.from_state_dict(
            boxed, serialization.to_state_dict({"w": linen.Partitioned(x, ())})
        )["w"].value,
        restored.params["w"],
        serialization.from_state_dict({"w": shape}, {"w": x})["w"],
    ]


def of_bytes(x):
    return [serialization.from_bytes({"w": target()}, serialization.to_bytes({"w": x}))["w"]]


WAYS = [
    updated,
    updated_bare_array,
    replaced_by_pure_dict,
    of_linen,
    set_to,
    of_a_state_dict,
    of_bytes,
]


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
@pytest.mark.parametrize("x", [X, jnp.asarray(X)], ids=["numpy", "default device"])
def test_a_layout_is_kept(way, x):
    for found in way(x):
        value = found.get_value() if isinstance(found, nnx.Variable) else found
        assert value.sharding == LAYOUT
        np.testing.assert_array_equal(value, X)


def test_copies_stay_copies():
    whole = NamedSharding(MESH, P())
    model = Weight()
    model.w.set_raw_value(jax.device_put(X, whole))
    nnx.update(model, {"w": X})
    assert model.w.get_value().sharding == whole


def test_keys_are_kept_in_place():
    layout = NamedSharding(MESH, P("data"))
    keys = jax.random.split(jax.random.key(1), 8)
    old = jax.device_put(jax.random.split(jax.random.key(0), 8), layout)
    model = nnx.Dict(k=nnx.Variable(old))
    nnx.update(model, {"k": keys})
    restored = serialization.from_bytes({"k": old}, serialization.to_bytes({"k": keys}))["k"]
    for found in (model["k"].get_value(), restored):
        assert found.sharding == layout
        assert (found == keys).all()


def test_what_someone_has_placed_stays_there():
    placed = jax.device_put(X, DEVICES.flat[-1])
    model = Weight()
    nnx.update(model, {"w": placed})
    assert model.w.get_value() is placed
    assert serialization.from_state_dict([target()], {"0": placed})[0] is placed


@pytest.mark.parametrize("new", [X[:2], "text", 3.0, None, np.array(["a"] * 4)], ids=repr)
def test_what_does_not_fit_stays_as_it_is(new):
    model = Weight()
    model.w.set_value(new)
    assert model.w.raw_value is new or model.w.raw_value == new
    assert nnx.Variable(target()).copy(X).raw_value is X


def test_on_one_device_numpy_arrays_stay():
    model = nnx.Dict(w=nnx.Param(jnp.zeros((8, 4))))
    nnx.update(model, {"w": X})
    assert model["w"].raw_value is X
    assert serialization.from_state_dict([jnp.zeros((8, 4))], {"0": X})[0] is X


def test_in_a_trace_xla_decides():
    held = Weight()

    @jax.jit
    def run():
        inside = nnx.Dict(w=nnx.Param(held.w.raw_value))  # a constant of the program
        nnx.update(inside, {"w": X})
        restored = serialization.from_state_dict([held.w.raw_value], {"0": X})[0]
        assert inside["w"].raw_value is X
        assert restored is X
        return inside["w"] + restored

    np.testing.assert_array_equal(run(), 2 * X)


def test_a_target_on_an_abstract_mesh():
    abstract = AbstractMesh(tuple(MESH.shape.values()), ("data", "model"))
    shape = jax.ShapeDtypeStruct((8, 4), "float32", sharding=NamedSharding(abstract, P("data")))
    assert serialization.from_state_dict([shape], {"0": X})[0] is X
    with pytest.raises(ValueError, match="abstract mesh"):
        sharding.place({"w": X}, {"w": shape})
    if hasattr(jax.sharding, "get_mesh"):
        with set_mesh(MESH):
            assert sharding.place({"w": X}, {"w": shape})["w"].sharding == NamedSharding(
                MESH, P("data")
            )
