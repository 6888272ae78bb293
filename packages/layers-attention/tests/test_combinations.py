"""Random combinations of attention's options give the results of a loop over single numbers.

The tests use all options at once, in both implementations, and read texts in pieces through a
cache.
"""

from functools import partial
from types import MappingProxyType

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from comparing import near
from linnet.layers_attention import functional
from linnet.layers_attention.functional import _blocks

from . import naive

B, Q, K, H, D = 2, 5, 9, 4, 4
rng = np.random.default_rng(0)
DRAWN = MappingProxyType(
    {
        "queries": rng.normal(size=(B, Q, H, D)),
        "keys": rng.normal(size=(B, K, H, D)),
        "bias": rng.normal(size=(B, H, Q, K)),
        "mask": rng.integers(0, 4, (B, H, Q, K)) > 0,
        "sinks": rng.normal(size=H),
        "slopes": rng.uniform(0, 1, H),
        "segment_ids": np.sort(rng.integers(0, 2, (B, Q)), 1),
        "key_segment_ids": np.sort(rng.integers(0, 2, (B, K)), 1),
        "key_positions": rng.permuted(np.tile(np.arange(K), (B, 1)), axis=1),
    }
)
KEY_HEADS = st.sampled_from([1, 2, 4])
CAPS = st.sampled_from([None, None, 0.7])
SIDES = st.sampled_from([None, 1, 3])
OPTIONS = {
    "is_causal": st.booleans(),
    "window": st.tuples(SIDES, SIDES),
    "query_offset": st.sampled_from([0, 4, (1, 6)]),
    "key_positions": st.booleans(),
    "segments": st.booleans(),
    "mask": st.sampled_from([None, (1, 1, Q, K), (B, 1, 1, K), (1, H, Q, K)]),
    "bias": st.sampled_from([None, "distance", (1, H, Q, K), (B, 1, 1, K), (B, H, Q, K)]),
    "scale": st.sampled_from([None, 0.3]),
    "soft_cap": CAPS,
    "sinks": st.booleans(),
}
FEW = settings(
    max_examples=5,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.generate],  # shrinking would compile for minutes
)


@pytest.fixture(autouse=True, scope="module")
def small_blocks():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_blocks, "QUERIES", 4)
        patch.setattr(_blocks, "KEYS", 4)
        patch.setattr(_blocks, "LEAST", 4)
        yield


def part(name, shape):
    """The first entries of the drawn arrays."""
    return DRAWN[name][tuple(slice(n) for n in shape)]


def both(drawn):
    """The options of our functions, and those of the loop."""
    options = {k: drawn[k] for k in ("is_causal", "window", "scale", "soft_cap")}
    options["query_offset"] = np.asarray(drawn["query_offset"])
    if drawn["key_positions"]:
        options["key_positions"] = DRAWN["key_positions"]
    if drawn["segments"]:
        options |= {k: DRAWN[k] for k in ("segment_ids", "key_segment_ids")}
    if drawn["sinks"]:
        options["sinks"] = DRAWN["sinks"]
    if drawn["mask"]:
        options["mask"] = part("mask", drawn["mask"])
    ours = options.copy()
    if drawn["bias"] == "distance":
        slopes = DRAWN["slopes"]
        ours["bias"] = functional.ALiBi(jnp.asarray(slopes, jnp.float32))
        options["bias"] = lambda h, d: -slopes[h] * abs(d)
    elif drawn["bias"]:
        ours["bias"] = options["bias"] = part("bias", drawn["bias"])
    return ours, options


@FEW
@given(drawn=st.fixed_dictionaries(OPTIONS), heads=KEY_HEADS, broadcast=st.booleans())
def test_weights_and_their_dropout(drawn, heads, broadcast):
    """With the identity as values, the output is the weights; dropout keeps or drops each."""
    ours, options = both(drawn)
    query, key = DRAWN["queries"], DRAWN["keys"][:, :, :heads]
    value = np.broadcast_to(np.eye(K)[:, None], (B, K, heads, K))
    weights = naive.attention(query, key, value, **options)
    without = options | {"sinks": np.full(H, -np.inf)}
    sees = naive.attention(query, key, value, **without).any(-1)  # other rows get arbitrary means
    arrays = [jnp.asarray(x, jnp.float32) for x in (query, key, value)]
    for implementation in ("exact", "chunked"):
        attend = partial(
            functional.dot_product_attention,
            dropout_rng=jax.random.key(1),
            broadcast_dropout=broadcast,
            implementation=implementation,
            **ours,
        )
        found, y = jax.jit(lambda *x, f=attend: (f(*x), f(*x, dropout_rate=0.25)))(*arrays)
        near(found, weights, 2e-5)
        kept, dropped = (np.abs(y - x)[sees] < 1e-5 for x in (weights / 0.75, 0.0))
        assert (kept | dropped).all()
        large = weights[sees] > 1e-3
        assert large.sum() < 40 or 0 < dropped[large].mean() < 0.6


CALLS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=2, max_size=4)


@FEW
@given(
    calls=CALLS,
    per_row=st.booleans(),
    ring=st.booleans(),
    window=st.sampled_from([1, 3, None]),
    heads=KEY_HEADS,
    distance=st.booleans(),
    soft_cap=CAPS,
    sinks=st.booleans(),
    masked=st.booleans(),
)
def test_texts_in_pieces(calls, per_row, ring, window, heads, distance, soft_cap, sinks, masked):
    """For its new tokens, a call returns the same as a loop over the whole text."""
    ring = ring and window is not None
    calls = calls if per_row else [(n, n) for n, _ in calls]
    ends = np.sum(calls, axis=0)
    texts = np.random.default_rng(1).normal(size=(B, 3, 12, H, D))  # queries, keys and values
    texts[:, 1:, :, heads:] = np.nan  # not used
    wanted = {"is_causal": True, "window": (window, None), "soft_cap": soft_cap}
    wanted["sinks"] = DRAWN["sinks"] if sinks else None
    ours = wanted.copy()
    if distance:
        slopes = DRAWN["slopes"]
        ours["bias"] = functional.ALiBi(jnp.asarray(slopes, jnp.float32))
        wanted["bias"] = lambda h, d: -slopes[h] * abs(d)
    mask = np.ones(12, bool)
    if masked and window is None:  # so that each query sees at least the first key
        mask[1:K] = DRAWN["mask"][0, 0, 0, 1:]
    expected = []
    for text, end in zip(texts, ends, strict=True):
        query, key, value = (x[None, :end] for x in text)
        options = {**wanted, "mask": mask[None, None, None, :end]}
        shared = key[:, :, :heads], value[:, :, :heads]
        expected.append(naive.attention(query, *shared, **options)[0] if end else None)
    shape = (B, window if ring else 12, heads, D)
    for implementation in ("exact", "chunked"):
        cache = functional.init_cache(shape, shape, per_row=per_row)

        @jax.jit
        def step(cache, query, key, value, lengths, implementation=implementation):
            new = functional.extend_cache(
                cache,
                key[:, :, :heads],
                value[:, :, :heads],
                lengths=lengths if per_row else None,
                ring=ring,
            )
            y = functional.dot_product_attention(
                query,
                new.key,
                new.value,
                query_offset=new.query_offset,
                key_positions=new.key_positions,
                mask=None if ring else mask,
                implementation=implementation,
                **ours,
            )
            return y, new.cache

        at = np.zeros(B, int)
        for lengths in calls:
            most = max(lengths)
            if not most:
                continue
            padded = np.full((B, 3, most, H, D), 50.0)
            for row, n in enumerate(lengths):
                padded[row, :, :n] = texts[row, :, at[row] : at[row] + n]
            parts = (jnp.asarray(padded[:, i], jnp.float32) for i in range(3))
            y, cache = step(cache, *parts, jnp.asarray(lengths))
            for row, n in enumerate(lengths):
                if n:
                    near(y[row, :n], expected[row][at[row] : at[row] + n], 2e-5)
            at += lengths
