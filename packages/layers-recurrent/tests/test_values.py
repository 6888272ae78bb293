"""What cells and RNN compute, against loops in NumPy (`loops.py`)."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import comparing
from linnet.layers_recurrent import functional, linen
from linnet.layers_recurrent.functional import _products

from . import loops

B, T, D, H = 4, 5, 3, 2

CELLS = {
    "lstm": (linen.LSTMCell(H), loops.lstm),
    "optimized lstm": (linen.OptimizedLSTMCell(H), loops.lstm),
    "gru": (linen.GRUCell(H), loops.gru),
    "mgu": (linen.MGUCell(H), loops.mgu),
    "mgu without reset": (linen.MGUCell(H, reset_gate=False), loops.mgu_without_reset),
    "simple": (linen.SimpleCell(H), loops.simple),
    "residual": (linen.SimpleCell(H, residual=True), loops.residual),
    "conv lstm": (linen.ConvLSTMCell(H, kernel_size=(2,)), loops.conv_lstm),
    # Activations other than the default run step by step. This one is tanh, written differently.
    "gru, step by step": (
        linen.GRUCell(H, activation_fn=lambda x: 2 * jax.nn.sigmoid(2 * x) - 1),
        loops.gru,
    ),
}
FAST = [name for name in CELLS if name not in ("conv lstm", "gru, step by step")]


def inputs(name, *lead, seed=0):
    space = (3,) if name == "conv lstm" else ()
    return np.random.default_rng(seed).normal(size=(*lead, *space, D)).astype(np.float32)


def declared(name, *, seed=1):
    """Parameters of the cell, biases too, and a carry: everything is random."""
    cell, _ = CELLS[name]
    x = inputs(name, B)
    carry, params = jax.eval_shape(
        lambda: (
            cell.initialize_carry(jax.random.key(0), x.shape),
            cell.init(jax.random.key(0), cell.initialize_carry(jax.random.key(0), x.shape), x)[
                "params"
            ],
        )
    )
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda s: rng.normal(0, 0.7, s.shape).astype(s.dtype), (params, carry))


near = functools.partial(comparing.near, rtol=3e-6, atol=3e-6)


def near_where_known(ours, expected):
    known = ~np.isnan(expected)
    assert known.any()
    near(np.asarray(ours)[known], expected[known])
    assert np.isfinite(ours).all()


@pytest.mark.parametrize("name", CELLS)
def test_a_step(name):
    cell, step = CELLS[name]
    params, carry = declared(name)
    x = inputs(name, B)
    after, y = cell.apply({"params": params}, carry, x)
    wide = jax.tree.map(lambda a: a.astype(np.float64), carry)
    expected, expected_y = step(params, wide, x)
    for a, b in zip(loops.entries(after), loops.entries(expected), strict=True):
        near(a, b)
    near(y, expected_y)


@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize("lengths", [None, [0, 3, 5, 1]])
def test_a_sequence(name, lengths):
    cell, step = CELLS[name]
    params, carry = declared(name)
    xs = inputs(name, B, T)
    seq_lengths = None if lengths is None else np.array(lengths)
    last, ys = linen.RNN(cell, return_carry=True).apply(
        {"params": {"cell": params}}, xs, initial_carry=carry, seq_lengths=seq_lengths
    )
    expected, expected_ys = loops.run(step, params, carry, xs, lengths=lengths)
    for a, b in zip(loops.entries(last), expected, strict=True):
        near(a, b)
    near_where_known(ys, expected_ys)


@pytest.mark.parametrize("name", ["lstm", "gru, step by step"])
@pytest.mark.parametrize("lengths", [None, [0, 3, 5, 1]])
@pytest.mark.parametrize("keep_order", [False, True])
@pytest.mark.parametrize("time_major", [False, True])
def test_a_sequence_in_reverse(name, lengths, keep_order, time_major):
    cell, step = CELLS[name]
    params, carry = declared(name)
    xs = inputs(name, B, T)
    layer = linen.RNN(
        cell, return_carry=True, reverse=True, keep_order=keep_order, time_major=time_major
    )
    last, ys = layer.apply(
        {"params": {"cell": params}},
        xs.swapaxes(0, 1) if time_major else xs,
        initial_carry=carry,
        seq_lengths=None if lengths is None else jnp.array(lengths),
    )
    expected, expected_ys = loops.run(
        step, params, carry, xs, lengths=lengths, reverse=True, keep_order=keep_order
    )
    for a, b in zip(loops.entries(last), expected, strict=True):
        near(a, b)
    near_where_known(ys.swapaxes(0, 1) if time_major else ys, expected_ys)


@pytest.mark.parametrize("fields", [{}, {"time_major": True}, {"unroll": 2}, {"unroll": 50}])
@pytest.mark.parametrize("name", ["gru", "gru, step by step"])
def test_arguments_of_the_call_replace_fields(name, fields):
    cell, step = CELLS[name]
    params, carry = declared(name)
    xs = inputs(name, B, T)
    layer = linen.RNN(cell, **fields)
    call = {"time_major": False, "reverse": True, "keep_order": True, "return_carry": True}
    last, ys = layer.apply({"params": {"cell": params}}, xs, initial_carry=carry, **call)
    (expected,), expected_ys = loops.run(step, params, carry, xs, reverse=True, keep_order=True)
    near(last, expected)
    near(ys, expected_ys)


@pytest.mark.parametrize("time", [0, 1, 33])
@pytest.mark.parametrize("name", ["lstm", "mgu"])
def test_sequences_of_any_length(name, time):
    """33 steps of 64 sequences are four chunks of eight steps, and one chunk of a single step."""
    cell, step = CELLS[name]
    params, carry = declared(name)
    xs = inputs(name, 64, time)
    carry = jax.tree.map(lambda c: np.repeat(c, 16, axis=0), carry)
    lengths = np.arange(64) % (time + 1)
    last, ys = linen.RNN(cell, return_carry=True).apply(
        {"params": {"cell": params}}, xs, initial_carry=carry, seq_lengths=lengths
    )
    expected, _ = loops.run(step, params, carry, xs, lengths=lengths)
    _, expected_ys = loops.run(step, params, carry, xs)
    for a, b in zip(loops.entries(last), expected, strict=True):
        near(a, b, rtol=1e-5, atol=1e-5)
    assert ys.shape == (64, time, H)
    near(ys, expected_ys, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("shape", [(T, D), (2, 2, T, D), (B, 0, D), (0, T, D)])
def test_any_batch_dimensions(shape):
    cell, _ = CELLS["gru"]
    params, _ = declared("gru")
    xs = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    last, ys = linen.RNN(cell, return_carry=True).apply({"params": {"cell": params}}, xs)
    batch, time = shape[:-2], shape[-2]
    size = int(np.prod(batch))
    assert last.shape == (*batch, H)
    assert ys.shape == (*batch, time, H)
    if size:
        flat = xs.reshape(size, time, D)
        (expected,), expected_ys = loops.run(loops.gru, params, np.zeros((size, H)), flat)
        near(last.reshape(size, H), expected)
        near(ys.reshape(size, time, H), expected_ys)


# Whether tangents are computed in one product for all blocks of gates, as they are for many rows.
ONE_PRODUCT = pytest.mark.parametrize(
    ("name", "at_once"),
    [(name, False) for name in FAST if name != "optimized lstm"] + [("gru", True), ("mgu", True)],
)


@pytest.mark.usefixtures("x64")
@ONE_PRODUCT
def test_gradient_of_a_ragged_sequence(name, at_once, monkeypatch):
    """Gradients of parameters, carry and inputs, against finite differences in every direction."""
    if at_once:
        monkeypatch.setattr(_products, "ROWS_OF_ALL_BLOCKS", 1)
    cell, step = CELLS[name]
    lengths = [0, 3, 2, 1]
    params, carry = jax.tree.map(lambda a: a.astype(np.float64), declared(name))
    xs = inputs(name, B, 3).astype(np.float64)
    rng = np.random.default_rng(4)
    w_last = [rng.normal(size=(B, H)) for _ in loops.entries(carry)]
    w_ys = rng.normal(size=(B, 3, H)) * (np.arange(3) < np.array(lengths)[:, None])[..., None]
    layer = linen.RNN(cell, return_carry=True)

    @jax.jit
    def loss(at):
        params, carry, xs = at
        last, ys = layer.apply(
            {"params": {"cell": params}},
            xs,
            initial_carry=carry,
            seq_lengths=jnp.array(lengths),
        )
        lasts = last if isinstance(last, tuple) else (last,)
        return sum(jnp.sum(w * e) for w, e in zip(w_last, lasts, strict=True)) + jnp.sum(w_ys * ys)

    def by_loop(at):
        params, carry, xs = at
        last, ys = loops.run(step, params, carry, xs, lengths=lengths)
        total = sum(np.sum(w * e) for w, e in zip(w_last, last, strict=True))
        return float(total + np.sum(w_ys * np.nan_to_num(ys)))

    at = (params, carry, xs)
    np.testing.assert_allclose(loss(at), by_loop(at), rtol=1e-10)
    gradient = jax.grad(loss)(at)
    leaves, tree = jax.tree.flatten(at)
    for i, slopes in enumerate(jax.tree.leaves(gradient)):
        direction = rng.normal(size=leaves[i].shape)

        def along(h, i=i, direction=direction):
            moved = [leaf + h * direction if j == i else leaf for j, leaf in enumerate(leaves)]
            return by_loop(jax.tree.unflatten(tree, moved))

        difference = (along(1e-5) - along(-1e-5)) / 2e-5
        np.testing.assert_allclose(np.sum(slopes * direction), difference, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize(
    ("name", "at_once"), [("lstm", False), ("gru", False), ("gru", True), ("residual", False)]
)
def test_forward_mode_and_a_second_derivative(name, at_once, monkeypatch):
    """The tangent of the gradient, forward over reverse and reverse over forward."""
    if at_once:
        monkeypatch.setattr(_products, "ROWS_OF_ALL_BLOCKS", 1)
    cell, _ = CELLS[name]
    params, carry = declared(name)
    xs = inputs(name, B, 3)

    def loss(params):
        ys = linen.RNN(cell).apply({"params": {"cell": params}}, xs, initial_carry=carry)
        return jnp.sum(ys**2)

    direction = jax.tree.map(lambda p: np.ones_like(p) / 3, params)

    @jax.jit
    def products(params):
        _, forward = jax.jvp(loss, (params,), (direction,))
        gradient, over = jax.jvp(jax.grad(loss), (params,), (direction,))
        under = jax.grad(lambda p: jax.jvp(loss, (p,), (direction,))[1])(params)
        return forward, gradient, over, under

    forward, gradient, over, under = products(params)
    slope = sum(
        np.vdot(g, d)
        for g, d in zip(jax.tree.leaves(gradient), jax.tree.leaves(direction), strict=True)
    )
    near(forward, slope, rtol=2e-5, atol=2e-5)
    for a, b in zip(jax.tree.leaves(over), jax.tree.leaves(under), strict=True):
        near(a, b, rtol=2e-4, atol=2e-4)


def test_many_rows_take_one_product_for_all_gates(monkeypatch):
    """This happens only in the gradient; the forward pass has a product for each block of gates."""
    params, _ = declared("gru")
    xs = inputs("gru", 64, 2)

    def products(rows):
        monkeypatch.setattr(_products, "ROWS_OF_ALL_BLOCKS", rows)
        layer = linen.RNN(linen.GRUCell(H))
        run = functools.partial(layer.apply, {"params": {"cell": params}})
        of = {}
        for kind, f in (("forward", run), ("gradient", jax.grad(lambda x: jnp.sum(run(x) ** 2)))):
            of[kind] = str(jax.make_jaxpr(f)(xs)).count("dot_general[")
        return of

    alone, at_once = products(64 * 2 + 1), products(64 * 2)
    assert alone["forward"] == at_once["forward"]
    assert alone["gradient"] > at_once["gradient"]


def test_nothing_depends_on_padding():
    cell, _ = CELLS["lstm"]
    params, carry = declared("lstm")
    xs = inputs("lstm", B, T)
    lengths = np.array([0, 3, 5, 1])
    layer = linen.RNN(cell, return_carry=True)

    def outcome(xs):
        last, ys = layer.apply(
            {"params": {"cell": params}}, xs, initial_carry=carry, seq_lengths=lengths
        )
        valid = (np.arange(T) < lengths[:, None])[..., None]
        return sum(jnp.sum(e) for e in last) + jnp.sum(jnp.where(valid, ys, 0))

    padding = np.arange(T) >= lengths[:, None]
    slopes = jax.grad(outcome)(xs)
    assert not slopes[padding].any()
    assert slopes[~padding].all()
    assert outcome(np.where(padding[..., None], 100, xs)) == outcome(xs)


def test_lengths_may_be_traced():
    cell, _ = CELLS["gru"]
    params, carry = declared("gru")
    xs = inputs("gru", B, T)
    layer = linen.RNN(cell, return_carry=True, reverse=True)

    def run(lengths):
        return layer.apply(
            {"params": {"cell": params}}, xs, initial_carry=carry, seq_lengths=lengths
        )

    lengths = jnp.array([0, 3, 5, 1])
    for a, b in zip(jax.jit(run)(lengths), run(lengths), strict=True):
        near(a, b)


def test_the_default_carry_is_made_with_key_0_or_the_init_key():
    cell = linen.LSTMCell(H, carry_init=jax.random.normal)
    params, _ = declared("lstm")
    xs = inputs("lstm", B, T)
    variables = {"params": {"cell": params}}
    layer = linen.RNN(cell, return_carry=True)
    for given, seed in (({}, 0), ({"init_key": jax.random.key(3)}, 3)):
        carry = cell.initialize_carry(jax.random.key(seed), (B, D))
        key_c, key_h = jax.random.split(jax.random.key(seed))
        np.testing.assert_array_equal(carry[0], jax.random.normal(key_c, (B, H)))
        np.testing.assert_array_equal(carry[1], jax.random.normal(key_h, (B, H)))
        last, ys = layer.apply(variables, xs, **given)
        expected, expected_ys = layer.apply(variables, xs, initial_carry=carry)
        np.testing.assert_array_equal(ys, expected_ys)
        np.testing.assert_array_equal(last[0], expected[0])


@pytest.mark.parametrize("time_major", [False, True])
@pytest.mark.parametrize("lengths", [None, [[0, 3], [5, 1]]])
def test_flip_sequences(lengths, time_major):
    x = np.arange(2 * 2 * T * D).reshape(2, 2, T, D)
    expected = x.copy()
    for i in np.ndindex(2, 2):
        n = T if lengths is None else np.array(lengths)[i]
        expected[i] = np.concatenate([x[i][:n][::-1], x[i][n:][::-1]])
    moved = np.moveaxis(x, 2, 0) if time_major else x
    flipped = functional.flip_sequences(jnp.array(moved), lengths, 2, time_major)
    np.testing.assert_array_equal(np.moveaxis(flipped, 0, 2) if time_major else flipped, expected)
    twice = functional.flip_sequences(flipped, lengths, 2, time_major)
    np.testing.assert_array_equal(twice, moved)


@pytest.mark.parametrize(("name", "unroll"), [("lstm", 3), ("gru", 1), ("conv lstm", 2)])
def test_any_number_of_steps_in_an_exported_program(name, unroll):
    layer = linen.RNN(CELLS[name][0], unroll=unroll)
    xs, lengths = inputs(name, 2, T), np.array([5, 2])
    variables = layer.init(jax.random.key(0), xs)

    def loss(variables, xs, lengths):
        return jnp.sum(layer.apply(variables, xs, seq_lengths=lengths) ** 2)

    batch, steps = jax.export.symbolic_shape("b, t")
    arguments = (
        variables,
        jax.ShapeDtypeStruct((batch, steps, *xs.shape[2:]), xs.dtype),
        jax.ShapeDtypeStruct((batch,), lengths.dtype),
    )
    function = jax.jit(jax.value_and_grad(loss))
    program = jax.export.export(function)(*arguments)
    comparing.near(program.call(variables, xs, lengths), function(variables, xs, lengths))
