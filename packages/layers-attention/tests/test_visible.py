"""Windows, segments, caps, sinks and distance biases: all implementations against a loop."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from comparing import near, placed
from linnet.layers_attention import functional, nnx
from linnet.layers_attention.functional import _blocks

from . import naive

B, Q, K, H, D, E = 2, 11, 19, 4, 4, 3


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(_blocks, "QUERIES", 8)
    monkeypatch.setattr(_blocks, "KEYS", 8)
    monkeypatch.setattr(_blocks, "LEAST", 8)


rng = np.random.default_rng(0)
ARRAYS = (
    rng.normal(size=(B, Q, H, D)),
    rng.normal(size=(B, K, 2, D)),
    rng.normal(size=(B, K, 2, E)),
)
SEGMENTS = np.sort(rng.integers(0, 3, (B, Q)), 1)
KEY_SEGMENTS = np.sort(rng.integers(0, 3, (B, K)), 1)
SHUFFLED = rng.permuted(np.tile(np.arange(K), (B, 1)), axis=1)  # as in a ring
MASK = rng.integers(0, 2, (B, 1, Q, K))
TABLE, SLOPES, SINKS = rng.normal(size=(8, H)), rng.uniform(0, 1, H), rng.normal(size=H)
BIAS = rng.normal(size=(1, H, Q, K))


def bucket(distance):
    """The bucket of a distance: four in each direction, the first two for one distance."""
    first, d = (4 if distance > 0 else 0), abs(distance)
    if d < 2:
        return first + d
    return first + min(3, 2 + int(np.log(d / 2) / np.log(3) * 2 + 1e-9))


BUCKETS = functional.RelativeBuckets(jnp.asarray(TABLE, jnp.float32), max_distance=6)
ALIBI = functional.ALiBi(jnp.asarray(SLOPES, jnp.float32))
DECAY = jax.tree_util.Partial(
    lambda slopes, d: slopes.reshape(-1, *[1] * d.ndim) * jnp.cos(d), ALIBI.slopes
)
LOOPS = {
    id(BUCKETS): lambda h, d: TABLE[bucket(d), h],
    id(ALIBI): lambda h, d: -SLOPES[h] * abs(d),
    id(DECAY): lambda h, d: SLOPES[h] * np.cos(d),
}
SEPARATE = {"segment_ids": SEGMENTS, "key_segment_ids": KEY_SEGMENTS}

CASES = {
    "left": {"window": (3, None), "query_offset": 5},
    "right": {"window": (None, 2), "sinks": SINKS},
    "both, beyond the keys": {"window": 4, "query_offset": 16, "soft_cap": 0.7},
    "causal": {"window": 3, "is_causal": True, "bias": BUCKETS, "query_offset": 8},
    "traced offset": {"window": 9, "is_causal": True, "query_offset": jnp.int32(7), "bias": ALIBI},
    "offsets by row": {
        "window": 5,
        "is_causal": True,
        "query_offset": np.array([2, 9]),
        "bias": BUCKETS,
        "sinks": SINKS,
        "soft_cap": 2.0,
    },
    "ring": {
        "is_causal": True,
        "window": (6, None),
        "query_offset": np.array([4, 8]),
        "key_positions": SHUFFLED,
        "bias": ALIBI,
    },
    "segments": {**SEPARATE, "sinks": SINKS, "scale": 0.3},
    "segments, masked": {**SEPARATE, "mask": MASK, "bias": BIAS, "soft_cap": 1.0},
    "all": {
        **SEPARATE,
        "is_causal": True,
        "window": (9, 4),
        "query_offset": 5,
        "mask": MASK,
        "bias": DECAY,
        "soft_cap": 1.5,
        "scale": 0.6,
        "sinks": SINKS,
    },
}


def expected(arrays, options):
    options = dict(options)
    bias = options.get("bias")
    if callable(bias):
        options["bias"] = LOOPS[id(bias)]
    return naive.attention(*arrays, **options)


@pytest.mark.parametrize("implementation", ["exact", "chunked"])
@pytest.mark.parametrize("name", CASES)
def test_values_and_slopes_are_those_of_a_loop(name, implementation):
    options = CASES[name]
    weights = np.cos(np.arange(B * Q * H * E)).reshape(B, Q, H, E)
    float_names = [n for n in ("bias", "sinks") if n in options]
    floats = jax.tree.map(
        lambda x: jnp.asarray(x, jnp.float32), {n: options[n] for n in float_names}
    )
    rest = {n: x for n, x in options.items() if n not in float_names}

    def loss(arrays, floats):
        y = functional.dot_product_attention(
            *arrays, **rest, **floats, implementation=implementation
        )
        return jnp.sum(y * weights), y

    arrays = tuple(jnp.asarray(x, jnp.float32) for x in ARRAYS)
    (_, y), (of_arrays, of_floats) = jax.jit(jax.value_and_grad(loss, (0, 1), has_aux=True))(
        arrays, floats
    )
    near(y, expected(ARRAYS, options), 2e-5)

    directions = tuple(np.random.default_rng(1).normal(size=x.shape) for x in ARRAYS)
    step = 1e-5
    high, low = (
        np.vdot(
            weights,
            expected([x + s * d for x, d in zip(ARRAYS, directions, strict=True)], options),
        )
        for s in (step, -step)
    )
    slope = sum(np.vdot(g, d) for g, d in zip(of_arrays, directions, strict=True))
    assert abs(slope - (high - low) / (2 * step)) < 2e-4 * (1 + abs(slope))
    if "sinks" in options:
        moved = [
            np.vdot(weights, expected(ARRAYS, {**options, "sinks": SINKS + s * np.arange(H)}))
            for s in (step, -step)
        ]
        slope = np.vdot(of_floats["sinks"], np.arange(H))
        assert abs(slope - (moved[0] - moved[1]) / (2 * step)) < 2e-4 * (1 + abs(slope))
    if "bias" in options:
        _slope_of_bias(options, of_floats["bias"], weights, step)


def _slope_of_bias(options, gradient, weights, step):
    (gradient,) = jax.tree.leaves(gradient)
    bias = options["bias"]
    stored = {id(BUCKETS): TABLE, id(ALIBI): SLOPES, id(DECAY): SLOPES}.get(id(bias), BIAS)
    direction = np.random.default_rng(2).normal(size=stored.shape)
    before = stored.copy()
    values = []
    for s in (step, -step):
        stored[...] = before + s * direction  # the loops read this array
        values.append(np.vdot(weights, expected(ARRAYS, options)))
    stored[...] = before
    slope = np.vdot(gradient, direction)
    assert abs(slope - (values[0] - values[1]) / (2 * step)) < 2e-4 * (1 + abs(slope))


def test_dropout_drops_weights_that_a_window_leaves():
    """With values of 1, the outputs show that half of the visible weights are kept, on average."""
    options = {"window": 4, "is_causal": True, "sinks": jnp.zeros(H), "soft_cap": 2.0}
    query, key, value = jnp.zeros((B, K, H, D)), jnp.zeros((B, K, 2, D)), jnp.ones((B, K, 2, E))

    @partial(jax.jit, static_argnames="implementation")
    def kept(key_, implementation):
        return functional.dot_product_attention(
            query,
            key,
            value,
            **options,
            dropout_rng=key_,
            dropout_rate=0.5,
            broadcast_dropout=False,
            implementation=implementation,
        )

    for implementation in ("exact", "chunked"):
        y = np.mean([kept(jax.random.key(i), implementation) for i in range(40)], axis=(0, 1, 3, 4))
        seen = np.minimum(np.arange(K) + 1, 4)
        np.testing.assert_allclose(y, seen / (seen + 1), atol=0.15)


def test_half_precision_in_chunks_is_as_precise_as_all_at_once():
    options = CASES["all"] | {"bias": ALIBI, "sinks": jnp.asarray(SINKS, jnp.bfloat16)}
    arrays = tuple(jnp.asarray(x, jnp.bfloat16) for x in ARRAYS)
    wanted = expected([np.asarray(x, np.float64) for x in arrays], options)
    for implementation in ("exact", "chunked"):
        attend = partial(functional.dot_product_attention, **options, implementation=implementation)
        y = jax.jit(attend)(*arrays)
        assert y.dtype == jnp.bfloat16
        near(y, wanted, 0.02, half=(0.02, 0.02))


def test_nnx_has_the_same_arguments():
    for name in ("causal", "all"):
        options = {k: jnp.asarray(v) if k == "sinks" else v for k, v in CASES[name].items()}
        arrays = tuple(jnp.asarray(x, jnp.float32) for x in ARRAYS)
        y = jax.jit(partial(nnx.dot_product_attention, **options))(*arrays)
        near(y, expected(ARRAYS, CASES[name]), 2e-5)
        weights = jax.jit(partial(nnx.dot_product_attention_weights, **options))(*arrays[:2])
        of_values = np.einsum("bhqk,bkhe->bqhe", weights, np.repeat(arrays[2], 2, axis=2))
        near(of_values, expected(ARRAYS, CASES[name]), 2e-5)


def pairs(**options):
    """The numbers of blocks that chunked attention visits over 96 tokens, and of all blocks."""
    x = jnp.zeros((1, 96, 2, 4))
    program = jax.make_jaxpr(
        partial(functional.dot_product_attention, implementation="chunked", **options)
    )(x, x, x)
    (scan,) = (e for e in _equations(program.jaxpr) if e.primitive.name == "scan")
    return scan.params["length"]


def _equations(jaxpr):
    for equation in jaxpr.eqns:
        yield equation
        for value in equation.params.values():
            inner = getattr(value, "jaxpr", value)
            if hasattr(inner, "eqns"):
                yield from _equations(inner)


def test_blocks_outside_a_window_are_not_visited():
    blocks = 96 // 8
    assert pairs() == blocks**2
    assert pairs(is_causal=True) == blocks * (blocks + 1) // 2
    assert pairs(window=1) == blocks
    assert pairs(window=2) == 3 * blocks - 2
    assert pairs(window=9, is_causal=True) == 2 * blocks - 1
    assert pairs(window=(None, 9)) == sum(min(i + 2, blocks) for i in range(blocks))


def test_blocks_whose_segments_do_not_meet_are_skipped():
    """A NaN in a value of another text doesn't even reach the sums of the row's blocks."""
    segments = np.repeat([[3, 5, 8]], 32, axis=1).reshape(1, 96)
    segments = np.sort(segments)
    x = placed(rng.normal(size=(1, 96, 2, 4)), jnp.float32)
    value = x.at[0, :32].set(jnp.nan)
    attend = partial(
        functional.dot_product_attention, segment_ids=segments, implementation="chunked"
    )
    y = jax.jit(attend)(x, x, value)
    assert not np.isnan(y[0, 32:]).any()
    assert np.isnan(y[0, :32]).all()


def test_which_implementation_ran_can_be_asked():
    x = jnp.ones((3, 1, 4))
    with functional.record_implementations() as used:
        functional.dot_product_attention(x, x, x)
        functional.dot_product_attention(x, x, x, implementation="chunked")
        nnx.dot_product_attention(x, x, x)
        nnx.dot_product_attention(x, x, x, soft_cap=1.0)
    functional.dot_product_attention(x, x, x)
    assert used == ["exact", "chunked", "xla", "exact"]
