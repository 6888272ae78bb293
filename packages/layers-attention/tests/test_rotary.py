"""Rotary positions and distance biases, against formulas with complex numbers and loops."""

import cmath
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from comparing import near
from linnet.layers_attention import functional
from linnet.layers_attention.functional import (
    LinearScaling,
    Llama3Scaling,
    LongRoPEScaling,
    NTKScaling,
    Rotary,
    YaRNScaling,
    rotary_from_config,
)
from linnet.module_core.errors import ArgumentError, ArgumentTypeError

rng = np.random.default_rng(0)
X = rng.normal(size=(2, 5, 3, 8))
POSITIONS = np.array([[0, 1, 2, 3, 4], [7, 8, 9, 2, 300]])


def turned(x, positions, frequencies, interleaved, amplitude=1.0):
    """Each pair as a complex number, times e^(i p ω)."""
    y = np.array(x)
    half = len(frequencies)
    for b, t, h in np.ndindex(x.shape[:3]):
        for i, frequency in enumerate(frequencies):
            one, two = (2 * i, 2 * i + 1) if interleaved else (i, i + half)
            point = complex(x[b, t, h, one], x[b, t, h, two])
            point *= amplitude * cmath.exp(1j * positions[b, t] * frequency)
            y[b, t, h, one], y[b, t, h, two] = point.real, point.imag
    return y


def plain(base, rotated):
    return [base ** (-2 * i / rotated) for i in range(rotated // 2)]


@pytest.mark.parametrize("interleaved", [False, True])
@pytest.mark.parametrize(("fraction", "rotated"), [(1.0, 8), (0.5, 4), (0.3, 2)])
def test_pairs_are_turned(interleaved, fraction, rotated):
    y = functional.rotary(
        jnp.asarray(X, jnp.float32),
        POSITIONS,
        base=100.0,
        fraction=fraction,
        interleaved=interleaved,
    )
    near(y, turned(X, POSITIONS, plain(100.0, rotated), interleaved), 2e-5, 2e-5)


def llama3(frequency, factor, low, high, length):
    """The three cases by wavelengths, as the model's configuration names them."""
    wave = 2 * math.pi / frequency
    if wave > length / low:
        return frequency / factor
    if wave < length / high:
        return frequency
    smooth = (length / wave - low) / (high - low)
    return (1 - smooth) * frequency / factor + smooth * frequency


def yarn(base, rotated, factor, length):
    def dimension(turns):
        return rotated * math.log(length / (turns * 2 * math.pi)) / (2 * math.log(base))

    low, high = math.floor(dimension(32)), math.ceil(dimension(1))
    low, high = max(low, 0), min(high, rotated - 1)
    for i, frequency in enumerate(plain(base, rotated)):
        ramp = min(max((i - low) / (high - low), 0), 1)
        yield frequency / factor * ramp + frequency * (1 - ramp)


@pytest.mark.parametrize(
    ("scaling", "frequencies", "amplitude"),
    [
        (LinearScaling(4.0), [f / 4 for f in plain(1e4, 16)], 1.0),
        (NTKScaling(4.0), plain(1e4 * 4 ** (16 / 14), 16), 1.0),
        (
            Llama3Scaling(8.0, 1.0, 4.0, 32),
            [llama3(f, 8.0, 1.0, 4.0, 32) for f in plain(1e4, 16)],
            1.0,
        ),
        (YaRNScaling(4.0, 256), list(yarn(1e4, 16, 4.0, 256)), 0.1 * math.log(4) + 1),
        (YaRNScaling(4.0, 256, attention_factor=1.5), list(yarn(1e4, 16, 4.0, 256)), 1.5),
        (
            LongRoPEScaling(tuple(range(1, 9)), 1.25),
            [f / (i + 1) for i, f in enumerate(plain(1e4, 16))],
            1.25,
        ),
    ],
    ids=lambda x: type(x).__name__ if hasattr(x, "factor") else "",
)
def test_scalings(scaling, frequencies, amplitude):
    options = Rotary(scaling=scaling)
    near(options.frequencies(16), np.array(frequencies), 1e-12)
    x = rng.normal(size=(2, 5, 1, 16))
    y = options(jnp.asarray(x, jnp.float32), POSITIONS)
    near(y, turned(x, POSITIONS, frequencies, False, amplitude), 2e-5, 5e-5)


def test_angles_are_float32_in_half_precision():
    x = jnp.asarray(X, jnp.bfloat16)
    y = functional.rotary(x, POSITIONS + 4096)
    assert y.dtype == jnp.bfloat16
    exact = turned(np.asarray(x, np.float64), POSITIONS + 4096, plain(1e4, 8), False)
    near(y, exact, half=(0.01, 0.01))


def test_products_depend_on_distances_alone_and_gradients_turn_back():
    query, key = (jnp.asarray(X[:1, i, :, :], jnp.float32)[:, None] for i in (0, 1))
    logits = [
        jnp.sum(functional.rotary(query, [p + 5]) * functional.rotary(key, [p])) for p in (0, 90)
    ]
    near(logits[0], logits[1], 1e-4)
    _, pull = jax.vjp(lambda x: functional.rotary(x, [7]), query)
    pulled = pull(functional.rotary(query, [7]))
    near(pulled[0], query, 1e-5)


def test_buckets_are_the_paper_s():
    """Half of a direction's buckets hold one distance each; the others hold ranges, up to 128."""
    table = jnp.arange(32.0)[:, None]
    distances = np.array([-1000, -128, -127, -91, -90, -64, -16, -9, -8, -7, -1, 0, 1, 7, 8, 500])
    both = functional.RelativeBuckets(table)(distances)[0]
    expected = []
    for d in distances:
        n = abs(d)
        bucket = n if n < 8 else min(15, 8 + int(math.log(n / 8) / math.log(16) * 8 + 1e-9))
        expected.append(bucket + (16 if d > 0 else 0))
    near(both, np.array(expected, float))
    before = functional.RelativeBuckets(table, bidirectional=False)(distances)[0]
    near(before, np.array([31, 31, 31, 29, 29, 26, 16, 9, 8, 7, 1, 0, 0, 0, 0, 0], float))


def test_slopes_are_the_paper_s():
    near(functional.alibi(8).slopes, 0.5 ** np.arange(1.0, 9))
    near(functional.alibi(6).slopes, np.array([2**-2, 2**-4, 2**-6, 2**-8, 2**-1, 2**-3]))


def test_a_long_bias_takes_no_memory_of_its_square():
    def temporary(length):
        x = jax.ShapeDtypeStruct((1, length, 2, 4), jnp.float32)
        table = jax.ShapeDtypeStruct((32, 2), jnp.float32)
        loss = lambda q, k, v, table: jnp.sum(  # noqa: E731
            functional.dot_product_attention(
                q, k, v, functional.RelativeBuckets(table), window=256, implementation="chunked"
            )
            ** 2
        )
        program = jax.jit(jax.grad(loss, (0, 1, 2, 3))).lower(x, x, x, table)
        return int(program.compile().memory_analysis().temp_size_in_bytes)

    assert temporary(8192) < 4.5 * temporary(2048)


LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
GEMMA3 = {
    "full_attention": {"rope_type": "linear", "rope_theta": 1e6, "factor": 8.0},
    "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
}
YARN = {"type": "yarn", "factor": 40.0, "original_max_position_embeddings": 4096}


@pytest.mark.parametrize(
    ("config", "layer_type", "expected"),
    [
        ({}, "full_attention", Rotary()),
        ({"rope_theta": 1e6, "rope_scaling": None}, "full_attention", Rotary(1e6)),
        ({"rotary_emb_base": 1e5, "rotary_pct": 0.25}, "full_attention", Rotary(1e5, 0.25)),
        (
            {"rope_theta": 5e5, "rope_scaling": LLAMA3, "max_position_embeddings": 2048},
            "full_attention",
            Rotary(5e5, scaling=Llama3Scaling(8.0, 1.0, 4.0, 2048)),
        ),
        (
            {
                "rope_parameters": LLAMA3
                | {
                    "rope_theta": 5e5,
                    "partial_rotary_factor": 0.5,
                    "original_max_position_embeddings": 64,
                },
                "max_position_embeddings": 2048,
            },
            "full_attention",
            Rotary(5e5, 0.5, scaling=Llama3Scaling(8.0, 1.0, 4.0, 64)),
        ),
        ({"rope_parameters": GEMMA3}, "sliding_attention", Rotary()),
        (
            {"rope_parameters": GEMMA3},
            "full_attention",
            Rotary(1e6, scaling=LinearScaling(8.0)),
        ),
        (
            {"rope_theta": 1e6, "rope_scaling": {"type": "linear", "factor": 8.0}}
            | {"rope_local_base_freq": 1e4},
            "full_attention",
            Rotary(1e6, scaling=LinearScaling(8.0)),
        ),
        ({"rope_theta": 1e6, "rope_local_base_freq": 2e4}, "sliding_attention", Rotary(2e4)),
        (
            {"rope_scaling": YARN | {"beta_fast": 16, "truncate": False}},
            "full_attention",
            Rotary(scaling=YaRNScaling(40.0, 4096, beta_fast=16, truncate=False)),
        ),
        (
            {"rope_scaling": YARN | {"mscale": 1.0, "mscale_all_dim": 1.0}},
            "full_attention",
            Rotary(scaling=YaRNScaling(40.0, 4096, attention_factor=1.0)),
        ),
        (  # HunYuan's, for texts of any length
            {"rope_scaling": {"type": "dynamic", "alpha": 50.0, "factor": 1.0}},
            "full_attention",
            Rotary(scaling=NTKScaling(50.0)),
        ),
    ],
)
def test_configurations(config, layer_type, expected):
    assert rotary_from_config(config, layer_type) == expected
    assert rotary_from_config(config, layer_type, interleaved=True).interleaved


LONG = {"type": "longrope", "short_factor": [1.0, 1.5], "long_factor": [2.0, 8.0]}
PHI = {
    "rope_scaling": LONG,
    "max_position_embeddings": 131072,
    "original_max_position_embeddings": 4096,
}
TEMPERATURE = math.sqrt(1 + math.log(32) / math.log(4096))
DYNAMIC = {
    "rope_scaling": {"rope_type": "dynamic", "factor": 2.0},
    "max_position_embeddings": 1000,
}


@pytest.mark.parametrize(
    ("config", "length", "scaling"),
    [
        (PHI, None, LongRoPEScaling((1.0, 1.5), TEMPERATURE)),
        (PHI, 4096, LongRoPEScaling((1.0, 1.5), TEMPERATURE)),
        (PHI, 4097, LongRoPEScaling((2.0, 8.0), TEMPERATURE)),
        (
            {"rope_scaling": LONG | {"attention_factor": 1.5}, "max_position_embeddings": 64},
            None,
            LongRoPEScaling((1.0, 1.5), 1.5),
        ),
        (
            {"rope_scaling": LONG | {"factor": 4.0}, "max_position_embeddings": 64},
            None,
            LongRoPEScaling((1.0, 1.5), math.sqrt(1 + math.log(4) / math.log(64))),
        ),
        (DYNAMIC, None, None),
        (DYNAMIC, 1000, None),
        (DYNAMIC, 3000, NTKScaling(5.0)),
    ],
)
def test_configurations_that_depend_on_the_length(config, length, scaling):
    assert rotary_from_config(config, length=length).scaling == scaling


@pytest.mark.parametrize(
    ("config", "layer_type", "match"),
    [
        ({"rope_scaling": {"type": "spiral"}}, "full_attention", "by 'spiral'.*not known"),
        ({"rope_scaling": {"type": "linear"}}, "full_attention", "'linear', and has no 'factor'"),
        ({"rope_parameters": GEMMA3}, "no_attention", "layers of type 'no_attention'"),
    ],
)
def test_configurations_that_cannot_be_read(config, layer_type, match):
    with pytest.raises(ArgumentError, match=match):
        rotary_from_config(config, layer_type)
    with pytest.raises(ArgumentTypeError, match="config is a str"):
        rotary_from_config("config.json")
