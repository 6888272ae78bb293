"""nnx recurrence beyond the contracts: all steps at once, streams, a user's own cells, mistakes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from comparing import sample
from linnet.layers_recurrent import linen, nnx
from linnet.module_core.errors import ArgumentError, ArgumentTypeError, ShapeError
from linnet.module_core.nnx import (
    BatchStat,
    Intermediate,
    Module,
    Param,
    Rngs,
    RngState,
    RngStream,
    capture,
    jit,
    merge,
    split,
    state,
    to_flat_state,
)

B, T, D, H = 2, 5, 3, 4
X = sample((B, T, D))
LENGTHS = jnp.array([3, 5])
CELLS = [nnx.LSTMCell, nnx.OptimizedLSTMCell, nnx.GRUCell, nnx.MGUCell, nnx.SimpleCell]


class Carry:
    """Replaces `nnx.Carry` in a spec: neither an axis nor None."""


def slow(cell):
    """A cell whose `sequence` is hidden from `RNN`."""

    class Slow(type(cell)):
        def __call__(self, carry, x):
            return super().__call__(carry, x)

    twin = object.__new__(Slow)
    twin.__setstate__(cell.__getstate__())
    return twin


@pytest.mark.parametrize("cls", CELLS, ids=lambda c: c.__name__)
def test_all_steps_at_once_are_the_steps_one_by_one(cls):
    cell = cls(D, H, carry_init=jax.nn.initializers.normal(), rngs=Rngs(0))
    for options in ({}, {"reverse": True, "keep_order": True, "seq_lengths": LENGTHS}):
        call = {**options, "return_carry": True}
        fast = nnx.RNN(cell)(X, **call)
        ours = nnx.RNN(slow(cell))(X, **call)
        assert jax.tree.structure(fast) == jax.tree.structure(ours)
        for a, b in zip(jax.tree.leaves(fast), jax.tree.leaves(ours), strict=True):
            np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-6)


def test_the_gradient_of_both_ways_is_the_same():
    cell = nnx.LSTMCell(D, H, rngs=Rngs(0))

    def gradient(cell):
        graphdef, params, rest = split(nnx.RNN(cell), Param, ...)

        def loss(params):
            return jnp.sum(merge(graphdef, params, jax.tree.map(lambda x: x, rest))(X) ** 2)

        return jax.tree.leaves(jax.jit(jax.grad(loss))(params))

    for a, b in zip(gradient(cell), gradient(slow(cell)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_a_loop_keeps_no_copy_of_the_parameters_for_each_step():
    cell = slow(nnx.LSTMCell(D, H, rngs=Rngs(0)))
    graphdef, params, rest = split(nnx.RNN(cell), Param, ...)

    def loss(params):
        return jnp.sum(merge(graphdef, params, jax.tree.map(lambda x: x, rest))(X))

    assert f"f32[{T},{H},{H}]" not in str(jax.make_jaxpr(jax.grad(loss))(params))


def test_time_may_come_first():
    layer = nnx.RNN(nnx.GRUCell(D, H, rngs=Rngs(0)), unroll=2)
    y = layer(X)
    first = layer(X.swapaxes(0, 1), time_major=True)
    np.testing.assert_allclose(first.swapaxes(0, 1), y, rtol=1e-6)
    both = nnx.Bidirectional(layer, nnx.RNN(nnx.GRUCell(D, H, rngs=Rngs(1))), time_major=True)
    assert both(X.swapaxes(0, 1)).shape == (T, B, 2 * H)


def test_lengths_choose_the_carry_of_the_last_step():
    layer = nnx.RNN(nnx.LSTMCell(D, H, rngs=Rngs(0)), return_carry=True)
    (c, h), y = layer(X, seq_lengths=LENGTHS)
    np.testing.assert_allclose(h[0], y[0, 2], rtol=1e-6)
    np.testing.assert_allclose(h[1], y[1, 4], rtol=1e-6)
    (c_0, _), _ = layer(X[:1, :3])
    np.testing.assert_allclose(c[0], c_0[0], rtol=1e-5, atol=1e-6)


def test_carries_are_drawn_from_the_stream_of_the_layer_the_call_or_the_cell():
    init = jax.nn.initializers.normal()
    cell = nnx.LSTMCell(D, H, carry_init=init, keep_rngs=True, rngs=Rngs(0, carry=1))
    assert cell.rngs is not None
    layer = nnx.RNN(cell)
    assert layer.rngs is not None
    layer(X)
    assert (layer.rngs.tag, int(layer.rngs.count[...]), int(cell.rngs.count[...])) == (
        "carry",
        2,
        0,
    )
    key = RngStream(0, tag="carry").key[...]
    c, h = cell.initialize_carry((B, D), RngStream(0, tag="carry"))
    np.testing.assert_array_equal(c, init(jax.random.fold_in(key, 0), (B, H), jnp.float32))
    np.testing.assert_array_equal(h, init(jax.random.fold_in(key, 1), (B, H), jnp.float32))
    given = Rngs(carry=3)
    layer(X, rngs=given)
    assert given.carry.count[...] == 1  # forked
    layer(X, rngs=given.carry)
    assert given.carry.count[...] == 3
    assert layer.rngs.count[...] == 2
    own = nnx.RNN(cell, rngs=False)
    assert own.rngs is None
    own(X)
    assert cell.rngs.count[...] == 2
    with pytest.raises(NotImplementedError, match=r"does not define initialize_carry"):
        nnx.RNNCellBase().initialize_carry((B, D), carry_init=jax.nn.initializers.ones)
    ones = cell.initialize_carry((B, D), carry_init=jax.nn.initializers.ones)
    np.testing.assert_array_equal(ones[0], jnp.ones((B, H)))
    layer(X, initial_carry=ones)
    assert layer.rngs.count[...] == 2


def test_both_directions_draw_from_one_stream():
    rngs = Rngs(0, carry=1)
    cells = [nnx.GRUCell(D, H, rngs=rngs) for _ in range(2)]
    layer = nnx.Bidirectional(*map(nnx.RNN, cells), rngs=rngs, return_carry=True)
    assert rngs.carry.count[...] == 1
    (forward, backward), y = layer(X)
    assert layer.rngs is not None
    assert layer.rngs.count[...] == 2
    assert layer.forward_rnn.rngs.count[...] == 0
    np.testing.assert_allclose(y[:, -1, :H], forward, rtol=1e-6)
    np.testing.assert_allclose(y[:, 0, H:], backward, rtol=1e-6)
    again = layer(X, initial_carry=(forward, backward), return_carry=False)
    assert again.shape == (B, T, 2 * H)


class Noisy(nnx.RNNCellBase):
    """A cell with everything that a step may change: a count, a stream, an average."""

    def __init__(self, rngs):
        self.weight = Param(jnp.ones(()))
        self.steps = BatchStat(jnp.zeros(()))
        self.table = jnp.zeros(())  # an array that is not a variable
        self.noise = rngs.dropout.fork()

    def __call__(self, carry, x):
        self.steps[...] += 1
        self.table = self.table + 2
        carry = carry + self.weight[...] * x
        return carry, {"sum": carry, "noise": jax.random.uniform(self.noise(), x.shape[:1])}

    def initialize_carry(self, input_shape, rngs=None):
        return jnp.zeros(input_shape)

    @property
    def num_feature_axes(self):
        return 1


def uniform(stream_key, count):
    return jax.random.uniform(jax.random.fold_in(stream_key, count), (B,))


def test_what_a_step_changes_goes_from_step_to_step_and_back():
    for run in (lambda layer, x: layer(x), jit(lambda layer, x: layer(x))):
        cell = Noisy(Rngs(dropout=1))
        weight, steps = cell.weight, cell.steps
        key = cell.noise.key[...]
        y = run(nnx.RNN(cell), X)
        np.testing.assert_allclose(y["sum"], jnp.cumsum(X, 1), rtol=1e-5, atol=1e-6)
        expected = np.stack([uniform(key, i) for i in range(T)], 1)
        np.testing.assert_allclose(y["noise"], expected, rtol=1e-6)
        assert (float(cell.steps[...]), float(cell.table), int(cell.noise.count[...])) == (5, 10, 5)
        assert cell.weight is weight
        assert cell.steps is steps


def test_state_axes_say_how_each_part_goes_along():
    cell = Noisy(Rngs(dropout=1))
    cell.steps[...] = jnp.arange(5.0)
    layer = nnx.RNN(cell, state_axes={BatchStat: 0, RngState: Carry, Param: None, ...: Carry})
    layer(X)
    np.testing.assert_array_equal(cell.steps[...], jnp.arange(5.0) + 1)
    assert cell.noise.count[...] == 5


def test_what_each_step_sows_is_stacked_along_an_axis():
    layer = nnx.RNN(Sowing(Rngs(dropout=1)), state_axes={Intermediate: 0, ...: Carry})
    (seen,) = capture(layer, Intermediate)(X)[1]["cell"]["seen"][...]
    np.testing.assert_array_equal(seen, X.swapaxes(0, 1))


def test_the_loop_of_a_cell_is_traced_once_for_each_choice_of_options():
    traces = []

    class Traced(Noisy):
        def __call__(self, carry, x):
            traces.append(x)
            return super().__call__(carry, x)

    layer = nnx.RNN(Traced(Rngs(dropout=1)))
    layer(X)
    count = len(traces)
    layer(X)
    assert len(traces) == count
    layer.unroll = 2
    layer(X)
    assert len(traces) > count


def test_streams_that_are_broadcast_give_the_same_in_each_step():
    for chosen in ("dropout", ..., RngState):
        cell = Noisy(Rngs(dropout=1))
        key = cell.noise.key[...]
        y = nnx.RNN(cell, broadcast_rngs=chosen)(X)
        same = uniform(jax.random.split(jax.random.fold_in(key, 0), 1)[0], 0)
        np.testing.assert_allclose(y["noise"], np.stack([same] * T, 1), rtol=1e-6)
        assert cell.noise.count[...] == 1
        assert cell.noise.key[...] == key
        assert cell.steps[...] == 5


def test_lengths_with_a_cell_of_the_user_s_own():
    cell = Noisy(Rngs(dropout=1))
    carry, _ = nnx.RNN(cell, return_carry=True)(X, seq_lengths=LENGTHS)
    np.testing.assert_allclose(carry[0], X[0, :3].sum(0), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(carry[1], X[1].sum(0), rtol=1e-5, atol=1e-6)


def test_a_cell_of_a_class_other_than_the_cells():
    class Leaky(Module):
        num_feature_axes = 1

        def __init__(self):
            self.rate = Param(jnp.full(D, 0.5))

        def __call__(self, carry, x):
            carry = self.rate[...] * carry + x
            return carry, carry

    y = nnx.RNN(Leaky())(X, initial_carry=jnp.zeros((B, D)))
    np.testing.assert_allclose(y[:, 1], 0.5 * X[:, 0] + X[:, 1], rtol=1e-5)


def test_no_steps_leave_the_carry():
    for cell in (Noisy(Rngs(dropout=1)), nnx.GRUCell(D, D, rngs=Rngs(0))):
        start = jnp.ones((B, D))
        carry, y = nnx.RNN(cell, return_carry=True)(X[:, :0], initial_carry=start)
        np.testing.assert_array_equal(carry, start)
        assert all(leaf.shape[:2] == (B, 0) for leaf in jax.tree.leaves(y))


@pytest.mark.parametrize("cls", [*CELLS, nnx.ConvLSTMCell], ids=lambda c: c.__name__)
def test_dtypes_of_cells(cls):
    size = {"kernel_size": (2,)} if cls is nnx.ConvLSTMCell else {}
    cell = cls(D, H, dtype=jnp.bfloat16, param_dtype=jnp.float16, rngs=Rngs(0), **size)
    assert {p.dtype for p in jax.tree.leaves(state(cell, Param))} == {jnp.dtype(jnp.float16)}
    x = X if size else X[:, 0]
    carry = cell.initialize_carry(x.shape, Rngs(0))
    assert all(c.dtype == jnp.float16 for c in jax.tree.leaves(carry))
    carry = jax.tree.map(lambda c: c.astype(jnp.bfloat16), carry)
    _, y = cell(carry, x)
    assert y.dtype == jnp.bfloat16


def test_metadata_goes_to_the_parameters():
    marks = {f"{name}_metadata": {"a": name} for name in ("kernel", "recurrent_kernel", "bias")}
    for cls in CELLS:
        cell = cls(D, H, rngs=Rngs(0), **marks)
        found = {v.a for _, v in to_flat_state(state(cell))}
        assert found == {"kernel", "recurrent_kernel", "bias"}


def test_a_bidirectional_of_one_rnn_shares_it(caplog):
    layer = nnx.RNN(nnx.GRUCell(D, H, rngs=Rngs(0)))
    assert nnx.Bidirectional(layer, layer)(X).shape == (B, T, 2 * H)
    assert "share their parameters" in caplog.text


def test_merging_is_the_user_s():
    layers = [nnx.RNN(nnx.GRUCell(D, H, rngs=Rngs(i))) for i in range(2)]
    ours = nnx.Bidirectional(*layers, merge_fn=jnp.add)(X)
    backward = layers[1](X, reverse=True, keep_order=True)
    np.testing.assert_allclose(ours, layers[0](X) + backward, rtol=1e-6)


def test_the_minimal_gated_unit_without_reset_gate_is_linen_s():
    cell = nnx.MGUCell(D, H, reset_gate=False, rngs=Rngs(0))
    assert cell.hn.bias is None
    params = {
        name.removesuffix("_"): {
            k: v[...] for k, v in vars(getattr(cell, name)).items() if isinstance(v, Param)
        }
        for name in ("if_", "hf", "hn", "in_")
    }
    expected = linen.RNN(linen.MGUCell(H, reset_gate=False)).apply({"params": {"cell": params}}, X)
    np.testing.assert_allclose(nnx.RNN(cell)(X), expected, rtol=1e-6)


class Growing(Noisy):
    def __call__(self, carry, x):
        self.seen = Intermediate(x)
        return carry, x


class Sowing(Noisy):
    def __call__(self, carry, x):
        self.sow(Intermediate, "seen", x)
        return carry, x


class Widening(Noisy):
    def __call__(self, carry, x):
        return jnp.concatenate([carry, x], -1), x


class Plain(nnx.RNNCellBase):
    pass


def gru(**options):
    return nnx.GRUCell(D, H, rngs=Rngs(0), **options)


MISTAKES = [
    (lambda: nnx.RNN(nnx.GRUCell), ArgumentTypeError, r"RNN: RNN needs a cell, got the class GRUC"),
    (lambda: nnx.RNN(Module()), ArgumentTypeError, r"RNN needs a cell, got Module"),
    (lambda: nnx.RNN(gru(), unroll=0), ArgumentError, r"'unroll' must be at least 1, got 0"),
    (lambda: nnx.RNN(gru(), rngs=3), ArgumentTypeError, r"'rngs' must be nnx.Rngs, .* got 3"),
    (
        lambda: nnx.RNN(gru(), rngs=False)(X),
        ArgumentError,
        r"cell \(GRUCell\): GRUCell draws its first carry at random, but .* no rngs",
    ),
    (
        lambda: gru().initialize_carry((B, D), jax.random.key(0)),
        ArgumentTypeError,
        r"'rngs' of GRUCell must be nnx.Rngs or an nnx.RngStream",
    ),
    (lambda: nnx.RNN(gru())(X[0, 0]), ShapeError, r"RNN: inputs have shape \(3,\), expected"),
    (lambda: nnx.RNN(gru())(X[..., :2]), ShapeError, r"2"),
    (
        lambda: nnx.RNN(gru())(X, seq_lengths=jnp.array([6, 1, 1])),
        ShapeError,
        r"RNN: seq_lengths",
    ),
    (
        lambda: nnx.RNN(gru())(X, initial_carry=jnp.zeros((B, 7))),
        ShapeError,
        r"cell \(GRUCell\): 'h' of the carry has shape \(2, 7\), expected \(\.\.\., 4\)",
    ),
    (
        lambda: nnx.LSTMCell(D, H, rngs=Rngs(0))(jnp.zeros((B, H)), X[:, 0]),
        ArgumentTypeError,
        r"LSTMCell: carry must be a tuple of arrays \(c, h\)",
    ),
    (lambda: nnx.GRUCell(D, 0, rngs=Rngs(0)), ArgumentError, r"'hidden_features' must be at least"),
    (lambda: nnx.ConvLSTMCell(D, H, 3, rngs=Rngs(0)), ArgumentTypeError, r"'kernel_size' must be"),
    (
        lambda: nnx.Bidirectional(gru(), nnx.RNN(gru())),
        ArgumentTypeError,
        r"Bidirectional: forward_rnn must be an RNN",
    ),
    (
        lambda: nnx.Bidirectional(nnx.RNN(gru()), nnx.RNN(gru()))(X, initial_carry=jnp.zeros(3)),
        ArgumentTypeError,
        r"initial_carry must be a pair",
    ),
    (
        lambda: nnx.RNN(Growing(Rngs(dropout=1)))(X),
        ArgumentError,
        r"RNN: A step changed what Growing consists of: it adds seen",
    ),
    (
        lambda: capture(nnx.RNN(Sowing(Rngs(dropout=1))), Intermediate)(X),
        ArgumentError,
        r"RNN: A step of nnx.scan sowed 'seen' as nnx.Intermediate, .*\n  Give the type an axis",
    ),
    (
        lambda: nnx.RNN(Widening(Rngs(dropout=1)))(X),
        ShapeError,
        r"RNN: The carry has shape \(2, 6\) .* after a step, expected \(2, 3\)",
    ),
    (
        lambda: nnx.RNN(Noisy(Rngs(dropout=1)), state_axes={...: None})(X),
        ArgumentError,
        r"RNN: A step changed .*, which state_axes says is the same in each",
    ),
    (
        lambda: nnx.RNN(Noisy(Rngs(dropout=1)), state_axes={Param: None})(X),
        ArgumentError,
        r"RNN: No axis found for .* in StateAxes\({<class .*Param'>: None}\)\.\n  End with",
    ),
    (lambda: nnx.RNN(Plain())(X), NotImplementedError, r"Plain does not define num_feature_axes"),
    (
        lambda: Plain().initialize_carry((B, D)),
        NotImplementedError,
        r"Plain does not define initialize_carry\(input_shape, rngs\)",
    ),
]


@pytest.mark.parametrize(
    ("mistake", "error", "message"), MISTAKES, ids=lambda m: m[:40] if isinstance(m, str) else ""
)
def test_mistakes_say_what_to_do(mistake, error, message):
    with pytest.raises(error, match=message):
        mistake()
