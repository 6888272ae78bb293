"""Random keys: the rule of one fold, written out a second time with hashlib."""

import hashlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from linnet.module_core import config
from linnet.module_core.errors import InvalidRngError
from linnet.module_core.linen import Module, compact
from linnet.module_core.linen.rng import Draws, PathHash, is_key

ROOT = jax.random.key(7)


def fold(key, *tokens, separator=b""):
    data = b""
    for token in tokens:
        if isinstance(token, int):
            token = token.to_bytes((token.bit_length() + 7) // 8, "big")
        else:
            token = token.encode()
        data += separator + token
    return jax.random.fold_in(key, np.uint32(int.from_bytes(hashlib.sha1(data).digest()[:4])))


def assert_same_key(ours, expected):
    np.testing.assert_array_equal(jax.random.key_data(ours), jax.random.key_data(expected))


@given(st.lists(st.text(min_size=1, max_size=5), max_size=3), st.integers(1, 70000))
def test_a_key_is_one_fold_of_the_hashed_path(path, n):
    for separate in (False, True):
        path_hash = PathHash(separate)
        for name in path:
            path_hash = path_hash.child(name)
        expected = fold(ROOT, *path, n, separator=b"\0" if separate else b"")
        assert_same_key(path_hash.key(ROOT, n), expected)


class Keys(Module):
    """Returns the keys that it draws from the given streams."""

    streams: tuple[str, ...]

    @compact
    def __call__(self):
        return [self.make_rng(stream) for stream in self.streams]


class Outer(Module):
    streams: tuple[str, ...]

    @compact
    def __call__(self):
        mine = self.make_rng("a")
        inner = Keys(self.streams, name="inner")
        return [mine, *inner(), *inner()]


def test_draws_count_by_stream_and_go_on_in_a_second_call():
    a, b = jax.random.key(1), jax.random.key(2)
    keys = Outer(("a", "b", "a")).apply({}, rngs={"a": a, "b": b})
    expected = [
        fold(a, 1),
        *(fold(a, "inner", 1), fold(b, "inner", 1), fold(a, "inner", 2)),
        *(fold(a, "inner", 3), fold(b, "inner", 2), fold(a, "inner", 4)),
    ]
    for ours, want in zip(keys, expected, strict=True):
        assert_same_key(ours, want)


def test_a_stream_that_is_missing_falls_back_to_params_and_counts_there():
    keys = Keys(("x", "params", "y")).apply({}, rngs=ROOT)
    for n, key in enumerate(keys, 1):
        assert_same_key(key, fold(ROOT, n))


class Params(Module):
    @compact
    def __call__(self):
        a = self.param("a", lambda key: key)
        b = self.make_rng()
        c = self.param("c", lambda key: key)
        return a, b, c


def test_parameters_draw_in_order_and_existing_ones_do_not_draw():
    model = Params()
    output, variables = model.init_with_output(ROOT)
    for n, key in enumerate(output, 1):
        assert_same_key(key, fold(ROOT, n))
    _, b, _ = model.apply(variables, rngs=ROOT)
    assert_same_key(b, fold(ROOT, 1))


@pytest.mark.parametrize("make", [jax.random.key, jax.random.PRNGKey])
def test_a_key_keeps_its_kind(make):
    (key,) = Keys(("a",)).apply({}, rngs={"a": make(0)})
    assert key.dtype == make(0).dtype
    assert_same_key(key, fold(make(0), 1))


def test_another_implementation_of_keys():
    root = jax.random.key(0, impl="rbg")
    (key,) = Keys(("a",)).apply({}, rngs={"a": root})
    assert_same_key(key, fold(root, 1))


def test_the_separator_keeps_paths_apart():
    joined, apart = PathHash(False), PathHash(True)

    def key(h, *path):
        for name in path:
            h = h.child(name)
        return jax.random.key_data(h.key(ROOT, 1)).tolist()

    assert key(joined, "ab", "c") == key(joined, "a", "bc") == key(joined, "abc")
    assert len({tuple(key(apart, *p)) for p in [("ab", "c"), ("a", "bc"), ("abc",)]}) == 3
    with config.temp_flip_flag("fix_rng_separator", True):
        (drawn,) = Keys(("a",)).apply({}, rngs={"a": ROOT})
    assert_same_key(drawn, fold(ROOT, 1, separator=b"\0"))


def test_has_rng_is_strict():
    class Has(Module):
        def __call__(self):
            return self.has_rng("params"), self.has_rng("dropout")

    assert Has().apply({}, rngs=ROOT) == (True, False)
    assert Has().apply({}, rngs={"dropout": ROOT}) == (False, True)


@pytest.mark.parametrize(
    ("value", "valid"),
    [
        (jax.random.key(0), True),
        (jax.random.PRNGKey(0), True),
        (np.zeros(2, np.uint32), True),
        (jax.random.split(jax.random.key(0)), False),
        (jnp.zeros(2), False),
        (np.zeros(3, np.uint32), False),
        (3, False),
        (None, False),
        ("key", False),
    ],
)
def test_what_is_a_key(value, valid):
    assert is_key(value) is valid
    if not valid and value is not None:
        with pytest.raises(InvalidRngError, match="Keys"):
            Keys(()).apply({}, rngs=value)
        with pytest.raises(InvalidRngError, match="'a'") as caught:
            Keys(()).apply({}, rngs={"a": value})
        assert isinstance(caught.value, ValueError)


def test_a_missing_key_says_who_asked_and_what_there_is():
    with pytest.raises(InvalidRngError) as caught:
        Outer(("noise",)).apply({}, rngs={"a": ROOT})
    message = str(caught.value)
    assert message.startswith("inner (Keys): ")
    assert 'needs PRNG for "noise"' in message
    assert "given: 'a'" in message
    assert "rngs={'noise': jax.random.key(0)}" in message


def test_counts_can_be_taken_and_put_back():
    draws = Draws()
    draws.child("x").next("a")
    before = draws.snapshot()
    draws.child("x").next("a")
    draws.child("y").next("b")
    draws.restore(before)
    assert draws.child("x").next("a") == 2
    assert draws.child("y").next("b") == 2  # a path that isn't in the snapshot keeps its count
