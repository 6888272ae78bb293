"""The documented behavior of the recurrent layers, statement by statement."""

import inspect
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import linnet.linen as nn
from comparing import near, sample

KEY = jax.random.key(0)

VECTOR_CELLS = ["LSTMCell", "OptimizedLSTMCell", "SimpleCell", "GRUCell", "MGUCell"]


def shapes(tree):
    return jax.tree.map(jnp.shape, tree)


@pytest.mark.parametrize("name", VECTOR_CELLS)
def test_a_step_of_a_cell_returns_a_carry_like_the_first(name):
    cell = getattr(nn, name)(features=5)
    x = jnp.ones((3, 2))
    first = cell.initialize_carry(KEY, x.shape)
    (carry, y), variables = jax.eval_shape(cell.init_with_output, KEY, first, x)
    assert shapes(carry) == shapes(first) == (((3, 5),) * 2 if "LSTM" in name else (3, 5))
    assert y.shape == (3, 5)
    assert set(variables) == {"params"}


def test_a_step_of_the_convolutional_lstm_keeps_the_image_s_size():
    cell = nn.ConvLSTMCell(features=2, kernel_size=(3, 2))
    x = jnp.ones((6, 4, 3))  # no batch dimension
    first = cell.initialize_carry(KEY, x.shape)
    (carry, y), _ = jax.eval_shape(cell.init_with_output, KEY, first, x)
    assert shapes(carry) == shapes(first) == ((6, 4, 2),) * 2
    assert y.shape == (6, 4, 2)


def test_shapes_of_sequences():
    def run(layer, *shape):
        output, _ = jax.eval_shape(layer.init_with_output, KEY, jnp.ones(shape))
        return shapes(output)

    # [batch, time, features], time first, and images.
    assert run(nn.RNN(nn.LSTMCell(6)), 2, 7, 3) == (2, 7, 6)
    assert run(nn.RNN(nn.LSTMCell(6), time_major=True), 7, 2, 3) == (7, 2, 6)
    images = nn.RNN(nn.ConvLSTMCell(6, kernel_size=(3, 3)))
    assert run(images, 2, 7, 5, 4, 3) == (2, 7, 5, 4, 6)
    # With the carry after the last step; the carry has no time axis.
    carry, y = run(nn.RNN(nn.LSTMCell(6), return_carry=True), 2, 7, 3)
    assert (carry, y) == (((2, 6), (2, 6)), (2, 7, 6))
    # The defaults of the scan may be written out.
    written = nn.RNN(
        nn.LSTMCell(6),
        split_rngs={"params": False},
        variable_carry=False,
        variable_broadcast="params",
        variable_axes={},
        unroll=1,
    )
    assert run(written, 2, 7, 3) == (2, 7, 6)
    # Without a batch: [time, features]; both directions side by side.
    both = nn.Bidirectional(nn.RNN(nn.GRUCell(6)), nn.RNN(nn.GRUCell(5)))
    assert run(both, 7, 3) == (7, 11)


# Signatures.

_GATED = (
    "features gate_fn=sigmoid activation_fn=tanh kernel_init recurrent_kernel_init bias_init "
    "dtype=None param_dtype carry_init"
)
SIGNATURES = {
    "LSTMCell": _GATED,
    "OptimizedLSTMCell": _GATED,
    "GRUCell": _GATED,
    "ConvLSTMCell": "features kernel_size strides=None padding='SAME' use_bias=True dtype=None "
    "param_dtype carry_init",
    "SimpleCell": "features activation_fn=tanh kernel_init recurrent_kernel_init bias_init "
    "dtype=None param_dtype carry_init residual=False",
    "MGUCell": "features gate_fn=sigmoid activation_fn=tanh kernel_init recurrent_kernel_init "
    "forget_bias_init activation_bias_init dtype=None param_dtype carry_init reset_gate=True",
    "RNN": "cell time_major=False return_carry=False reverse=False keep_order=False unroll=1 "
    "variable_axes={} variable_broadcast='params' variable_carry=False "
    "split_rngs={'params':False}",
    "Bidirectional": "forward_rnn backward_rnn merge_fn=concatenate time_major=False "
    "return_carry=False",
}


def shown(parameter):
    default = parameter.default
    if default is inspect.Parameter.empty or parameter.name.endswith("_init"):
        return parameter.name
    if parameter.name == "param_dtype":
        assert default is jnp.float32
        return parameter.name
    if callable(default):
        text = default.__name__
    else:
        text = repr(dict(default) if isinstance(default, Mapping) else default).replace(" ", "")
    return f"{parameter.name}={text}"


@pytest.mark.parametrize("name", SIGNATURES)
def test_signatures(name):
    parameters = list(inspect.signature(getattr(nn, name)).parameters.values())
    assert " ".join(shown(p) for p in parameters[:-2]) == SIGNATURES[name]
    assert [p.name for p in parameters[-2:]] == ["parent", "name"]


@pytest.mark.parametrize("layer", [nn.RNN, nn.Bidirectional])
def test_the_call_overrides_fields(layer):
    _, inputs, *options = inspect.signature(layer.__call__).parameters.values()
    assert inputs.name == "inputs"
    names = "initial_carry init_key seq_lengths return_carry time_major reverse keep_order"
    assert " ".join(p.name for p in options) == names
    assert all(p.default is None and p.kind is p.KEYWORD_ONLY for p in options)


# Cells.

X = sample((2, 3), seed=3)
XS = sample((3, 5, 3), seed=4)
LENGTHS = jnp.array([3, 2, 5])


def step(cell, x=X):
    """The carry, the result of a step, and the maps of the cell as functions."""
    carry = cell.initialize_carry(KEY, x.shape)
    variables = cell.init(KEY, carry, x)
    carry = jax.tree.map(lambda c: c + 0.3, carry)
    new, y = cell.apply(variables, carry, x)

    def map_of(params):
        return lambda a: a @ params["kernel"] + params.get("bias", 0)

    return carry, new, y, {name: map_of(p) for name, p in variables["params"].items()}


sigma = jax.nn.sigmoid


@pytest.mark.parametrize("cell", [nn.LSTMCell, nn.OptimizedLSTMCell])
def test_the_lstm_s_equations(cell):
    (c, h), (new_c, new_h), y, w = step(cell(4))
    i = sigma(w["ii"](X) + w["hi"](h))
    f = sigma(w["if"](X) + w["hf"](h))
    g = jnp.tanh(w["ig"](X) + w["hg"](h))
    o = sigma(w["io"](X) + w["ho"](h))
    near(new_c, f * c + i * g)
    near(new_h, o * jnp.tanh(new_c))
    near(y, new_h)


def test_the_optimized_lstm_s_parameters_are_those_of_the_lstm():
    carry = nn.LSTMCell(4).initialize_carry(KEY, X.shape)
    ours, other = (c(4).init(KEY, carry, X) for c in (nn.LSTMCell, nn.OptimizedLSTMCell))
    assert jax.tree.structure(ours) == jax.tree.structure(other)
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(other), strict=True):
        np.testing.assert_array_equal(a, b)
    # "It has a bias b_h*, and no bias b_i*."
    assert set(ours["params"]["ii"]) == {"kernel"}
    assert set(ours["params"]["hi"]) == {"kernel", "bias"}


def test_the_simple_cell_s_equations():
    for residual in (False, True):
        h, new, y, w = step(nn.SimpleCell(4, residual=residual))
        near(new, jnp.tanh(w["i"](X) + w["h"](h) + (h if residual else 0)))
        near(y, new)


def test_the_gru_s_equations():
    h, new, y, w = step(nn.GRUCell(4))
    r = sigma(w["ir"](X) + w["hr"](h))
    z = sigma(w["iz"](X) + w["hz"](h))
    n = jnp.tanh(w["in"](X) + r * w["hn"](h))
    near(new, (1 - z) * n + z * h)
    near(y, new)


@pytest.mark.parametrize("reset", [True, False])
def test_the_mgu_s_equations(reset):
    h, new, y, w = step(nn.MGUCell(4, reset_gate=reset))
    f = sigma(w["if"](X) + w["hf"](h))
    n = jnp.tanh(w["in"](X) + (f if reset else 1) * w["hn"](h))
    near(new, (1 - f) * n + f * h)
    near(y, new)


def test_the_convolutional_lstm_s_equations():
    cell = nn.ConvLSTMCell(features=4, kernel_size=(2, 2))
    x = sample((3, 5, 5, 2))
    c, h = carry = cell.initialize_carry(KEY, x.shape)
    variables = cell.init(KEY, carry, x)
    convolve = nn.Conv(16, (2, 2))
    of_x, of_h = (
        convolve.apply({"params": variables["params"][n]}, v) for n, v in (("ih", x), ("hh", h))
    )
    i, g, f, o = jnp.split(of_x + of_h, 4, axis=-1)
    new_c = sigma(f + 1) * c + sigma(i) * jnp.tanh(g)
    (ours_c, ours_h), y = cell.apply(variables, carry, x)
    near(ours_c, new_c)
    near(y, sigma(o) * jnp.tanh(new_c))
    near(y, ours_h)


def test_padding_strides_and_bias_of_the_convolutional_lstm():
    x = jnp.ones((3, 5, 2))
    plain = nn.ConvLSTMCell(4, (2,), use_bias=False)
    carry = plain.initialize_carry(KEY, x.shape)
    variables = plain.init(KEY, carry, x)
    assert set(variables["params"]["ih"]) == {"kernel"}
    # 'SAME' is a pair (low, high) for each dimension; a stride of 1 is what keeps the size.
    same = nn.ConvLSTMCell(4, (2,), use_bias=False, padding=[(0, 1)], strides=(1,))
    near(same.apply(variables, carry, x)[1], plain.apply(variables, carry, x)[1])


@pytest.mark.parametrize("name", VECTOR_CELLS)
def test_initializers_of_a_cell(name):
    cell = getattr(nn, name)(4)
    carry = cell.initialize_carry(KEY, X.shape)
    assert all(not c.any() and c.shape == (2, 4) for c in jax.tree.leaves(carry))
    # lecun_normal for the input, orthogonal for the hidden state, zeros for biases.
    for params_name, params in cell.init(KEY, carry, X)["params"].items():
        if params_name.startswith("h"):
            near(params["kernel"].T @ params["kernel"], np.eye(4))
        # Ones for the MGU's forget gate, against vanishing gradients.
        forget = name == "MGUCell" and params_name == "if"
        assert np.all(params.get("bias", float(forget)) == float(forget))

    def filled(value):
        return nn.initializers.constant(value)

    fields = {"kernel_init": filled(2), "recurrent_kernel_init": filled(3), "carry_init": filled(4)}
    biases = ["bias_init"]
    if name == "MGUCell":
        biases = ["forget_bias_init", "activation_bias_init"]
    cell = getattr(nn, name)(4, **fields, **{b: filled(5) for b in biases})
    carry = cell.initialize_carry(KEY, X.shape)
    assert all(np.all(c == 4) for c in jax.tree.leaves(carry))
    for params_name, params in cell.init(KEY, carry, X)["params"].items():
        assert np.all(params["kernel"] == (3 if params_name.startswith("h") else 2))
        assert np.all(params.get("bias", 5) == 5)


@pytest.mark.parametrize("name", VECTOR_CELLS)
def test_dtypes_and_functions_of_a_cell(name):
    cls = getattr(nn, name)
    carry = cls(4).initialize_carry(KEY, X.shape)
    variables = cls(
        4, param_dtype=jnp.float16, recurrent_kernel_init=nn.initializers.normal()
    ).init(KEY, carry, X)
    assert all(p.dtype == jnp.float16 for p in jax.tree.leaves(variables))
    half = jax.tree.map(lambda c: c.astype(jnp.bfloat16), carry)
    assert cls(4, dtype=jnp.bfloat16).apply(variables, half, X)[1].dtype == jnp.bfloat16
    # Inferred from inputs and parameters.
    assert cls(4).apply(variables, half, X)[1].dtype == jnp.float32
    # No activation at all: everything is linear in the parameters then, and unbounded.
    linear = cls(4, activation_fn=lambda x: 100 * x).apply(variables, carry, X)[1]
    assert np.abs(linear).max() > 1


@pytest.mark.parametrize("name", [*VECTOR_CELLS, "ConvLSTMCell"])
def test_all_dimensions_but_the_features_are_batch_dimensions(name):
    fields = {"kernel_size": (2,)} if name == "ConvLSTMCell" else {}
    cell = getattr(nn, name)(4, **fields)
    x = sample((2, 3, 5, 3))
    carry = cell.initialize_carry(KEY, x.shape)
    assert {c.shape for c in jax.tree.leaves(carry)} == {(2, 3, 5, 4)}
    _, y = cell.apply(variables := cell.init(KEY, carry, x), carry, x)
    _, one = cell.apply(variables, jax.tree.map(lambda c: c[0, 1], carry), x[0, 1])
    near(y[0, 1], one)


# RNN.


class Sum(nn.RNNCellBase):
    @nn.compact
    def __call__(self, carry, x):
        carry = carry + x
        return carry, carry

    @nn.nowrap
    def initialize_carry(self, rng, input_shape):
        return jax.random.normal(rng, input_shape)

    @property
    def num_feature_axes(self):
        return 1


def test_any_cell_is_applied_over_a_sequence():
    start = jnp.zeros((3, 3))
    near(nn.RNN(Sum()).apply({}, XS, initial_carry=start), jnp.cumsum(XS, 1))


def test_the_carry_is_initialized_with_the_init_key_or_key_0():
    for given, key in (({}, KEY), ({"init_key": jax.random.key(9)}, jax.random.key(9))):
        start = jax.random.normal(key, (3, 3))
        near(nn.RNN(Sum()).apply({}, XS, **given), start[:, None] + jnp.cumsum(XS, 1))


def test_ragged_sequences():
    """The outputs of padding aren't zeroed; the carry is that of the last valid element."""
    layer = nn.RNN(nn.LSTMCell(4), return_carry=True)
    variables = layer.init(KEY, XS)
    (c, h), y = layer.apply(variables, XS, seq_lengths=LENGTHS)
    assert y.all()
    near(h, y[np.arange(3), LENGTHS - 1])
    for b, n in enumerate(LENGTHS):
        (alone, _), _ = layer.apply(variables, XS[b : b + 1, :n])
        near(c[b : b + 1], alone)


@pytest.mark.parametrize("cell", [Sum(), nn.GRUCell(4)])
def test_reverse_and_keep_order(cell):
    plain = nn.RNN(cell)
    variables = plain.init(KEY, XS)
    backwards = plain.apply(variables, XS[:, ::-1])
    # The outputs are in the order of processing, unless keep_order reverses them.
    near(nn.RNN(cell, reverse=True).apply(variables, XS), backwards)
    near(nn.RNN(cell, reverse=True, keep_order=True).apply(variables, XS), backwards[:, ::-1])
    # keep_order alone does nothing.
    near(nn.RNN(cell, keep_order=True).apply(variables, XS), plain.apply(variables, XS))
    # Arguments of the call take precedence over fields.
    near(plain.apply(variables, XS, reverse=True), backwards)
    both = nn.RNN(cell, reverse=True, keep_order=True)
    near(both.apply(variables, XS, reverse=False), plain.apply(variables, XS))
    near(both.apply(variables, XS, keep_order=False), backwards)


def test_padding_stays_at_the_end_in_reverse():
    layer = nn.RNN(Sum(), reverse=True)
    start = jnp.zeros((3, 3))
    y = layer.apply({}, XS, initial_carry=start, seq_lengths=LENGTHS)
    for b, n in enumerate(LENGTHS):
        near(y[b, :n], jnp.cumsum(XS[b, :n][::-1], 0))


def test_time_major_and_return_carry_of_the_call():
    layer = nn.RNN(nn.GRUCell(4))
    variables = layer.init(KEY, XS)
    carry, y = layer.apply(variables, XS.swapaxes(0, 1), time_major=True, return_carry=True)
    near(y.swapaxes(0, 1), layer.apply(variables, XS))
    near(carry, y[-1])


def test_unroll_leaves_the_result():
    variables = nn.RNN(nn.GRUCell(4)).init(KEY, XS)
    expected = nn.RNN(nn.GRUCell(4)).apply(variables, XS)
    near(nn.RNN(nn.GRUCell(4), unroll=4).apply(variables, XS), expected)


class Lifted(Sum):
    @nn.compact
    def __call__(self, carry, x):
        steps = self.variable("state", "steps", lambda: jnp.zeros((), int))
        steps.value += 1
        self.sow("intermediates", "x", x)
        scale = self.param("scale", nn.initializers.normal(), (3,))
        noise = jax.random.normal(self.make_rng("noise"), x.shape)
        return carry + x * scale, noise


@pytest.mark.parametrize("split", [False, True])
def test_arguments_of_scan_are_passed_on(split):
    layer = nn.RNN(
        Lifted(),
        variable_axes={"params": 0, "intermediates": 0},
        variable_broadcast=False,
        variable_carry="state",
        split_rngs={"params": True, "noise": split},
    )
    y, variables = layer.apply(
        {"state": {"cell": {"steps": jnp.array(0)}}},
        XS,
        rngs={"params": KEY, "noise": jax.random.key(1)},
        mutable=["params", "state", "intermediates"],
    )
    assert variables["params"]["cell"]["scale"].shape == (5, 3)
    assert variables["state"]["cell"]["steps"] == 5
    assert variables["intermediates"]["cell"]["x"][0].shape == (5, 3, 3)
    assert np.array_equal(y[:, 0], y[:, 1]) != split


# Bidirectional.


def test_both_directions_are_processed_and_merged():
    forward, backward = nn.RNN(nn.GRUCell(4)), nn.RNN(nn.GRUCell(2))
    layer = nn.Bidirectional(forward, backward, return_carry=True)
    variables = layer.init(KEY, XS, seq_lengths=LENGTHS)
    carries, y = layer.apply(variables, XS, seq_lengths=LENGTHS)
    of = {name: {"params": params} for name, params in variables["params"].items()}
    options = {"seq_lengths": LENGTHS, "return_carry": True}
    ahead, ys = forward.apply(of["forward_rnn"], XS, **options)
    back, zs = backward.apply(of["backward_rnn"], XS, reverse=True, keep_order=True, **options)
    near(y, jnp.concatenate([ys, zs], -1))
    near(carries[0], ahead)
    near(carries[1], back)


def test_how_they_are_merged_is_a_function():
    ahead, back = nn.RNN(nn.MGUCell(4)), nn.RNN(nn.MGUCell(4))
    layer = nn.Bidirectional(ahead, back, merge_fn=jnp.multiply)
    y, variables = layer.init_with_output(KEY, XS)
    plain = nn.Bidirectional(ahead, back)
    forwards, backwards = jnp.split(plain.apply(variables, XS), 2, axis=-1)
    near(y, forwards * backwards)
