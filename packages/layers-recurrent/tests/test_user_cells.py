"""Cells that users write on top of `RNNCellBase` alone, and what `RNN` lifts for them."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from linnet.layers_linear.linen import Dense, Dropout
from linnet.layers_recurrent import linen
from linnet.module_core import errors
from linnet.module_core.linen import Module, compact, intercept_methods, nowrap

X = np.random.default_rng(0).normal(size=(2, 5, 3)).astype(np.float32)
LENGTHS = np.array([0, 3])


class Sum(linen.RNNCellBase):
    """No parameters; a carry of two arrays of different shapes, outputs that are a tree."""

    def __call__(self, carry, x):
        total, steps = carry
        return (total + x, steps + 1), {"total": total + x, "steps": steps}

    @nowrap
    def initialize_carry(self, rng, input_shape):
        return jnp.zeros(input_shape), jnp.zeros(input_shape[:-1], int)

    @property
    def num_feature_axes(self):
        return 1


@pytest.mark.parametrize("unroll", [1, 3])
@pytest.mark.parametrize("time_major", [False, True])
def test_any_carry_and_any_outputs(time_major, unroll):
    layer = linen.RNN(Sum(), time_major=time_major, unroll=unroll, return_carry=True)
    (total, steps), ys = layer.apply({}, X.swapaxes(0, 1) if time_major else X)
    np.testing.assert_allclose(total, X.sum(1), rtol=1e-5)
    np.testing.assert_array_equal(steps, [5, 5])
    if time_major:
        ys = jax.tree.map(lambda y: y.swapaxes(0, 1), ys)
    np.testing.assert_allclose(ys["total"], X.cumsum(1), rtol=1e-5)
    np.testing.assert_array_equal(ys["steps"], [range(5)] * 2)


@pytest.mark.parametrize("keep_order", [False, True])
def test_ragged_sequences_in_reverse(keep_order):
    layer = linen.RNN(Sum(), return_carry=True, reverse=True, keep_order=keep_order)
    (total, steps), ys = layer.apply({}, X, seq_lengths=LENGTHS)
    np.testing.assert_array_equal(steps, LENGTHS)
    np.testing.assert_allclose(total, [0 * X[0, 0], X[1, :3].sum(0)], rtol=1e-5)
    sums = X[1, 2::-1].cumsum(0)
    np.testing.assert_allclose(ys["total"][1, :3], sums[::-1] if keep_order else sums, rtol=1e-5)


def test_a_carry_without_batch_cannot_be_chosen_for_each_sequence():
    class Count(Sum):
        def __call__(self, carry, x):
            return carry + 1, x

        @nowrap
        def initialize_carry(self, rng, input_shape):
            return jnp.zeros((), int)

    carry, _ = linen.RNN(Count(), return_carry=True).apply({}, X)
    assert carry == 5
    with pytest.raises(errors.ShapeError, match=r"shape \(\), expected \(\*batch") as refused:
        linen.RNN(Count(), return_carry=True).apply({}, X, seq_lengths=LENGTHS)
    assert "seq_lengths select an entry for each sequence" in str(refused.value)


def test_spatial_inputs():
    class Mean(Sum):
        def __call__(self, carry, x):
            carry = (carry + x) / 2
            return carry, carry

        @nowrap
        def initialize_carry(self, rng, input_shape):
            return jnp.zeros(input_shape)

        @property
        def num_feature_axes(self):
            return 3

    xs = np.ones((4, 2, 3, 3, 1), np.float32)
    ys = linen.RNN(Mean()).apply({}, xs)
    np.testing.assert_allclose(ys[0, :, 0, 0, 0], [0.5, 0.75])
    assert ys.shape == xs.shape


class Noisy(linen.RNNCellBase):
    """Everything that a cell can have: parameters, state, a stream of random keys, sown values."""

    features: int

    @compact
    def __call__(self, carry, x):
        count = self.variable("state", "count", lambda: jnp.zeros((), int))
        count.value += 1
        self.sow("intermediates", "x", x)
        noise = Dropout(0.5, deterministic=False)(jnp.ones_like(x))
        return Dense(self.features, use_bias=False)(x) + carry, noise

    @nowrap
    def initialize_carry(self, rng, input_shape):
        return jax.random.normal(rng, (*input_shape[:-1], self.features))

    @property
    def num_feature_axes(self):
        return 1


RNGS = {"params": jax.random.key(0), "dropout": jax.random.key(1)}
LIFTED = {"variable_axes": {"intermediates": 0}, "variable_carry": "state"}
STATE = {"state": {"cell": {"count": jnp.array(10)}}}
MUTABLE = ["params", "state", "intermediates"]


def run(**fields):
    layer = linen.RNN(Noisy(4), **{**LIFTED, **fields})
    return layer.apply(STATE, X, rngs=RNGS, mutable=MUTABLE)


def test_carried_scanned_and_broadcast_collections():
    _, variables = run(split_rngs={"params": False, "dropout": True})
    assert variables["state"]["cell"]["count"] == 15
    (sown,) = variables["intermediates"]["cell"]["x"]
    np.testing.assert_array_equal(sown, X.swapaxes(0, 1))
    assert variables["params"]["cell"]["Dense_0"]["kernel"].shape == (3, 4)


def test_scanned_parameters():
    _, variables = run(
        variable_broadcast=False,
        variable_axes={"params": 0, "intermediates": 0},
        split_rngs={"params": True, "dropout": True},
    )
    kernels = variables["params"]["cell"]["Dense_0"]["kernel"]
    assert kernels.shape == (5, 3, 4)
    assert len(np.unique(kernels)) == kernels.size


@pytest.mark.parametrize("split", [False, True])
def test_random_streams_are_split_or_copied(split):
    noise, _ = run(split_rngs={"params": False, "dropout": split})
    same = [np.array_equal(noise[:, 0], noise[:, t]) for t in range(1, 5)]
    # Each draw has six values, zeros or twos, so two steps may well draw the same.
    assert all(same) != split


def test_a_cell_s_parameters_may_be_scanned_too():
    """With these options, a built-in cell runs step by step, each step with its own parameters."""
    layer = linen.RNN(
        linen.SimpleCell(4),
        variable_axes={"params": 0},
        variable_broadcast=False,
        split_rngs={"params": True},
    )
    variables = layer.init(jax.random.key(0), X)
    cell = variables["params"]["cell"]
    assert cell["h"]["kernel"].shape == (5, 4, 4)
    state = np.zeros((2, 4))
    for t in range(5):
        state = np.tanh(
            X[:, t] @ cell["i"]["kernel"][t] + cell["i"]["bias"][t] + state @ cell["h"]["kernel"][t]
        )
    np.testing.assert_allclose(layer.apply(variables, X)[:, -1], state, rtol=1e-5, atol=1e-6)


def test_a_subclass_that_changes_the_step_is_run_step_by_step():
    class Doubled(linen.GRUCell):
        def __call__(self, carry, inputs):
            carry, y = super().__call__(carry, inputs)
            return carry, 2 * y

    class Renamed(linen.GRUCell):
        """Doesn't change the step."""

    plain, variables = linen.RNN(linen.GRUCell(4)).init_with_output(jax.random.key(0), X)
    np.testing.assert_allclose(linen.RNN(Doubled(4)).apply(variables, X), 2 * plain, rtol=1e-5)
    np.testing.assert_array_equal(linen.RNN(Renamed(4)).apply(variables, X), plain)


def test_a_cell_may_do_sequences_itself_and_decline():
    class Shift(Sum):
        at_once: bool = True

        def __call__(self, carry, x):
            return x, carry

        def sequence(self, carry, xs, *, lengths=None, unroll=1):
            if not self.at_once:
                return None
            return xs[-1], {"by": "sequence", "ys": jnp.concatenate([carry[None], xs[:-1]])}["ys"]

        @nowrap
        def initialize_carry(self, rng, input_shape):
            return jnp.zeros(input_shape)

    expected = np.concatenate([0 * X[:, :1], X[:, :-1]], axis=1)
    for at_once in (True, False):
        carry, ys = linen.RNN(Shift(at_once), return_carry=True).apply({}, X)
        np.testing.assert_array_equal(carry, X[:, -1])
        np.testing.assert_array_equal(ys, expected)


def test_interceptors_see_every_built_in_cell():
    seen = []

    def note(call, args, kwargs, context):
        seen.append(f"{type(context.module).__name__}.{context.method_name}")
        return call(*args, **kwargs)

    layer = linen.RNN(linen.GRUCell(4))
    variables = layer.init(jax.random.key(0), X)
    plain = layer.apply(variables, X)
    with intercept_methods(note):
        intercepted = layer.apply(variables, X)
    assert "GRUCell.__call__" in seen
    assert seen.count("Dense.__call__") >= 6
    np.testing.assert_allclose(intercepted, plain, rtol=1e-5, atol=1e-6)


def test_one_cell_in_two_places():
    class Both(Module):
        @compact
        def __call__(self, x):
            cell = linen.LSTMCell(4)
            return linen.RNN(cell)(x) + linen.RNN(cell, reverse=True, keep_order=True)(x)

    y, variables = Both().init_with_output(jax.random.key(0), X)
    assert set(variables["params"]) == {"LSTMCell_0"}
    cell = {"params": {"cell": variables["params"]["LSTMCell_0"]}}
    ahead = linen.RNN(linen.LSTMCell(4)).apply(cell, X)
    back = linen.RNN(linen.LSTMCell(4), reverse=True, keep_order=True).apply(cell, X)
    np.testing.assert_allclose(y, ahead + back, rtol=1e-6)


CELLS = [
    linen.LSTMCell,
    linen.OptimizedLSTMCell,
    linen.SimpleCell,
    linen.GRUCell,
    linen.MGUCell,
]


@pytest.mark.parametrize("cls", CELLS, ids=lambda c: c.__name__)
def test_the_carry_says_how_many_features_there_are(cls):
    h = jnp.linspace(-1, 1, 12).reshape(2, 6)
    carry = (h, h) if "LSTM" in cls.__name__ else h
    layer = linen.RNN(cls(4), return_carry=True)
    (last, ys), variables = layer.init_with_output(jax.random.key(0), X, initial_carry=carry)
    assert jax.tree.map(jnp.shape, last) == jax.tree.map(jnp.shape, carry)
    assert ys.shape == (2, 5, 6)
    wide = linen.RNN(cls(6), return_carry=True).apply(variables, X, initial_carry=carry)
    jax.tree.map(np.testing.assert_array_equal, (last, ys), wide)
    cell = {"params": variables["params"]["cell"]}
    _, first = cls(4).apply(cell, carry, X[:, 0])
    np.testing.assert_allclose(first, ys[:, 0], rtol=1e-5, atol=1e-6)


def test_a_cell_of_a_class_other_than_the_cells():
    class Leaky(Module):
        num_feature_axes = 1

        @compact
        def __call__(self, carry, x):
            carry = 0.5 * carry + Dense(2)(x)
            return carry, carry.sum(-1, keepdims=True)

        @nowrap
        def initialize_carry(self, rng, input_shape):
            return jnp.zeros((*input_shape[:-1], 2))

    y, _ = linen.RNN(Leaky()).init_with_output(jax.random.key(0), X)
    assert y.shape == (2, 5, 1)
