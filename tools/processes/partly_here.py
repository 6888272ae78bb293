"""Functions on arrays that no process holds entirely; test_processes.py runs these tests."""

import copy
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental import multihost_utils
from jax.sharding import NamedSharding

from linnet import linen, nnx
from linnet.module_core import sharding, weights
from linnet.module_core.training import checkpoints
from linnet.struct import serialization
from processes.models import (
    FEATURES,
    HIDDEN,
    LinenModel,
    NnxModel,
    X,
    mesh_of_all,
    over_processes,
    set_mesh,
    spec,
    whole,
)


@pytest.fixture(scope="module")
def mesh():
    return mesh_of_all()


@pytest.fixture
def model(mesh):
    with set_mesh(mesh):
        return nnx.jit(lambda: NnxModel("data", rngs=nnx.Rngs(0)))()


@pytest.fixture(scope="module")
def variables(mesh):
    model = LinenModel("data")

    def make():
        return model.init(jax.random.key(0), jnp.zeros(X.shape), train=False)

    shardings = linen.get_sharding(jax.eval_shape(make), mesh)
    return jax.jit(make, out_shardings=shardings)()


@pytest.fixture(scope="module")
def x(mesh):
    return over_processes(X, mesh, "data")


def test_the_fixtures_are_partly_here(model, variables, x):
    for array in (model.up.kernel[...], variables["params"]["out"]["kernel"].value, x):
        assert not array.is_fully_addressable


def test_repr(model, variables, x):
    text = repr(model)
    assert f"({FEATURES}, {HIDDEN})" in text
    assert "float32" in text
    assert f"({FEATURES}, {HIDDEN})" in str(nnx.state(model))
    assert "data" in repr(variables)
    assert "Param" in repr(model.up.kernel)
    assert repr(linen.Dense(3).bind({"params": variables["params"]["out"]}))
    assert repr(nnx.graphdef(model))


def test_tabulate(model, x):
    table = nnx.tabulate(model, x)
    assert f"{FEATURES},{HIDDEN}" in table
    table = LinenModel("data").tabulate(jax.random.key(0), x, train=False)
    assert f"[{FEATURES},{HIDDEN}]" in table


def test_display(model, variables, capsys):
    nnx.display(model)
    nnx.display(nnx.state(model))
    assert f"({FEATURES}, {HIDDEN})" in capsys.readouterr().out


@pytest.mark.parametrize("copied", [nnx.clone, copy.deepcopy], ids=["clone", "deepcopy"])
def test_clone(copied, model):
    twin = copied(model)
    assert twin.up.kernel[...].sharding == model.up.kernel[...].sharding
    np.testing.assert_array_equal(whole(twin.up.kernel[...]), whole(model.up.kernel[...]))
    assert twin.up.kernel is not model.up.kernel
    # Copies share no buffer: either may be donated.
    twin.up.kernel[...].delete()
    assert not model.up.kernel[...].is_deleted()


def test_average(model, mesh):
    before = whole(model.up.kernel[...])
    average = nnx.EMA(model, decay=0.5)
    model.up.kernel[...] = model.up.kernel[...] + 1
    average.update(model)
    nnx.jit(lambda average, model: average.update(model))(average, model)
    found = average.params.up.kernel[...]
    assert found.sharding == model.up.kernel[...].sharding
    np.testing.assert_allclose(whole(found), before + 0.75, rtol=1e-6)
    assert average.apply_to(model).up.kernel[...].sharding == found.sharding


def test_metrics(x, mesh):
    metric = nnx.MultiMetric(mean=nnx.metrics.Average(), spread=nnx.metrics.Welford())

    @nnx.jit
    def update(metric, x):
        metric.update(values=x)

    update(metric, x)
    found = metric.compute()
    np.testing.assert_allclose(found["mean"], X.mean(), rtol=1e-5)
    np.testing.assert_allclose(found["spread"].mean, X.mean(), rtol=1e-5)
    metric.reset()
    metric.update(values=x)
    np.testing.assert_allclose(metric.compute()["mean"], X.mean(), rtol=1e-5)


def test_batch_statistics_in_shard_map(model, x, mesh):
    norm = nnx.BatchNorm(FEATURES, axis_name="data", momentum=0.0, rngs=nnx.Rngs(0))

    @nnx.shard_map(
        mesh=mesh, in_specs=(nnx.StateSharding({...: spec()}), spec("data")), out_specs=spec("data")
    )
    def call(norm, x):
        return norm(x)

    y = call(norm, x)
    expected = (X - X.mean(0)) / np.sqrt(X.var(0) + 1e-5)
    np.testing.assert_allclose(whole(y), expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(norm.mean[...], X.mean(0), rtol=1e-4, atol=1e-6)


PARTLY = "spread over several processes"


def writes_of(model, variables, path):
    """Functions that write arrays from one process, and the path that their error names."""
    unboxed, kernel, keys = linen.unbox(variables), model.up.kernel, model_keys(model)
    in_steps = checkpoints.save_checkpoint_multiprocess
    return [
        (lambda: serialization.to_bytes(unboxed), "./params/Dense_0/kernel"),
        (lambda: serialization.to_bytes(kernel[...]), "."),
        (lambda: serialization.to_bytes({"keys": [keys]}), "./keys/0"),
        (lambda: pickle.dumps(model), "NnxModel: 'out/kernel'"),
        (lambda: pickle.dumps(nnx.state(model)), "'out/kernel'"),
        (lambda: pickle.dumps(kernel), "A Param"),
        (lambda: weights.save(path, model), "'out/kernel'"),
        (lambda: weights.save(path, variables), "'params/Dense_0/kernel'"),
        (lambda: weights.save(path, {"keys": keys}), "'keys'"),
        (lambda: in_steps(path, unboxed, 0), "['Dense_0']['kernel']"),
    ]


def model_keys(model):
    mesh = model.up.kernel[...].sharding.mesh
    split = jax.jit(
        lambda: jax.random.split(jax.random.key(0), 8),
        out_shardings=NamedSharding(mesh, spec("data")),
    )
    return split()


def test_one_process_does_not_write_what_others_have(model, variables, tmp_path):
    for write, where in writes_of(model, variables, tmp_path / "model.safetensors"):
        with pytest.raises((ValueError, TypeError), match=PARTLY) as caught:
            write()
        assert where in str(caught.value).splitlines()[0]
    assert not list(tmp_path.iterdir())


def test_the_hint(model, variables, tmp_path):
    """Arrays that are gathered, as the errors recommend, can be written in each process."""
    gathered = multihost_utils.process_allgather(linen.unbox(variables), tiled=True)
    read = serialization.from_bytes(None, serialization.to_bytes(gathered))
    np.testing.assert_array_equal(
        read["params"]["out"]["kernel"], whole(variables["params"]["out"]["kernel"].value)
    )
    graphdef, state = nnx.split(model)
    params, rest = nnx.split_state(state, nnx.Param, ...)
    gathered = multihost_utils.process_allgather(params, tiled=True)
    twin = nnx.merge(graphdef, gathered, rest)
    weights.save(tmp_path / "model.safetensors", twin)
    again = pickle.loads(pickle.dumps(twin))
    np.testing.assert_array_equal(again.up.kernel[...], whole(model.up.kernel[...]))


def test_whole_arrays_are_written_wherever_they_are(mesh, tmp_path):
    everywhere = over_processes(X, mesh)
    assert not everywhere.is_fully_addressable
    for write in (
        serialization.to_bytes,
        lambda tree: pickle.dumps(nnx.State({"x": nnx.Param(tree["x"])})),
        lambda tree: weights.save(tmp_path / "x.safetensors", tree),
    ):
        write({"x": everywhere})


def as_read(tree):
    """The contents of a file: NumPy arrays, and keys on one device."""
    return jax.tree.map(
        lambda x: (
            jax.random.wrap_key_data(whole(x))
            if jnp.issubdtype(x.dtype, jax.dtypes.prng_key)
            else whole(x)
        ),
        tree,
    )


def test_place(model, variables, mesh):
    with set_mesh(mesh):
        made = nnx.jit(lambda: NnxModel("data", rngs=nnx.Rngs(1)))()
    read = nnx.to_pure_dict(nnx.state(made))
    placed = sharding.place(as_read(read), like=model)
    nnx.replace_by_pure_dict(state := nnx.state(model), placed)
    nnx.update(model, state)
    for (path, new), (_, old) in zip(
        nnx.to_flat_state(nnx.state(model)), nnx.to_flat_state(nnx.state(made)), strict=True
    ):
        new, old = new.raw_value, old.raw_value
        assert new.sharding.is_equivalent_to(old.sharding, new.ndim), path
        np.testing.assert_array_equal(whole(new), whole(old), err_msg=path)
    # An array that is already spread is moved.
    kernel = variables["params"]["out"]["kernel"].value
    everywhere = NamedSharding(mesh, spec())
    moved = sharding.place({"x": kernel}, {"x": everywhere})["x"]
    assert moved.is_fully_replicated
    np.testing.assert_array_equal(moved, whole(kernel))
    keys = jax.random.split(jax.random.key(3, impl="rbg"), 8)
    placed = sharding.place({"x": keys}, {"x": NamedSharding(mesh, spec("data"))})["x"]
    assert not placed.is_fully_addressable
    assert jax.random.key_impl(placed) == "rbg"
    np.testing.assert_array_equal(whole(placed), jax.random.key_data(keys))
    with pytest.raises(ValueError, match="'x' cannot be laid out"):
        sharding.place({"x": np.ones(9)}, {"x": NamedSharding(mesh, spec("data"))})


def test_a_file_keeps_the_target_s_layout(model, mesh, tmp_path):
    gathered = as_read(nnx.to_pure_dict(nnx.state(model, nnx.Param)))
    weights.save(tmp_path / "model.safetensors", gathered)
    state = nnx.state(model, nnx.Param)
    loaded = weights.load(tmp_path / "model.safetensors", state)
    for new, old in zip(jax.tree.leaves(loaded), jax.tree.leaves(state), strict=True):
        assert new.sharding.is_equivalent_to(old.sharding, new.ndim)
        np.testing.assert_array_equal(whole(new), whole(old))
    read = serialization.from_bytes(gathered, serialization.to_bytes(gathered))
    placed = sharding.place(read, like=state)
    assert placed["up"]["kernel"].sharding == model.up.kernel[...].sharding


def test_check_replicated(model, variables, mesh, x):
    sharding.check_replicated(model)
    sharding.check_replicated((variables, x, nnx.Rngs(0), np.ones(3), 1.0))
    rngs = nnx.Rngs(jax.process_index(), dropout=1)
    with pytest.raises(ValueError, match="Copies of 1 value differ") as caught:
        sharding.check_replicated({"model": model, "rngs": rngs})
    line = str(caught.value).splitlines()[1]
    assert "rngs/default/key: process 0 differs from process 1" in line
    # One of the devices with a copy has a different value.
    mine = [jax.device_put(np.float32(device.id == 1), device) for device in mesh.local_devices]
    array = jax.make_array_from_single_device_arrays((), NamedSharding(mesh, spec()), mine)
    with pytest.raises(ValueError, match="step: device 0.* differs from device 1"):
        sharding.check_replicated({"step": array})
    with pytest.raises(ValueError, match="different arrays"):
        sharding.check_replicated({f"of {jax.process_index()}": np.ones(3)})
