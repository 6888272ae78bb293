"""nnx recurrence: parameters, single steps and streams bit for bit; sequences up to rounding.

Linnet computes a sequence as a whole, and Flax step by step: the results agree up to rounding, as
they do in linen (`test_recurrent`). A user-defined cell runs step by step in both.
"""

import functools
import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx as flax_nnx

import comparing
import differences
from linnet.layers_recurrent import functional
from linnet.layers_recurrent import nnx as layers
from linnet.module_core import nnx

pytestmark = [
    pytest.mark.usefixtures("quick_compilation"),
    pytest.mark.filterwarnings("ignore:carry_init is provided:UserWarning"),
    pytest.mark.filterwarnings("ignore:keep_rngs argument is deprecated:UserWarning"),
]

B, T, D, H = 2, 5, 3, 4
X = jax.random.normal(jax.random.key(0), (B, T, D))
LENGTHS = jnp.array([3, 5])
BOTH = ((nnx, layers), (flax_nnx, flax_nnx))
CELLS = ["LSTMCell", "OptimizedLSTMCell", "SimpleCell", "GRUCell"]
normal = jax.nn.initializers.normal()
bf16 = jnp.bfloat16


def data(value):
    if jnp.issubdtype(value.dtype, jax.dtypes.prng_key):
        value = jax.random.key_data(value)
    return value.dtype, value.shape, np.asarray(value).tobytes()


def state_of(library, module):
    return [
        (path, type(leaf).__name__, data(leaf.get_value()))
        for path, leaf in library.to_flat_state(library.state(module))
    ]


def cells(name, **options):
    """The cell in both libraries, and the streams that it was made with."""
    streams = [library.Rngs(7, carry=3) for library, _ in BOTH]
    made = [
        getattr(package, name)(D, H, bias_init=normal, rngs=rngs, **options)
        for (_, package), rngs in zip(BOTH, streams, strict=True)
    ]
    same_states(*made)
    same_states(*streams)
    return made, streams


def same_states(ours, theirs):
    assert state_of(nnx, ours) == state_of(flax_nnx, theirs)


identical = functools.partial(comparing.identical, weak_types=False)
near = functools.partial(comparing.near, rtol=2e-5, atol=2e-5)


STEPS = [
    *((name, {"keep_rngs": True}) for name in CELLS),
    ("LSTMCell", {"dtype": bf16}),
    ("GRUCell", {"activation_fn": jnp.sin}),
]


@pytest.mark.parametrize(("name", "options"), STEPS)
def test_a_step_is_bit_for_bit_the_same(name, options):
    made, _ = cells(name, carry_init=normal, **options)
    streams = [library.Rngs(carry=5) for library, _ in BOTH]
    carries = [c.initialize_carry((B, D), r) for c, r in zip(made, streams, strict=True)]
    identical(*carries)
    same_states(*streams)
    for _ in range(2):
        carries = [cell(carry, X[:, 0])[0] for cell, carry in zip(made, carries, strict=True)]
        identical(*carries)
    if "keep_rngs" in options:
        identical(*(cell.initialize_carry((B, D)) for cell in made))
        same_states(*made)


def test_half_precision_parameters():
    cells("LSTMCell", param_dtype=bf16)


def test_residual():
    made, _ = cells("SimpleCell", residual=True)
    identical(*(cell(jnp.ones((B, H)), X[:, 0]) for cell in made))


RUNS = [
    {},
    {"time_major": True},
    {"reverse": True},
    {"reverse": True, "keep_order": True, "seq_lengths": LENGTHS},
    {"seq_lengths": LENGTHS},
]


@pytest.mark.parametrize("name", CELLS)
def test_sequences_are_near(name):
    made, _ = cells(name, carry_init=normal)
    runs = [package.RNN(cell) for (_, package), cell in zip(BOTH, made, strict=True)]
    for call in RUNS if name == "GRUCell" else RUNS[-1:]:
        x = X.swapaxes(0, 1) if call.get("time_major") else X
        near(*(run(x, return_carry=True, **call) for run in runs))
        same_states(*runs)


@pytest.mark.parametrize("rngs", ["True", "streams"])
def test_the_streams_of_rnn_and_bidirectional(rngs):
    runs = []
    for library, package in BOTH:
        streams = library.Rngs(0, carry=1)
        chosen = {"True": True, "False": False, "streams": streams}[rngs]
        pair = [
            package.RNN(
                package.GRUCell(D, H, carry_init=normal, keep_rngs=True, rngs=streams),
                rngs=chosen,
            )
            for _ in range(2)
        ]
        both = package.Bidirectional(*pair, rngs=chosen, return_carry=True)
        outputs = [
            pair[0](X),
            both(X),
            both(X, rngs=streams),
            pair[1](X, rngs=streams),
            pair[1](X, rngs=streams.carry),
            pair[1](X, rngs=streams, initial_carry=jnp.ones((B, H))),
        ]
        runs.append((both, streams, outputs))
    near(runs[0][2], runs[1][2])
    same_states(runs[0][0], runs[1][0])
    same_states(runs[0][1], runs[1][1])


def noisy(library, package):
    """A user-defined cell, with everything that a step may change."""

    class Noisy(package.RNNCellBase):
        def __init__(self, rngs):
            self.weight = library.Param(jnp.full((), 0.5))
            self.steps = library.BatchStat(jnp.zeros(()))
            self.noise = rngs.dropout.fork()
            self.other = rngs.params.fork()

        def __call__(self, carry, x):
            self.steps[...] = self.steps[...] + 1
            carry = carry * self.weight[...] + x
            return carry, carry + jax.random.uniform(self.noise(), x.shape)

        def initialize_carry(self, input_shape, rngs=None, carry_init=None):
            return jnp.zeros(input_shape)

        @property
        def num_feature_axes(self):
            return 1

    return Noisy(library.Rngs(0, dropout=1))


@pytest.mark.parametrize("broadcast", [None, "dropout"], ids=str)
def test_a_cell_of_the_user_s_own(broadcast):
    runs = []
    for library, package in BOTH:
        runs.append(
            package.RNN(noisy(library, package), broadcast_rngs=broadcast, return_carry=True)
        )
    call = {} if broadcast else {"seq_lengths": LENGTHS}
    for _ in range(2):
        near(*(run(X, **call) for run in runs), rtol=1e-6, atol=1e-6)
        same_states(*runs)


def test_gradients_are_near():
    made, _ = cells("LSTMCell")
    gradients = []
    for (library, package), cell in zip(BOTH, made, strict=True):
        graphdef, params, rest = library.split(package.RNN(cell), library.Param, ...)

        def loss(params, library=library, graphdef=graphdef, rest=rest):
            module = library.merge(graphdef, params, jax.tree.map(lambda x: x, rest))
            return jnp.sum(jnp.sin(module(X)))

        gradients.append(
            [v.get_value() for _, v in library.to_flat_state(jax.jit(jax.grad(loss))(params))]
        )
    near(*gradients, rtol=1e-4, atol=1e-4)


METHODS = [
    lambda c: c.__init__,
    lambda c: c.__call__,
    lambda c: getattr(c, "initialize_carry", None),
]


@pytest.mark.parametrize("name", [*CELLS, "RNN", "Bidirectional"])
def test_signatures(name):
    for method in METHODS:
        ours, theirs = (method(getattr(package, name)) for _, package in BOTH)
        assert (ours is None) == (theirs is None)
        if ours is None:
            continue
        a, b = (inspect.signature(f).parameters for f in (ours, theirs))
        own = set(a) - set(b)
        assert not own or f"{name}.{ours.__name__}" in differences.names("parameters", "nnx")
        assert [p for p in a if p not in own] == list(b)
        for p in b:
            assert a[p].kind == b[p].kind
            x, y = a[p].default, b[p].default
            if callable(x) and x is not inspect.Parameter.empty and not isinstance(x, type):
                assert callable(y)  # initializers, activations, promotion
            else:
                assert x == y


def test_flipping():
    flip = flax_nnx.nn.recurrent.flip_sequences
    for lengths in (None, LENGTHS):
        identical(functional.flip_sequences(X, lengths, 1, False), flip(X, lengths, 1, False))


def test_errors_of_both():
    for library, package in BOTH:
        cell = package.GRUCell(D, H, rngs=library.Rngs(0))
        with pytest.raises(ValueError, match="(?i)rngs"):
            package.RNN(cell, rngs=False)(X)
        with pytest.raises(AttributeError if package is flax_nnx else KeyError, match="carry"):
            package.RNN(cell)(X, rngs=library.Rngs(params=0))
        with pytest.raises((ValueError, TypeError), match="rngs"):
            package.RNN(cell, rngs=3)
