"""Modules of Flax that this package implements itself: files, identifiers, traces, tracebacks."""

import collections
import copy
import importlib.metadata

import jax
import msgpack
import numpy
import pytest

import linnet.flax
from linnet.flax import ids, io, serialization, traceback_util
from linnet.flax.core import check_trace_level, current_trace
from linnet.flax.errors import AlreadyExistsError, ArgumentError, JaxTransformError


def test_files(tmp_path):
    folder = tmp_path / "a" / "b"
    io.makedirs(folder)
    io.makedirs(folder)
    with io.GFile(folder / "x.txt", "w") as file:
        file.write("four")
    assert io.exists(folder / "x.txt")
    assert io.getsize(folder / "x.txt") == 4
    assert io.isdir(folder)
    io.copy(folder / "x.txt", folder / "y.txt")
    with pytest.raises(AlreadyExistsError, match=r"y.txt already exists.\n.*overwrite=True"):
        io.copy(folder / "x.txt", folder / "y.txt")
    with pytest.raises(AlreadyExistsError):
        io.rename(folder / "x.txt", folder / "y.txt")
    io.copy(folder / "x.txt", folder / "y.txt", overwrite=True)
    io.rename(folder / "x.txt", folder / "z.txt")
    assert sorted(io.listdir(folder)) == ["y.txt", "z.txt"]
    assert sorted(io.glob(f"{folder}/*.txt")) == [f"{folder}/y.txt", f"{folder}/z.txt"]
    io.remove(folder / "y.txt")
    io.rmtree(tmp_path / "a")
    assert not io.exists(tmp_path / "a")
    with pytest.raises(io.NotFoundError):
        io.GFile(tmp_path / "none", "r")


def test_files_that_are_elsewhere_raise_an_error():
    for use in (io.exists, io.rmtree, io.listdir):
        with pytest.raises(ArgumentError, match="gs://bucket/x is not on a local disk"):
            use("gs://bucket/x")
    with io.override_mode(io.BackendMode.DEFAULT):
        assert io.io_mode is io.BackendMode.DEFAULT
    with pytest.raises(ArgumentError, match="not through TF"):
        io.set_mode(io.BackendMode.TF)


def test_bytes_are_written_without_an_extra():
    """Programs and libraries find what Flax always installs: msgpack, to write bytes."""
    written = linnet.flax.serialization.to_bytes({"kernel": jax.numpy.ones(2)})
    restored = linnet.flax.serialization.msgpack_restore(written)
    assert restored["kernel"].tolist() == [1, 1]
    requires = importlib.metadata.requires("linnet-flax")
    assert any(need.startswith("msgpack") and "extra" not in need for need in requires)


def test_programs_write_and_read_bytes_by_msgpack_itself():
    tree = {"a": jax.numpy.arange(3.0), "b": [2j, numpy.float16(1.5)], 3: "x"}
    packed = msgpack.packb(tree, default=serialization._msgpack_ext_pack)
    restored = msgpack.unpackb(
        packed, ext_hook=serialization._msgpack_ext_unpack, strict_map_key=False
    )
    assert restored.pop("a").tolist() == [0, 1, 2]
    assert restored == {"b": [2j, 1.5], 3: "x"}
    other = msgpack.ExtType(40, b"x")
    assert serialization._msgpack_ext_unpack(*other) == other
    # The oldest msgpack words it differently.
    with pytest.raises(TypeError, match="(can not|Cannot) serialize"):
        msgpack.packb(object(), default=serialization._msgpack_ext_pack)


def test_mappings_of_a_class_of_the_program_s_own():
    class Fixed(collections.UserDict):
        pass

    serialization.register_serialization_state(
        Fixed,
        serialization._dict_state_dict,
        lambda xs, states: Fixed(serialization._restore_dict(xs, states)),
    )
    tree = Fixed({1: {"x": 2}})
    assert serialization.to_state_dict(tree) == {"1": {"x": 2}}
    restored = serialization.from_state_dict(tree, {"1": {"x": 5}})
    assert type(restored) is Fixed
    assert restored == {1: {"x": 5}}


def test_identifiers():
    first, second = ids.uuid(), ids.uuid()
    assert first != second
    assert first == ids.FlaxId(first.id)
    assert {first: 1}[ids.FlaxId(first.id)] == 1
    assert first not in (copy.copy(first), copy.deepcopy(first))
    assert repr(ids.FlaxId(3)) == "FlaxId(3)"


def test_traces():
    outside = current_trace()
    check_trace_level(outside)

    @jax.jit
    def inside(x):
        check_trace_level(current_trace())
        with pytest.raises(JaxTransformError, match="A transform of jax has begun or ended"):
            check_trace_level(outside)
        return x

    inside(1.0)
    check_trace_level(outside)


def test_tracebacks():
    try:
        traceback_util.show_flax_in_tracebacks()
        assert not linnet.flax.config.flax_filter_frames
    finally:
        traceback_util.hide_flax_in_tracebacks()
    assert linnet.flax.config.flax_filter_frames
