"""`Bidirectional`, against two loops in NumPy, one from each end."""

import logging

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from linnet.layers_recurrent import linen
from linnet.module_core.errors import ArgumentTypeError

from . import loops
from .test_values import B, H, T, declared, inputs, near, near_where_known

LENGTHS = np.array([0, 3, 5, 1])


def both(lengths=None):
    """Variables and carries of a forward GRU and a backward simple cell, and their outputs."""
    xs = inputs("gru", B, T)
    gru, start = declared("gru")
    simple, end = declared("simple", seed=2)
    variables = {"params": {"forward_rnn": {"cell": gru}, "backward_rnn": {"cell": simple}}}
    ahead = loops.run(loops.gru, gru, start, xs, lengths=lengths)
    back = loops.run(loops.simple, simple, end, xs, lengths=lengths, reverse=True, keep_order=True)
    return xs, variables, (start, end), (ahead, back)


def layer(**fields):
    # The inner RNNs' fields have no effect: `Bidirectional` sets the order and the time axis.
    backward = linen.RNN(linen.SimpleCell(H), keep_order=False, time_major=True)
    return linen.Bidirectional(linen.RNN(linen.GRUCell(H), reverse=True), backward, **fields)


@pytest.mark.parametrize("lengths", [None, LENGTHS])
@pytest.mark.parametrize("time_major", [False, True])
@pytest.mark.parametrize("at_call", [False, True])
def test_both_directions(lengths, time_major, at_call):
    xs, variables, carries, ((first, ahead), (second, back)) = both(lengths)
    options = {"time_major": time_major, "return_carry": True}
    (forward, backward), ys = layer(**({} if at_call else options)).apply(
        variables,
        xs.swapaxes(0, 1) if time_major else xs,
        initial_carry=carries,
        seq_lengths=lengths,
        **(options if at_call else {}),
    )
    near(forward, first[0])
    near(backward, second[0])
    near_where_known(
        ys.swapaxes(0, 1) if time_major else ys, np.concatenate([ahead, back], axis=-1)
    )


def test_outputs_are_merged_by_a_function():
    xs, variables, carries, ((_, ahead), (_, back)) = both()
    ys = layer(merge_fn=lambda a, b: a - 2 * b).apply(variables, xs, initial_carry=carries)
    near(ys, ahead - 2 * back, rtol=1e-5, atol=1e-5)


def test_reverse_and_keep_order_have_no_effect():
    xs, variables, carries, _ = both()
    plain = layer().apply(variables, xs, initial_carry=carries)
    other = layer().apply(variables, xs, initial_carry=carries, reverse=True, keep_order=False)
    np.testing.assert_array_equal(plain, other)


def test_the_init_key_is_split_for_both():
    random = jax.random.normal
    made = linen.Bidirectional(
        linen.RNN(linen.GRUCell(H, carry_init=random)),
        linen.RNN(linen.SimpleCell(H, carry_init=random)),
    )
    xs, variables, _, _ = both()
    keys = jax.random.split(jax.random.key(5))
    carries = tuple(random(key, (B, H)) for key in keys)
    np.testing.assert_array_equal(
        made.apply(variables, xs, init_key=jax.random.key(5)),
        made.apply(variables, xs, initial_carry=carries),
    )


def test_one_rnn_for_both_directions_shares_parameters(caplog):
    rnn = linen.RNN(linen.GRUCell(H))
    xs = inputs("gru", B, T)
    with caplog.at_level(logging.WARNING):
        variables = linen.Bidirectional(rnn, rnn).init(jax.random.key(0), xs)
    assert set(variables["params"]) == {"forward_rnn"}
    assert "share their parameters" in caplog.text


def test_outputs_that_are_trees_are_merged_leaf_by_leaf():
    class Two(linen.SimpleCell):
        def __call__(self, carry, inputs):
            carry, y = super().__call__(carry, inputs)
            return carry, {"y": y, "z": 2 * y}

    made = linen.Bidirectional(linen.RNN(Two(H)), linen.RNN(Two(H)))
    ys, _ = made.init_with_output(jax.random.key(0), inputs("gru", B, T))
    assert jax.tree.map(jnp.shape, ys) == {"y": (B, T, 2 * H), "z": (B, T, 2 * H)}
    np.testing.assert_array_equal(ys["z"], 2 * ys["y"])


def test_cells_in_place_of_rnns_raise_an_error():
    x = jnp.ones((2, 4, 3))
    with pytest.raises(ArgumentTypeError, match="forward_rnn must be an RNN") as caught:
        linen.Bidirectional(linen.LSTMCell(3), linen.LSTMCell(3)).init(jax.random.key(0), x)
    assert "RNN(LSTMCell(features))" in str(caught.value)
    with pytest.raises(ArgumentTypeError, match="backward_rnn must be an RNN, .* got GRUCell"):
        linen.Bidirectional(linen.RNN(linen.LSTMCell(3)), linen.GRUCell).init(jax.random.key(0), x)
