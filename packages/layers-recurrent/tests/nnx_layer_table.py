"""The table of nnx layers: one row per layer, from which every contract test follows.

A cell is called with a carry, and `RNN` starts from one in the parameters' type: the output's type
depends on it. `float` is the widest type that JAX is set to.
"""

import jax
import jax.numpy as jnp

from contracts import Input
from linnet.layers_recurrent import linen, nnx
from nnx_contracts import Layer

D, H = 3, 4
STATE = Input((2, H))
STEP = Input((2, D))
IMAGES = Input((2, 3, 2, H))
SEQUENCES = (Input((2, 5, D)),)


def linear(name, inputs, outputs, *, bias):
    found = {f"{name}/kernel": (inputs, outputs)}
    return {**found, f"{name}/bias": (outputs,)} if bias else found


LSTM = {}
for gate in ("i", "f", "g", "o"):
    of_input = "if_" if gate == "f" else f"i{gate}"
    LSTM |= linear(of_input, D, H, bias=False) | linear(f"h{gate}", H, H, bias=True)
JOINT_LSTM = linear("dense_i", D, 4 * H, bias=False) | linear("dense_h", H, 4 * H, bias=True)
GRU = linear("dense_i", D, 3 * H, bias=True) | linear("dense_h", H, 3 * H, bias=False)
SIMPLE = linear("dense_i", D, H, bias=True) | linear("dense_h", H, H, bias=False)
MGU = (
    linear("if_", D, H, bias=True)
    | linear("hf", H, H, bias=False)
    | linear("hn", H, H, bias=True)
    | linear("in_", D, H, bias=True)
)
CONVOLUTIONS = {
    "ih/kernel": (2, 2, D, 4 * H),
    "ih/bias": (4 * H,),
    "hh/kernel": (2, 2, H, 4 * H),
    "hh/bias": (4 * H,),
}


def under(name, shapes):
    return {f"{name}/{path}": shape for path, shape in shapes.items()}


def renamed(values):
    """One map per gate, with linen's names (`tree` takes the underscore off keywords)."""
    return values


def gates(names):
    """Maps that are stored side by side, as one per gate, like linen's."""

    def apart(values):
        found = {}
        for path, value in values.items():
            layer, name = path.split("/")
            side = layer[-1]
            for gate, piece in zip(names, jnp.split(value, len(names), -1), strict=True):
                found[f"{side}{gate}/{name}"] = piece
        return found

    return apart


def gru(values):
    # Linen's candidate has a bias for the state as well.
    return {**gates("rzn")(values), "hn/bias": jnp.zeros(H)}


def simple(values):
    return {path.removeprefix("dense_"): value for path, value in values.items()}


def tree(values):
    found = {}
    for path, value in values.items():
        layer, name = path.split("/")
        found.setdefault(layer.removesuffix("_"), {})[name] = value
    return found


def twin(module, names=renamed):
    """Linen's cell with the parameters of nnx's."""
    return lambda values, *inputs: module.apply({"params": tree(names(values))}, *inputs)


def run_twin(module, **cells):
    """Linen's RNNs with the parameters of nnx's, cell by cell."""

    def output(values, *inputs):
        params = {}
        for where, names in cells.items():
            prefix = where.replace("__", "/") + "/"
            own = {p.removeprefix(prefix): v for p, v in values.items() if p.startswith(prefix)}
            own = {p: v for p, v in own.items() if not p.startswith("rngs")}
            node = params
            for part in where.split("__"):
                node = node.setdefault(part, {})
            node.update(tree(names(own)))
        return module.apply({"params": params}, *inputs)

    return output


LAYERS = [
    Layer(
        "LSTMCell",
        lambda rngs, **options: nnx.LSTMCell(D, H, rngs=rngs, **options),
        ((STATE, STATE), STEP),
        LSTM,
        twin=twin(linen.LSTMCell(H)),
        wraps=True,
    ),
    Layer(
        "OptimizedLSTMCell",
        lambda rngs, **options: nnx.OptimizedLSTMCell(D, H, rngs=rngs, **options),
        ((STATE, STATE), STEP),
        JOINT_LSTM,
        twin=twin(linen.OptimizedLSTMCell(H), gates("ifgo")),
        wraps=True,
    ),
    Layer(
        "ConvLSTMCell",
        lambda rngs, **options: nnx.ConvLSTMCell(D, H, kernel_size=(2, 2), rngs=rngs, **options),
        ((IMAGES, IMAGES), Input((2, 3, 2, D))),
        CONVOLUTIONS,
        twin=twin(linen.ConvLSTMCell(H, kernel_size=(2, 2))),
        wraps=True,
    ),
    Layer(
        "SimpleCell",
        lambda rngs, **options: nnx.SimpleCell(D, H, residual=True, rngs=rngs, **options),
        (STATE, STEP),
        SIMPLE,
        twin=twin(linen.SimpleCell(H, residual=True), simple),
        wraps=True,
    ),
    Layer(
        "GRUCell",
        lambda rngs, **options: nnx.GRUCell(D, H, rngs=rngs, **options),
        (STATE, STEP),
        GRU,
        twin=twin(linen.GRUCell(H), gru),
        wraps=True,
    ),
    Layer(
        "MGUCell",
        lambda rngs, **options: nnx.MGUCell(D, H, rngs=rngs, **options),
        (STATE, STEP),
        MGU,
        twin=twin(linen.MGUCell(H)),
        wraps=True,
    ),
    Layer(
        "RNN, LSTM",
        lambda rngs, **options: nnx.RNN(
            nnx.LSTMCell(D, H, param_dtype=float, rngs=rngs), return_carry=True, **options
        ),
        SEQUENCES,
        under("cell", LSTM),
        twin=run_twin(linen.RNN(linen.LSTMCell(H), return_carry=True), cell=renamed),
        wraps=True,
    ),
    Layer(
        "RNN, GRU, reversed",
        lambda rngs, **options: nnx.RNN(
            nnx.GRUCell(D, H, param_dtype=float, rngs=rngs),
            reverse=True,
            keep_order=True,
            **options,
        ),
        SEQUENCES,
        under("cell", GRU),
        twin=run_twin(linen.RNN(linen.GRUCell(H), reverse=True, keep_order=True), cell=gru),
        wraps=True,
    ),
    Layer(
        "RNN, step by step",
        lambda rngs, **options: nnx.RNN(
            nnx.SimpleCell(
                D, H, activation_fn=jax.nn.sigmoid, param_dtype=float, dtype=None, rngs=rngs
            ),
            **options,
        ),
        SEQUENCES,
        under("cell", SIMPLE),
        twin=run_twin(linen.RNN(linen.SimpleCell(H, activation_fn=jax.nn.sigmoid)), cell=simple),
        wraps=True,
    ),
    Layer(
        "Bidirectional",
        lambda rngs, **options: nnx.Bidirectional(
            nnx.RNN(nnx.SimpleCell(D, H, param_dtype=float, dtype=None, rngs=rngs)),
            nnx.RNN(nnx.MGUCell(D, H, param_dtype=float, rngs=rngs)),
            **options,
        ),
        SEQUENCES,
        under("forward_rnn/cell", SIMPLE) | under("backward_rnn/cell", MGU),
        twin=run_twin(
            linen.Bidirectional(linen.RNN(linen.SimpleCell(H)), linen.RNN(linen.MGUCell(H))),
            forward_rnn__cell=simple,
            backward_rnn__cell=renamed,
        ),
        wraps=True,
    ),
]
