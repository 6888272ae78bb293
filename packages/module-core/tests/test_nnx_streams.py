"""Random streams: split and forked temporarily, copied, reseeded."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from linnet.module_core import nnx
from linnet.module_core.errors import ArgumentError


def data(key):
    return np.asarray(jax.random.key_data(key))


def assert_stream(stream, key, count):
    np.testing.assert_array_equal(data(stream.key.value), data(key))
    np.testing.assert_array_equal(stream.count.value, count)


class Noise(nnx.Module):
    def __init__(self, rngs):
        self.w = nnx.Param(rngs.params.normal((2,)))
        self.rngs = rngs.dropout.fork()
        self.inner = [nnx.Rngs(a=1, b=2)]


def test_split_streams_hold_keys_of_the_next_draw_until_they_are_restored():
    rngs = nnx.Rngs(params=0, dropout=1)
    rngs.params()
    backups = nnx.split_rngs(rngs, splits=(2, 3), only="params")
    drawn = jax.random.fold_in(jax.random.key(0), 1)
    assert_stream(rngs.params, jax.random.split(drawn, (2, 3)), np.zeros((2, 3)))
    assert_stream(rngs.dropout, jax.random.key(1), 0)
    nnx.restore_rngs(backups)
    assert_stream(rngs.params, jax.random.key(0), 2)
    assert len(backups) == 1
    assert repr(backups) == "StreamBackups(['params'])"


def test_the_context_restores_after_an_exception_too():
    module = Noise(nnx.Rngs(0))
    before = data(module.rngs.key.value)

    def fail():
        with nnx.split_rngs(module, splits=4):
            assert module.rngs.key.shape == module.inner[0].a.count.shape == (4,)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    np.testing.assert_array_equal(data(module.rngs.key.value), before)
    assert int(module.rngs.count.value) == 1


@pytest.mark.parametrize(
    "only",
    [
        "a",
        nnx.PathContains("a"),
        lambda path, _: path[-2] == "a",
        nnx.All(nnx.RngState, nnx.Not("b")),
    ],
)
def test_filters_choose_streams_by_both_of_their_variables(only):
    rngs = nnx.Rngs(a=0, b=1)
    with nnx.split_rngs(rngs, splits=2, only=only):
        assert (rngs.a.key.shape, rngs.b.key.shape) == ((2,), ())
    with nnx.split_rngs(rngs, splits=2, only=nnx.RngKey):  # doesn't select the count
        assert rngs.a.key.shape == ()


def test_squeeze_and_fork():
    rngs = nnx.Rngs(a=0, b=1)
    with nnx.split_rngs(rngs, splits=1, squeeze=True):
        assert_stream(rngs.a, jax.random.split(jax.random.fold_in(jax.random.key(0), 0), 1)[0], 0)
    with nnx.fork_rngs(rngs):
        assert_stream(rngs.a, jax.random.fold_in(jax.random.key(0), 1), 0)
        rngs.a()
    assert_stream(rngs.a, jax.random.key(0), 2)
    with nnx.fork_rngs(rngs, split={"a": 3, "b": None}):
        assert rngs.a.key.shape == (3,)
        assert_stream(rngs.b, jax.random.fold_in(jax.random.key(1), 2), 0)
    with nnx.fork_rngs(rngs, split={"a": 3}):
        assert_stream(rngs.b, jax.random.key(1), 3)


def test_decorated_functions_get_split_streams_and_shared_ones_once():
    @nnx.split_rngs(splits=2)
    def shapes(module, *, rngs):
        return module.rngs.key.shape, rngs.a.key.shape

    @nnx.fork_rngs
    def counts(module, *, rngs):
        return int(module.rngs.count.value), int(rngs.a.count.value)

    module = Noise(nnx.Rngs(0))
    assert shapes(module, rngs=module.inner[0]) == ((2,), (2,))
    assert int(module.inner[0].a.count.value) == 1
    assert counts(module, rngs=module.inner[0]) == (0, 0)
    assert shapes.__name__ == "shapes"

    class Layer(nnx.Module):
        def __init__(self):
            self.rngs = nnx.Rngs(0)

        @nnx.split_rngs(splits=3)
        def keys(self):
            return self.rngs.default.key.shape

    assert Layer().keys() == (3,)


def test_inside_jit_streams_split_and_go_on():
    @nnx.jit
    def draw(rngs):
        with nnx.split_rngs(rngs, splits=2):
            keys = rngs.a.key.value
        return keys, rngs.a()

    rngs = nnx.Rngs(a=0)
    keys, last = draw(rngs)
    assert keys.shape == (2,)
    np.testing.assert_array_equal(data(last), data(jax.random.fold_in(jax.random.key(0), 1)))
    assert_stream(rngs.a, jax.random.key(0), 2)


@pytest.mark.parametrize("mode", [{"graph": False}, {"graph_updates": False}])
def test_without_updates_a_copy_has_the_split_streams(mode):
    rngs = nnx.Rngs(a=0, b=1)
    new = nnx.split_rngs(rngs, splits=2, only="a", **mode)
    assert (new.a.key.shape, new.b.key.shape, rngs.a.key.shape) == ((2,), (), ())
    assert int(rngs.a.count.value) == 1
    assert nnx.fork_rngs(lambda r: r.a.key.shape, split=3, **mode)(rngs) == (3,)
    if "graph" in mode:
        with pytest.raises(ArgumentError, match="Duplicate found.* 0 and 1"):
            nnx.split_rngs([rngs, rngs], splits=2, **mode)


def test_copies_share_everything_but_streams():
    module = Noise(nnx.Rngs(0, dropout=1))
    new = nnx.with_rngs(module, split={"a": 4}, fork="dropout", broadcast={"b": 2})
    assert new.w is module.w
    inner, old = new.inner[0], module.inner[0]
    assert inner.a.key.shape == (4,)
    assert_stream(inner.b, jnp.broadcast_to(jax.random.fold_in(jax.random.key(2), 0), 2), [0, 0])
    assert_stream(old.a, jax.random.key(1), 1)
    new.rngs()
    assert int(module.rngs.count.value) == 1
    same = nnx.with_rngs(module, split=2, only="a")
    same.inner[0].b()
    assert int(old.b.count.value) == 1
    assert nnx.with_rngs(split=5)(lambda r: r.a.key.shape)(old) == (5,)
    assert nnx.with_rngs(lambda r: r.a.key.shape, split=6)(old) == (6,)


def test_reseeding_counts_streams_of_one_tag():
    node = {"x": nnx.Rngs(a=5), "y": nnx.Rngs(a=6, b=7)}
    node["y"].b()
    nnx.reseed(node, a=9)
    assert_stream(node["x"].a, jax.random.fold_in(jax.random.key(9), 0), 0)
    assert_stream(node["y"].a, jax.random.fold_in(jax.random.key(9), 1), 0)
    assert_stream(node["y"].b, jax.random.key(7), 1)
    nnx.reseed(node, b=nnx.RngStream(3, tag="other"))
    assert_stream(node["y"].b, jax.random.fold_in(jax.random.key(3), 0), 0)


def test_a_tag_that_no_stream_has():
    rngs = nnx.Rngs(0, params=1)
    with pytest.warns(UserWarning, match=r"tag 'dropout'; the tags are 'default', 'params'"):
        nnx.reseed(rngs, params=2, dropout=3)
    assert_stream(rngs.params, jax.random.fold_in(jax.random.key(2), 0), 0)
    assert_stream(rngs.default, jax.random.key(0), 0)
    nnx.reseed({"no": nnx.Variable(1)}, dropout=3)  # a model without streams needs no seed


def test_policies_of_reseeding():
    rngs = nnx.Rngs(a=0, b=1)
    with nnx.split_rngs(rngs, splits=3, only="b"):
        with pytest.raises(ArgumentError, match="stream at b holds an array of keys"):
            nnx.reseed(rngs, a=1, b=1)
        assert_stream(rngs.a, jax.random.key(0), 0)
        nnx.reseed(rngs, policy="match_shape", b=4)
        new = jax.random.split(jax.random.fold_in(jax.random.key(4), 0), 3)
        assert_stream(rngs.b, new, np.zeros(3))
    seen = []
    nnx.reseed(rngs, policy=lambda *args: seen.append(args) or args[1], a=2)
    assert seen[0][::2] == (("a",), ())
    with pytest.raises(ArgumentError, match="policy must be 'scalars_only'"):
        nnx.reseed(rngs, policy="match", a=2)
    with pytest.raises(ArgumentError, match="Invalid rng value: 'x'"):
        nnx.reseed(rngs, a="x")


def test_keys_are_restored_without_counts():
    rngs = nnx.Rngs(a=0)
    backups = nnx.backup_keys(rngs)
    nnx.reseed(rngs, a=5)
    rngs.a()
    nnx.restore_rngs(backups)
    assert_stream(rngs.a, jax.random.key(0), 1)


def test_mistakes_are_named():
    rngs = nnx.Rngs(a=0, b=1)
    with pytest.raises(ArgumentError, match="squeeze=True drops an axis"):
        nnx.split_rngs(rngs, splits=2, squeeze=True)
    for splits in (0, -1, "3", True, (), (2, 0)):
        with pytest.raises(ArgumentError, match="positive number of keys"):
            nnx.split_rngs(rngs, splits=splits)
    with nnx.split_rngs(rngs, splits=2, only="b"):
        with pytest.raises(ArgumentError, match=r"stream 'b' at b holds .* shape \(2,\)"):
            nnx.fork_rngs(rngs)
        assert rngs.a.key.shape == ()
