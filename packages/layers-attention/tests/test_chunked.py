"""Chunked attention over many small blocks: the values and gradients of exact attention.

The blocks are small, so that a length of a few dozen spans several, including padded ones.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from comparing import placed
from linnet.layers_attention import functional
from linnet.layers_attention.functional import _blocks


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(_blocks, "QUERIES", 16)
    monkeypatch.setattr(_blocks, "KEYS", 24)
    monkeypatch.setattr(_blocks, "LEAST", 8)


def normal(seed, *shape):
    return placed(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def case(batch=(2,), queries=33, keys=65, heads=2, key_heads=2, depth=4, value_depth=3):
    return (
        normal(0, *batch, queries, heads, depth),
        normal(1, *batch, keys, key_heads, depth),
        normal(2, *batch, keys, key_heads, value_depth),
    )


def some_mask(*shape):
    mask = np.random.default_rng(0).integers(0, 2, shape)
    mask[..., 5, :] = 0  # a query that sees nothing
    mask[..., :24] = 0  # a block that no query sees
    return jnp.asarray(mask, jnp.float32)


def weighed(output):
    """A smooth function to which every number contributes in its own way."""
    weights = jnp.cos(jnp.arange(output.size)).reshape(output.shape)
    return jnp.sum(jnp.sin(output.astype(jnp.float32)) * weights)


def assert_same(arrays, tolerance=2e-6, **options):
    """Exact and chunked attention agree in output and in the gradients of arrays and bias."""
    bias = options.pop("bias", None)

    def results(implementation):
        def loss(arrays, bias):
            y = functional.dot_product_attention(
                *arrays, bias=bias, implementation=implementation, **options
            )
            return weighed(y), y

        return jax.jit(jax.grad(loss, (0, 1), has_aux=True))(arrays, bias)

    (of_arrays, of_bias), output = results("chunked")
    (of_arrays_expected, of_bias_expected), expected = results("exact")
    assert output.dtype == expected.dtype
    for a, b in zip(
        jax.tree.leaves((output, of_arrays, of_bias)),
        jax.tree.leaves((expected, of_arrays_expected, of_bias_expected)),
        strict=True,
    ):
        assert a.dtype == b.dtype
        given, wanted = np.asarray(a, np.float32), np.asarray(b, np.float32)
        scale = max(float(np.max(np.abs(wanted))), 0.1)
        np.testing.assert_allclose(given, wanted, atol=20 * tolerance * scale)


@pytest.mark.parametrize(
    "sizes",
    [
        {"batch": (), "queries": 16, "keys": 24},
        {"batch": (2, 1), "queries": 1, "keys": 100},
        {"queries": 100, "keys": 1},
        {"queries": 17, "keys": 25, "heads": 6, "key_heads": 2},
    ],
    ids=str,
)
def test_sizes(sizes):
    assert_same(case(**sizes))


@pytest.mark.parametrize(
    ("offset", "groups"), [(0, 1), (7, 2), (-10, 1), (jnp.int32(7), 2)], ids=str
)
def test_causality(offset, groups):
    arrays = case(heads=2 * groups)
    assert_same(arrays, is_causal=True, query_offset=offset)


@pytest.mark.parametrize(
    ("shape", "groups"),
    [
        ((2, 1, 33, 65), 2),
        ((33, 65), 1),
        ((2, 1, 1, 65), 2),
        ((2, 4, 33, 1), 2),
        ((3, 1, 1, 33, 65), 1),
    ],
)
def test_bias(shape, groups):
    assert_same(case(heads=4, key_heads=4 // groups), bias=normal(3, *shape))


@pytest.mark.parametrize(
    ("shape", "options"),
    [
        ((2, 2, 33, 65), {}),
        ((2, 1, 33, 65), {"is_causal": True}),
        ((33, 65), {"bias": normal(4, 2, 33, 65)}),
    ],
)
def test_masks_and_queries_that_see_nothing(shape, options):
    assert_same(case(), mask=some_mask(*shape), **options)


def test_half_precision():
    assert_same(case(depth=8), 2e-3, dtype=jnp.bfloat16, force_fp32_for_softmax=True)
    halves = tuple(x.astype(jnp.float16) for x in case(depth=8))
    assert_same(halves, 5e-4, is_causal=True)


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"mask": jnp.ones((2, 1, 1, 65))},
        {"mask": jnp.ones((2, 4, 33, 65)).at[1, :, 7, 3].set(0).at[:, 2, 4, 0].set(0)},
        {"is_causal": True, "query_offset": 58},
        {"is_causal": True, "query_offset": jnp.int32(58)},
    ],
    ids=["plain", "all seen", "some hidden", "causal", "causal from a traced position"],
)
def test_a_bias_of_minus_infinity_throughout_is_nan_as_in_exact_attention(groups, options):
    arrays = case(heads=4, key_heads=4 // groups)
    # If a mask hides keys as well, exact attention gives a number, and so does chunked attention.
    bias = jnp.zeros((1, 1, 33, 65)).at[:, :, jnp.array([4, 7, 32])].set(-jnp.inf)

    def results(implementation):
        def loss(arrays, bias):
            y = functional.dot_product_attention(
                *arrays, bias=bias, implementation=implementation, **options
            )
            return weighed(y), y

        return jax.tree.leaves(jax.jit(jax.grad(loss, (0, 1), has_aux=True))(arrays, bias))

    output, expected = results("chunked"), results("exact")
    assert np.isnan(expected[-1]).any()
    for a, b in zip(output, expected, strict=True):
        np.testing.assert_array_equal(np.isnan(a), np.isnan(b))
    rows = np.setdiff1d(np.arange(33), [4, 7, 32])
    np.testing.assert_allclose(output[-1][:, rows], expected[-1][:, rows], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_a_jitted_gradient_for_each_array_in_half_precision(dtype):
    arrays = tuple(normal(i, 2, 16, 2, 8) for i in range(3))

    def loss(implementation, *arrays):
        return weighed(
            functional.dot_product_attention(*arrays, dtype=dtype, implementation=implementation)
        )

    for i in range(3):
        # One array at a time: XLA compiles a product differently depending on the rest of the
        # program.
        grads = [
            jax.jit(jax.grad(partial(loss, implementation), i))(*arrays)
            for implementation in ("chunked", "exact")
        ]
        np.testing.assert_allclose(*grads, atol=0.1)


def test_minus_infinity_in_a_whole_block():
    bias = jnp.where(jnp.arange(65) < 30, -jnp.inf, 0.0)[None]
    output, expected = (
        jax.jit(partial(functional.dot_product_attention, implementation=i))(*case(), bias)
        for i in ("chunked", "exact")
    )
    np.testing.assert_allclose(output, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.usefixtures("x64")
def test_gradient_is_the_slope():
    """Gradients equal central differences along a random direction, with dropout, in float64."""
    at = (*case(heads=4), normal(5, 4, 33, 65))
    at = tuple(x.astype(jnp.float64) for x in at)
    mask = some_mask(2, 1, 33, 65)
    draw = np.random.default_rng(5)
    direction = tuple(draw.normal(size=x.shape) for x in at)

    @jax.jit
    def loss(*arrays):
        y = functional.dot_product_attention(
            *arrays,
            mask=mask,
            dropout_rng=jax.random.key(0),
            dropout_rate=0.3,
            broadcast_dropout=False,
            implementation="chunked",
        )
        return jnp.sum(jnp.sin(y) * jnp.cos(jnp.arange(y.size, dtype=y.dtype)).reshape(y.shape))

    h = 1e-5
    high, low = (loss(*(x + s * d for x, d in zip(at, direction, strict=True))) for s in (h, -h))
    gradient = jax.jit(jax.grad(loss, (0, 1, 2, 3)))(*at)
    slope = sum(np.vdot(g, d) for g, d in zip(gradient, direction, strict=True))
    np.testing.assert_allclose(slope, (high - low) / (2 * h), rtol=1e-7)


@pytest.mark.parametrize("broadcast", [True, False])
def test_dropout_has_the_mean_and_the_spread_of_exact_dropout(broadcast):
    """With many equally weighted keys, the sum over values of one counts the kept weights."""
    query = jnp.zeros((2, 33, 2, 4))
    key, value = jnp.zeros((2, 65, 1, 4)), jnp.ones((2, 65, 1, 3))

    @partial(jax.jit, static_argnames="implementation")
    def kept(keys, implementation):
        return jax.vmap(
            lambda k: functional.dot_product_attention(
                query,
                key,
                value,
                dropout_rng=k,
                dropout_rate=0.25,
                broadcast_dropout=broadcast,
                implementation=implementation,
            )
        )(keys)

    keys = jax.random.split(jax.random.key(0), 30)
    ours, exact = (np.asarray(kept(keys, i)) for i in ("chunked", "exact"))
    for draws in (ours, exact):
        # The number of weights that a row keeps, of 65, is binomial; each kept weight is 1/65/0.75.
        assert abs(draws.mean() - 1) < 0.01
        assert abs(draws.std() - (0.25 / 0.75 / 65) ** 0.5) < 0.01
        assert (np.ptp(draws, axis=(1, 3)).max() < 1e-6) == broadcast  # batch, heads
        assert np.ptp(draws, axis=0).min() > 0  # every key draws a new mask
        assert np.ptp(draws, axis=4).max() < 1e-6  # a weight is dropped for a whole value
    assert np.corrcoef(ours[:, 0, :, 0, 0].T)[~np.eye(33, dtype=bool)].max() < 0.8


def test_dropout_s_gradient_has_the_coins_of_its_output():
    """The output is linear in the value: its gradient shows which weights were kept."""
    query, key, value = case()

    @jax.jit
    def output(value):
        return functional.dot_product_attention(
            query,
            key,
            value,
            dropout_rng=jax.random.key(3),
            dropout_rate=0.5,
            implementation="chunked",
        )

    y, pull = jax.vjp(output, value)
    cotangent = normal(7, *y.shape)
    np.testing.assert_allclose(
        jnp.vdot(pull(cotangent)[0], value), jnp.vdot(cotangent, y), rtol=1e-4
    )


def test_second_derivatives():
    arrays = case(batch=(), queries=20, keys=30, heads=1, key_heads=1, depth=2, value_depth=2)

    def of(implementation):
        def loss(*arrays):
            return weighed(
                functional.dot_product_attention(
                    *arrays, is_causal=True, implementation=implementation
                )
            )

        def squared(*arrays):
            return sum(jnp.sum(g**2) for g in jax.grad(loss, (0, 1, 2))(*arrays))

        return jax.jit(jax.grad(squared, (0, 1, 2)))(*arrays)

    for a, b in zip(of("chunked"), of("exact"), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("offset", [0, None], ids=["known offset", "offset of each lane"])
def test_vmap_is_a_loop(offset):
    query, key, value = (jnp.stack([x, x[::-1]]) for x in case())
    offsets = jnp.array([0, 9])

    def one(query, key, value, lane):
        return functional.dot_product_attention(
            query,
            key,
            value,
            is_causal=True,
            query_offset=lane if offset is None else offset,
            implementation="chunked",
        )

    one = jax.jit(one)
    mapped = jax.jit(jax.vmap(one))(query, key, value, offsets)
    for i in range(2):
        expected = one(query[i], key[i], value[i], offsets[i])
        np.testing.assert_allclose(mapped[i], expected, rtol=1e-5, atol=1e-6)


def test_causality_leaves_no_work_on_blocks_that_it_empties():
    causal = _blocks.cut(100, 100, 1, None, 1, 0)
    full = _blocks.cut(100, 100, 1, None, None, 0)
    assert len(full.pairs()) == full.query_blocks * full.key_blocks
    visited = {tuple(p) for p in causal.pairs()}
    for row, column in np.ndindex(causal.query_blocks, causal.key_blocks):
        first_key = column * causal.key_block
        last_query = (row + 1) * causal.query_block - 1
        assert ((row, column) in visited) == (first_key <= last_query)
    lengths = []
    for is_causal in (True, False):
        program = jax.make_jaxpr(
            partial(functional.dot_product_attention, is_causal=is_causal, implementation="chunked")
        )(*case(queries=96, keys=96))
        lengths += [
            e.params["length"] for e in _equations(program.jaxpr) if e.primitive.name == "scan"
        ]
    assert lengths == [len(_blocks.cut(96, 96, 4, None, c, 0).pairs()) for c in (1, None)]
    assert lengths[0] < 0.7 * lengths[1]


def _equations(jaxpr):
    for equation in jaxpr.eqns:
        yield equation
        for value in equation.params.values():
            inner = getattr(value, "jaxpr", value)
            if hasattr(inner, "eqns"):
                yield from _equations(inner)


def test_no_array_of_queries_times_keys():
    """The memory of the compiled gradient grows linearly with the length, not quadratically."""

    def temporary(length):
        x = jax.ShapeDtypeStruct((1, length, 1, 4), jnp.float32)
        loss = lambda *a: weighed(  # noqa: E731
            functional.dot_product_attention(*a, implementation="chunked")
        )
        analysis = jax.jit(jax.grad(loss, (0, 1, 2))).lower(x, x, x).compile().memory_analysis()
        return int(analysis.temp_size_in_bytes)

    assert temporary(4096) < 4.5 * temporary(1024)
    assert temporary(4096) < 4 * 4096 * 4096 / 10


def test_auto_is_exact_below_the_border_and_chunked_above():
    for length, expected in ((511, "exact"), (512, "chunked")):
        x = jax.ShapeDtypeStruct((length, 1, 2), jnp.float32)
        auto, same = (
            str(
                jax.make_jaxpr(partial(functional.dot_product_attention, implementation=i))(x, x, x)
            )
            for i in ("auto", expected)
        )
        assert auto == same
