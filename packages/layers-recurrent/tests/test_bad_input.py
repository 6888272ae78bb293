"""The errors that bad input raises, and their messages."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from linnet.layers_recurrent import functional, linen
from linnet.module_core import errors
from linnet.module_core.linen import Module, compact

KEY = jax.random.key(0)
XS = jnp.ones((2, 5, 3))
X = XS[:, 0]
RNN = linen.RNN(linen.LSTMCell(4))
GRU = linen.GRUCell(4)
STATE = jnp.zeros((2, 4))


def cell_call(cell, carry, x=X):
    return lambda: jax.eval_shape(lambda: cell.init(KEY, carry, x))


def rnn_call(layer, xs=XS, **call):
    return lambda: layer.init(KEY, xs, **call)


AFFINE = functional.Affine(jnp.ones((3, 4))), functional.Affine(jnp.eye(4))
SIMPLE = functional.SimpleMaps(*AFFINE)

REFUSALS = {
    "features of zero": (
        cell_call(linen.GRUCell(0), STATE),
        errors.ArgumentError,
        ["GRUCell: 'features' must be at least 1, got 0."],
    ),
    "features that are not an integer": (
        cell_call(linen.LSTMCell(4.0), (STATE, STATE)),
        errors.ArgumentTypeError,
        ["'features' must be an integer, got 4.0 (float).", "Write 4"],
    ),
    "features that are text": (
        cell_call(linen.SimpleCell("many"), STATE),
        errors.ArgumentTypeError,
        ["'features' must be an integer, got 'many' (str)."],
    ),
    "an LSTM's carry that is one array": (
        cell_call(linen.LSTMCell(4), STATE),
        errors.ArgumentTypeError,
        [
            "LSTMCell: carry must be a tuple of arrays (c, h), got one array of shape (2, 4).",
            "The cell's `initialize_carry` makes one.",
        ],
    ),
    "a carry of three": (
        cell_call(linen.OptimizedLSTMCell(4), (STATE, STATE, STATE)),
        errors.ArgumentTypeError,
        ["carry must be a tuple of arrays (c, h), got a tuple of 3."],
    ),
    "a GRU's carry that is a tuple": (
        cell_call(GRU, (STATE, STATE)),
        errors.ArgumentTypeError,
        ["GRUCell: carry must be one array, got a tuple of 2."],
    ),
    "no carry": (
        cell_call(GRU, None),
        errors.ArgumentTypeError,
        ["carry must be one array, got None (NoneType)."],
    ),
    "a carry of one feature, which would be taken for all": (
        cell_call(GRU, jnp.ones((2, 1))),
        errors.ShapeError,
        ["'h' of the carry has shape (2, 1), expected (..., 4) for features=4."],
    ),
    "a memory of other features": (
        cell_call(linen.LSTMCell(4), (jnp.ones((2, 5)), STATE)),
        errors.ShapeError,
        ["'c' of the carry has shape (2, 5), expected (..., 4) for features=4."],
    ),
    "a scalar as the input shape of a carry": (
        lambda: GRU.initialize_carry(KEY, ()),
        errors.ArgumentError,
        ["input_shape must have at least one dimension (the features), got ()."],
    ),
    "a convolution that shrinks": (
        cell_call(
            linen.ConvLSTMCell(4, kernel_size=(3,), padding="VALID"),
            (jnp.zeros((2, 6, 4)), jnp.zeros((2, 6, 4))),
            jnp.ones((2, 6, 3)),
        ),
        errors.ShapeError,
        ["'ih' returns shape (2, 4, 16), expected (2, 6, 16)", "padding 'SAME'"],
    ),
    "a kernel size that is a number": (
        rnn_call(linen.RNN(linen.ConvLSTMCell(4, kernel_size=3)), jnp.ones((2, 5, 6, 3))),
        errors.ArgumentTypeError,
        ["'kernel_size' must be a sequence of ints, got 3.", "e.g. (3, 3)"],
    ),
    "a cell class": (
        rnn_call(linen.RNN(linen.LSTMCell)),
        errors.ArgumentTypeError,
        ["RNN: RNN needs a cell, got the class LSTMCell.", "Make one: RNN(LSTMCell(features))."],
    ),
    "something else as a cell": (
        rnn_call(linen.RNN(64)),
        errors.ArgumentTypeError,
        ["RNN needs a cell, got int: 64.", "an instance of a subclass of RNNCellBase"],
    ),
    "inputs of one dimension": (
        rnn_call(RNN, jnp.ones(3)),
        errors.ShapeError,
        ["inputs have shape (3,), expected (*batch, time, *features)", "call the cell itself"],
    ),
    "images of too few dimensions, time-major": (
        rnn_call(linen.RNN(linen.ConvLSTMCell(4, (3, 3)), time_major=True), jnp.ones((5, 6, 6))),
        errors.ShapeError,
        ["inputs have shape (5, 6, 6), expected (time, *batch, *features) with 3 feature"],
    ),
    "inputs that are text": (
        rnn_call(RNN, "text"),
        errors.ArgumentTypeError,
        ["inputs must be an array of numbers, got str: 'text'."],
    ),
    "no turn of the loop": (
        rnn_call(linen.RNN(GRU, unroll=0)),
        errors.ArgumentError,
        ["RNN: 'unroll' must be at least 1, got 0."],
    ),
    "lengths of a different batch": (
        rnn_call(RNN, seq_lengths=jnp.array([1, 2, 3])),
        errors.ShapeError,
        ["seq_lengths has shape (3,), expected the batch's (2,).", "Is the time dimension"],
    ),
    "lengths for the wrong order of dimensions": (
        rnn_call(RNN, seq_lengths=np.array([1, 2]), time_major=True),
        errors.ShapeError,
        ["seq_lengths has shape (2,), expected the batch's (5,)."],
    ),
    "a mask for the lengths": (
        rnn_call(RNN, seq_lengths=np.array([True, False])),
        errors.ArgumentTypeError,
        ["seq_lengths must be an array of integers, got dtype bool.", "to convert a mask, sum it"],
    ),
    "lengths that are not an array": (
        rnn_call(RNN, seq_lengths="all"),
        errors.ArgumentTypeError,
        ["seq_lengths must be an array of integers, got str."],
    ),
    "a length beyond the inputs": (
        rnn_call(RNN, seq_lengths=np.array([1, 6])),
        errors.ArgumentError,
        ["seq_lengths must be between 0 and the 5 steps of the inputs, got 6."],
    ),
    "a negative length": (
        rnn_call(RNN, seq_lengths=[-1, 2]),
        errors.ArgumentError,
        ["seq_lengths must be between 0 and the 5 steps of the inputs, got -1."],
    ),
    "an initial carry of a different batch": (
        rnn_call(linen.RNN(GRU), initial_carry=jnp.zeros((3, 4))),
        errors.ShapeError,
        ["'h' of the carry has shape (3, 4), expected (2, 4).", "the batch dimensions of"],
    ),
    "an initial carry of other features": (
        rnn_call(RNN, initial_carry=(STATE, jnp.zeros((2, 5)))),
        errors.ShapeError,
        ["'h' of the carry has shape (2, 5), expected (..., 4)"],
    ),
    "one carry for both directions": (
        rnn_call(linen.Bidirectional(linen.RNN(GRU), linen.RNN(GRU)), initial_carry=STATE),
        errors.ArgumentTypeError,
        ["Bidirectional: initial_carry must be a pair (forward carry, backward carry), got "],
    ),
    "a cell that lacks what RNN asks for": (
        rnn_call(linen.RNN(linen.RNNCellBase())),
        NotImplementedError,
        ["RNNCellBase does not define num_feature_axes.", "Every RNNCellBase defines __call__"],
    ),
    "a function's inputs without a time dimension": (
        lambda: functional.simple_sequence(SIMPLE, STATE, jnp.ones(3)),
        errors.ShapeError,
        ["inputs have shape (3,), expected (time, *batch, features): at least 2 dimensions."],
    ),
    "a function's lengths": (
        lambda: functional.simple_sequence(SIMPLE, STATE, jnp.ones((5, 2, 3)), lengths=[7, 1]),
        errors.ArgumentError,
        ["seq_lengths must be between 0 and the 5 steps of the inputs, got 7."],
    ),
    "flipping without a time dimension": (
        lambda: functional.flip_sequences(jnp.ones(3), None, 1, time_major=False),
        errors.ShapeError,
        ["inputs have shape (3,), expected 1 batch dimension and a time dimension."],
    ),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_the_message_says_how_to_fix_it(name):
    call, kind, says = REFUSALS[name]
    with pytest.raises(kind) as refused:
        call()
    for part in says:
        assert part in str(refused.value), str(refused.value)


@pytest.mark.parametrize("layer", [RNN, linen.RNN(linen.LSTMCell(4, gate_fn=jnp.cos))])
def test_parameters_made_for_other_inputs(layer):
    variables = RNN.init(KEY, XS)
    with pytest.raises(errors.ScopeParamShapeError, match=r"\(3, 4\)") as refused:
        layer.apply(variables, jnp.ones((2, 5, 7)))
    assert "cell/ii" in str(refused.value)


def test_a_message_names_the_place():
    class Tagger(Module):
        @compact
        def __call__(self, x):
            return linen.RNN(linen.GRUCell(4), name="encoder")(x, seq_lengths=[9, 9])

    with pytest.raises(errors.ArgumentError, match=r"^encoder \(RNN\): seq_lengths must"):
        Tagger().init(KEY, XS)


def test_traced_lengths_are_taken_as_they_are():
    variables = RNN.init(KEY, XS)
    run = jax.jit(lambda n: RNN.apply(variables, XS, seq_lengths=n, return_carry=True))
    assert np.isfinite(run(jnp.array([9, -3]))[1]).all()
