"""Recurrent cells and layers: what Flax computes, from the same keys.

Parameters, single steps and everything that runs step by step are compared bit by bit, eager with
eager. A sequence of a built-in cell isn't computed step by step, so it is compared up to rounding,
with its gradients; to save time, its parameters are drawn with NumPy.
"""

from __future__ import annotations

import functools
import inspect

import flax.linen
import flax.linen.recurrent
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import comparing
import linnet.layers_recurrent.linen as ours_linen
from comparing import identical
from linnet.layers_recurrent.functional import flip_sequences
from linnet.module_core import linen as core

KEY = jax.random.key(7)


pytestmark = pytest.mark.usefixtures("quick_compilation")


def normal(*shape, dtype=jnp.float32):
    return jax.random.normal(jax.random.key(len(shape)), shape, dtype)


near = functools.partial(comparing.near, rtol=2e-5, atol=2e-5, scaled=True)


CLASSES = [
    "LSTMCell",
    "OptimizedLSTMCell",
    "ConvLSTMCell",
    "SimpleCell",
    "GRUCell",
    "MGUCell",
    "RNN",
    "Bidirectional",
    "RNNCellBase",
]


@pytest.mark.parametrize("name", CLASSES)
def test_signatures(name):
    ours, theirs = getattr(ours_linen, name), getattr(flax.linen, name)
    assert fields(ours) == fields(theirs)
    for method in ("__call__", "initialize_carry"):
        if method in vars(theirs):
            a, b = inspect.signature(getattr(ours, method)), inspect.signature(vars(theirs)[method])
            assert list(a.parameters) == list(b.parameters)
            for p, q in zip(a.parameters.values(), b.parameters.values(), strict=True):
                assert (p.kind, p.default) == (q.kind, q.default)


def fields(cls):
    return [
        (p.name, default_text(p.default))
        for p in inspect.signature(cls).parameters.values()
        if p.name != "parent"
    ]


def default_text(value):
    if value is inspect.Parameter.empty:
        return "required"
    if callable(value):
        return "callable"
    return repr(dict(value)) if hasattr(value, "items") else repr(value)


def cells(nn):
    return {
        "lstm": nn.LSTMCell(5),
        "lstm activations": nn.LSTMCell(5, gate_fn=jnp.cos, activation_fn=jnp.sin),
        "lstm bf16": nn.LSTMCell(5, dtype=jnp.bfloat16),
        "lstm half params": nn.LSTMCell(5, param_dtype=jnp.float16, recurrent_kernel_init=ones),
        "optimized lstm": nn.OptimizedLSTMCell(5),
        "optimized lstm activations": nn.OptimizedLSTMCell(5, gate_fn=jnp.cos),
        "optimized lstm bf16": nn.OptimizedLSTMCell(5, dtype=jnp.bfloat16),
        "simple": nn.SimpleCell(5),
        "simple relu": nn.SimpleCell(5, activation_fn=jax.nn.relu),
        "simple residual": nn.SimpleCell(5, residual=True),
        "gru": nn.GRUCell(5),
        "gru inits": nn.GRUCell(5, kernel_init=ones, bias_init=ones, carry_init=jax_normal),
        "gru bf16": nn.GRUCell(5, dtype=jnp.bfloat16),
        "mgu": nn.MGUCell(5),
        "mgu without reset": nn.MGUCell(5, reset_gate=False),
        "mgu inits": nn.MGUCell(5, forget_bias_init=jax_normal, activation_bias_init=ones),
        "complex gru": nn.GRUCell(5, param_dtype=jnp.complex64, recurrent_kernel_init=ones),
    }


def ones(key, shape, dtype=jnp.float32):
    return jnp.ones(shape, dtype) / 4


def jax_normal(key, shape, dtype=jnp.float32):
    return jax.random.normal(key, shape, dtype)


NAMES = list(cells(flax.linen))


@pytest.mark.parametrize("name", NAMES)
def test_a_step(name):
    ours, theirs = cells(ours_linen)[name], cells(flax.linen)[name]
    x = normal(2, 3, 4)
    carry = theirs.initialize_carry(KEY, x.shape)
    identical(ours.initialize_carry(KEY, x.shape), carry)
    variables = theirs.init(KEY, carry, x)
    mine = ours.init(KEY, carry, x)
    identical(mine, variables)
    assert [list(c) for c in mine.values()] == [list(c) for c in variables.values()]
    carry = jax.tree.map(lambda c: c + normal(*c.shape, dtype=c.dtype), carry)
    identical(ours.apply(variables, carry, x), theirs.apply(variables, carry, x))
    if " " not in name:
        one = jax.tree.map(lambda c: c[0, 0], carry)
        identical(ours.apply(variables, one, x[0, 0]), theirs.apply(variables, one, x[0, 0]))


@pytest.mark.parametrize("name", ["lstm", "optimized lstm", "simple", "gru", "mgu"])
def test_the_children_of_a_cell(name):
    ours, theirs = cells(ours_linen)[name], cells(flax.linen)[name]
    x = normal(3, 4)
    carry = theirs.initialize_carry(KEY, x.shape)
    variables = theirs.init(KEY, carry, x)
    seen = []

    def note(run, args, kwargs, context):
        if context.method_name == "__call__":
            module = context.module
            seen.append((module.path, type(module).__name__, context.method_name))
        return run(*args, **kwargs)

    with core.intercept_methods(note):
        ours.apply(variables, carry, x)
    mine, seen = seen, []
    with flax.linen.intercept_methods(note):
        theirs.apply(variables, carry, x)
    assert mine == seen


CONV = {
    "plain": {},
    "kernel of one dimension": {"kernel_size": (3,)},
    "no bias": {"use_bias": False},
    "circular": {"padding": "CIRCULAR"},
    "bf16": {"dtype": jnp.bfloat16},
    "strides": {"strides": (1, 1)},
}


@pytest.mark.parametrize("name", CONV)
def test_a_convolutional_step(name):
    options = {"features": 4, "kernel_size": (3, 2), **CONV[name]}
    ours, theirs = ours_linen.ConvLSTMCell(**options), flax.linen.ConvLSTMCell(**options)
    assert ours.num_feature_axes == theirs.num_feature_axes
    x = normal(2, 6, 5, 3)
    carry = theirs.initialize_carry(KEY, x.shape)
    identical(ours.initialize_carry(KEY, x.shape), carry)
    variables = theirs.init(KEY, carry, x)
    identical(ours.init(KEY, carry, x), variables)
    carry = jax.tree.map(lambda c: c + normal(*c.shape, dtype=c.dtype), carry)
    identical(ours.apply(variables, carry, x), theirs.apply(variables, carry, x))
    xs = normal(2, 3, 6, 5, 3)
    if name in ("plain", "bf16"):
        tolerance = 0.05 if name == "bf16" else 2e-5
        agree(ours_linen.RNN(ours), flax.linen.RNN(theirs), xs, tolerance, gradient=False)


RUNS = {
    "plain": ({}, {}),
    "carry": ({"return_carry": True}, {}),
    "reverse": ({"reverse": True, "return_carry": True}, {}),
    "reverse in order": ({"reverse": True, "keep_order": True}, {}),
    "order without reverse": ({"keep_order": True}, {}),
    "time-major": ({"time_major": True, "return_carry": True}, {}),
    "time-major in the call": ({}, {"time_major": True, "return_carry": True}),
    "unrolled": ({"unroll": 3}, {}),
    "ragged": ({"return_carry": True}, {"seq_lengths": jnp.array([3, 7, 1])}),
    "ragged, reverse": (
        {"return_carry": True, "reverse": True},
        {"seq_lengths": jnp.array([3, 7, 1])},
    ),
    "ragged, reverse, in order": (
        {"return_carry": True},
        {"seq_lengths": np.array([7, 2, 5]), "reverse": True, "keep_order": True},
    ),
    "ragged, time-major": (
        {"time_major": True},
        {"seq_lengths": jnp.array([3, 2, 1, 2, 2, 3, 1]), "reverse": True, "return_carry": True},
    ),
    "ragged without carry": ({}, {"seq_lengths": jnp.array([3, 7, 1])}),
    "init_key": ({"return_carry": True}, {"init_key": jax.random.key(3)}),
}


def agree(ours, theirs, xs, tolerance=2e-5, *, gradient=True, **call):
    """Outputs, and gradients if asked for, up to rounding, for the same parameters."""
    forms = [jax.eval_shape(lambda m=m: m.init(KEY, xs, **call)) for m in (ours, theirs)]
    assert forms[0] == forms[1]
    rng = np.random.default_rng(0)
    variables = jax.tree.map(lambda s: jnp.asarray(rng.normal(0, 0.4, s.shape), s.dtype), forms[0])

    def run(module):
        def loss(variables, xs):
            outputs = module.apply(variables, xs, **call)
            leaves = [y.astype(jnp.float32) for y in jax.tree.leaves(outputs)]
            return sum(jnp.sum(jnp.sin(y + i)) for i, y in enumerate(leaves)), outputs

        function = jax.grad(loss, argnums=(0, 1), has_aux=True) if gradient else loss
        return jax.jit(function)(variables, xs)

    near(run(ours), run(theirs), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", ["lstm", "gru inits", "complex gru"])
def test_the_parameters_of_a_sequence(name):
    ours = ours_linen.RNN(cells(ours_linen)[name])
    theirs = flax.linen.RNN(cells(flax.linen)[name])
    identical(ours.init(KEY, normal(3, 7, 4)), theirs.init(KEY, normal(3, 7, 4)))


@pytest.mark.parametrize(
    ("cell", "name"),
    [("gru inits", name) for name in RUNS]
    + [("lstm", name) for name in RUNS if name.startswith("ragged")],
)
def test_a_sequence(cell, name):
    made, call = RUNS[name]
    ours = ours_linen.RNN(cells(ours_linen)[cell], **made)
    theirs = flax.linen.RNN(cells(flax.linen)[cell], **made)
    agree(ours, theirs, normal(3, 7, 4), gradient=cell == "lstm", **call)


HALF = ("lstm bf16", "optimized lstm bf16", "gru bf16", "lstm half params")
# Cells whose sequences are computed as a whole, not in a scan like Flax's.
AT_ONCE = ("lstm", "lstm bf16", "simple", "simple residual", "gru", "mgu", "mgu without reset")


@pytest.mark.parametrize("name", [n for n in NAMES if "complex" not in n])
def test_a_sequence_of_any_cell(name):
    ours, theirs = cells(ours_linen)[name], cells(flax.linen)[name]
    xs = normal(128, 9, 4)  # two chunks, and one more step
    if name == "lstm half params":
        xs = xs.astype(jnp.float16)
    tolerance = 0.05 if name in HALF else 5e-5
    rnns = ours_linen.RNN(ours), flax.linen.RNN(theirs)
    agree(*rnns, xs, tolerance, gradient=name in AT_ONCE)


def test_a_sequence_of_complex_numbers():
    ours, theirs = cells(ours_linen)["complex gru"], cells(flax.linen)["complex gru"]
    xs = normal(2, 5, 4).astype(jnp.complex64) * (0.5 + 0.2j)
    variables = flax.linen.RNN(theirs).init(KEY, xs)
    mine = ours_linen.RNN(ours).apply(variables, xs)
    np.testing.assert_allclose(
        mine, flax.linen.RNN(theirs).apply(variables, xs), rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("shape", [(5, 4), (2, 3, 5, 4), (2, 0, 4), (0, 5, 4), (2, 1, 4)])
@pytest.mark.parametrize("time_major", [False, True])
def test_any_batch_dimensions(shape, time_major):
    options = {"time_major": time_major, "return_carry": True}
    ours = ours_linen.RNN(ours_linen.GRUCell(3), **options)
    theirs = flax.linen.RNN(flax.linen.GRUCell(3), **options)
    xs = normal(*shape)
    variables = ours.init(KEY, xs)
    near(jax.jit(ours.apply)(variables, xs), jax.jit(theirs.apply)(variables, xs))


def test_an_initial_carry():
    carry = (normal(3, 5), normal(3, 5) / 2)
    ours = ours_linen.RNN(ours_linen.LSTMCell(5), return_carry=True)
    theirs = flax.linen.RNN(flax.linen.LSTMCell(5), return_carry=True)
    agree(ours, theirs, normal(3, 7, 4), initial_carry=carry)


def user_cell(nn):
    class Cell(nn.RNNCellBase):
        features: int

        @nn.compact
        def __call__(self, carry, x):
            count = self.variable("state", "count", lambda: jnp.zeros(()))
            count.value += 1.0
            self.sow("intermediates", "x", x)
            x = nn.Dropout(0.5, deterministic=False)(x)
            carry = jnp.tanh(nn.Dense(self.features)(x) + carry)
            return carry, {"h": carry, "x": x}

        @nn.nowrap
        def initialize_carry(self, rng, input_shape):
            return jax.random.normal(rng, (*input_shape[:-1], self.features))

        @property
        def num_feature_axes(self):
            return 1

    return Cell(3)


class _Names:
    """What a user's cell needs, from this package and the ones below it."""

    from linnet.layers_linear.linen import Dense, Dropout
    from linnet.layers_recurrent.linen import RNNCellBase
    from linnet.module_core.linen import compact, nowrap

    compact = staticmethod(compact)
    nowrap = staticmethod(nowrap)


@pytest.mark.parametrize(
    "options",
    [
        {"reverse": True, "keep_order": True},
        {"time_major": True, "unroll": 2},
        {"variable_broadcast": False, "variable_axes": {"params": 0, "intermediates": 0}},
    ],
)
def test_a_users_cell(options):
    made = {
        "variable_axes": {"intermediates": 0},
        "variable_carry": "state",
        "split_rngs": {"params": "variable_broadcast" in options, "dropout": True},
        "return_carry": True,
        **options,
    }
    ours = ours_linen.RNN(user_cell(_Names), **made)
    theirs = flax.linen.RNN(user_cell(flax.linen), **made)
    xs = normal(3, 6, 4)
    rngs = {"params": KEY, "dropout": jax.random.key(1)}
    state = {"cell": {"count": jnp.zeros(())}}
    run = {"mutable": ["params", "state", "intermediates"], "init_key": jax.random.key(5)}
    start = {"state": state}
    (carry, ys), mine = ours.apply(start, xs, rngs=rngs, **run)
    (expected, outputs), variables = theirs.apply(start, xs, rngs=rngs, **run)
    identical((carry, ys), (expected, outputs))
    identical(mine, variables)


@pytest.mark.parametrize("lengths", [None, jnp.array([1, 4, 6])])
def test_a_users_cell_over_ragged_sequences(lengths):
    ours = ours_linen.RNN(sums(_Names), return_carry=True)
    theirs = flax.linen.RNN(sums(flax.linen), return_carry=True)
    for options in ({}, {"reverse": True}, {"reverse": True, "keep_order": True}):
        call = {"seq_lengths": lengths, **options}
        xs = normal(3, 6, 4)
        identical(ours.apply({}, xs, **call), theirs.apply({}, xs, **call))


def sums(nn):
    class Sum(nn.RNNCellBase):
        def __call__(self, carry, x):
            total, steps = carry
            return (total + x, steps + 1), {"total": total + x, "steps": steps}

        @nn.nowrap
        def initialize_carry(self, rng, input_shape):
            return jnp.zeros(input_shape), jnp.zeros(input_shape[:-1])

        @property
        def num_feature_axes(self):
            return 1

    return Sum()


BOTH = {
    "plain": ({}, {}),
    "carry": ({"return_carry": True}, {}),
    "time-major": ({"time_major": True}, {"return_carry": True}),
    "merge": ({"merge_fn": jnp.multiply}, {}),
    "ragged": ({"return_carry": True}, {"seq_lengths": jnp.array([3, 7, 1])}),
    "init_key": ({"return_carry": True}, {"init_key": jax.random.key(3)}),
    "initial_carry": ({}, {"initial_carry": (normal(3, 5), normal(3, 5) * 2)}),
    "reverse is ignored": ({}, {"reverse": True, "keep_order": False}),
}


@pytest.mark.parametrize("name", BOTH)
def test_both_directions(name):
    made, call = BOTH[name]

    def layer(nn):
        cell = nn.GRUCell(5, carry_init=jax_normal)
        return nn.Bidirectional(nn.RNN(cell), nn.RNN(nn.SimpleCell(5), reverse=True), **made)

    rnns = layer(ours_linen), layer(flax.linen)
    agree(*rnns, normal(3, 7, 4), gradient=name == "ragged", **call)


def test_one_rnn_in_both_directions():
    def layer(nn):
        rnn = nn.RNN(nn.GRUCell(5))
        return nn.Bidirectional(rnn, rnn)

    agree(layer(ours_linen), layer(flax.linen), normal(3, 7, 4), gradient=False)


def test_names_of_cells_made_inline():
    def layer(nn, compact, module):
        class Model(module):
            @compact
            def __call__(self, x):
                x = nn.RNN(nn.GRUCell(3))(x)
                shared = nn.LSTMCell(3)
                x = nn.RNN(shared)(x) + nn.RNN(shared, reverse=True)(x)
                return nn.RNN(nn.SimpleCell(3, parent=None))(x)

        return Model()

    theirs = layer(flax.linen, flax.linen.compact, flax.linen.Module)
    agree(layer(ours_linen, core.compact, core.Module), theirs, normal(2, 5, 4), gradient=False)


@pytest.mark.parametrize("time_major", [False, True])
@pytest.mark.parametrize("lengths", [None, [[1, 2, 3], [4, 3, 2]]])
def test_flipping(lengths, time_major):
    x = normal(2, 3, 4, 5)
    x = jnp.moveaxis(x, 2, 0) if time_major else x
    lengths = None if lengths is None else jnp.array(lengths)
    theirs = flax.linen.recurrent.flip_sequences(x, lengths, 2, time_major)
    identical(flip_sequences(x, lengths, 2, time_major), theirs)
