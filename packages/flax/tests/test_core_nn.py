"""Layers as functions of a scope: properties that tools/parity can't compare with Flax."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from comparing import sample
from linnet.flax.core import apply, init, nn
from linnet.module_core import errors

X = sample((2, 5, 8))


def attend(scope, x):
    return nn.multi_head_dot_product_attention(scope, x, None, 2, cache=True, causal_mask=True)


def test_attention_step_by_step_is_attention_to_all_earlier_positions():
    whole, variables = init(attend)(jax.random.key(1), X)
    state = {"cache": {"entry": variables["cache"]["entry"]((2, 5))}}
    step = jax.jit(apply(attend, mutable=["cache"]))
    steps = []
    for i in range(5):
        y, state = step({"params": variables["params"], **state}, X[:, i : i + 1])
        steps.append(y)
    np.testing.assert_allclose(jnp.concatenate(steps, 1), whole, rtol=2e-4, atol=2e-5)
    assert state["cache"]["entry"].i == 5


def test_a_cache_that_was_not_made_raises_an_error():
    _, variables = init(attend)(jax.random.key(1), X)
    with pytest.raises(errors.ArgumentError, match="not initialized"):
        apply(attend, mutable=["cache"])(variables, X[:, :1])


def test_a_cache_takes_one_position_and_causal_attention():
    _, variables = init(attend)(jax.random.key(1), X)
    made = {"params": variables["params"], "cache": {"entry": variables["cache"]["entry"]((2, 5))}}
    with pytest.raises(errors.ShapeError, match="one position"):
        apply(attend, mutable=["cache"])(made, X)
    with pytest.raises(errors.ArgumentError, match="causal"):
        init(nn.multi_head_dot_product_attention)(jax.random.key(0), X, X, 2, cache=True)
