"""The table of layers: one row per layer, from which every contract test follows.

A cell is called with a carry, and `RNN` starts from one in the parameters' type: the output's type
depends on it (`test_dtypes.py` has the rules). `float` is the widest type that JAX allows.
"""

import jax

from contracts import Input, Layer
from linnet.layers_recurrent import linen

D, H = 3, 4
STATE = Input((2, H))
STEP = Input((2, D))
IMAGES = Input((2, 3, 2, H))
SEQUENCES = (Input((2, 5, D)),)


def affine(inputs, *, bias):
    return {"kernel": (inputs, H), **({"bias": (H,)} if bias else {})}


def gates(names, *, input_bias="", state_bias=""):
    """The maps i* and h* of each gate; those named in `input_bias` or `state_bias` have a bias."""
    maps = {f"i{g}": affine(D, bias=g in input_bias) for g in names}
    return {**maps, **{f"h{g}": affine(H, bias=g in state_bias) for g in names}}


LSTM = gates("ifgo", state_bias="ifgo")
GRU = gates("rzn", input_bias="rzn", state_bias="n")
MGU = gates("fn", input_bias="fn", state_bias="n")
SIMPLE = {"i": affine(D, bias=True), "h": affine(H, bias=False)}
CONVOLUTIONS = {
    "ih": {"kernel": (2, 2, D, 4 * H), "bias": (4 * H,)},
    "hh": {"kernel": (2, 2, H, 4 * H), "bias": (4 * H,)},
}

LAYERS = [
    Layer(
        "LSTMCell",
        lambda **fields: linen.LSTMCell(H, **fields),
        ((STATE, STATE), STEP),
        LSTM,
        wraps=True,
    ),
    Layer(
        "OptimizedLSTMCell",
        lambda **fields: linen.OptimizedLSTMCell(H, **fields),
        ((STATE, STATE), STEP),
        LSTM,
        wraps=True,
    ),
    Layer(
        "ConvLSTMCell",
        lambda **fields: linen.ConvLSTMCell(H, kernel_size=(2, 2), **fields),
        ((IMAGES, IMAGES), Input((2, 3, 2, D))),
        CONVOLUTIONS,
        wraps=True,
    ),
    Layer(
        "SimpleCell",
        lambda **fields: linen.SimpleCell(H, residual=True, **fields),
        (STATE, STEP),
        SIMPLE,
        wraps=True,
    ),
    Layer(
        "GRUCell",
        lambda **fields: linen.GRUCell(H, **fields),
        (STATE, STEP),
        GRU,
        wraps=True,
    ),
    Layer(
        "MGUCell",
        lambda **fields: linen.MGUCell(H, **fields),
        (STATE, STEP),
        MGU,
        wraps=True,
    ),
    Layer(
        "RNN, LSTM",
        lambda **fields: linen.RNN(
            linen.LSTMCell(H, param_dtype=float), return_carry=True, **fields
        ),
        SEQUENCES,
        {"cell": LSTM},
        wraps=True,
        carries=True,
    ),
    Layer(
        "RNN, GRU, reversed",
        lambda **fields: linen.RNN(
            linen.GRUCell(H, param_dtype=float), reverse=True, keep_order=True, **fields
        ),
        SEQUENCES,
        {"cell": GRU},
        wraps=True,
        carries=True,
    ),
    Layer(
        "RNN, step by step",
        lambda **fields: linen.RNN(
            linen.SimpleCell(H, activation_fn=jax.nn.sigmoid, param_dtype=float), **fields
        ),
        SEQUENCES,
        {"cell": SIMPLE},
        wraps=True,
        carries=True,
        sums_in_loop=True,  # as in any scan; LSTM and GRU define their derivative
    ),
    Layer(
        "Bidirectional",
        lambda **fields: linen.Bidirectional(
            linen.RNN(linen.SimpleCell(H, param_dtype=float)),
            linen.RNN(linen.MGUCell(H, param_dtype=float)),
            **fields,
        ),
        SEQUENCES,
        {"forward_rnn": {"cell": SIMPLE}, "backward_rnn": {"cell": MGU}},
        wraps=True,
        carries=True,
    ),
]
