"""Every hint of this package, followed to the letter."""

from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

import hints
from hints import Remedy
from linnet.layers_recurrent import functional, linen, nnx
from linnet.module_core.linen import nowrap
from linnet.module_core.nnx import (
    Carry,
    Module,
    Param,
    PathContains,
    Rngs,
    Variable,
)

SOURCES = Path(functional.__file__).parents[1]
KEY = jax.random.key(0)
XS = jnp.ones((2, 3, 2))
X = XS[:, 0]
IMAGES = jnp.ones((1, 2, 4, 4, 1))


def traced(cell, carry, x=X):
    """The shapes of a linen cell's results for one step."""
    return jax.eval_shape(lambda: cell.init_with_output(KEY, carry, x)[0])


def over(layer, xs=XS, **call):
    """The shapes of the results of linen's RNN."""
    return jax.eval_shape(lambda: layer.init_with_output(KEY, xs, **call)[0])


def lengths(given, xs=XS, **fields):
    # The values of lengths are checked, so they are not traced.
    return over(linen.RNN(linen.GRUCell(4), **fields), xs, seq_lengths=given)


def begun(cell):
    return cell.initialize_carry(KEY, X.shape)


def conv(padding="SAME", batch=1):
    cell = linen.ConvLSTMCell(2, (3, 3), padding=padding)
    return traced(cell, cell.initialize_carry(KEY, (batch, 4, 4, 1)), IMAGES[:, 0])


def conv_nnx(kernel_size):
    return nnx.RNN(nnx.ConvLSTMCell(1, 2, kernel_size, rngs=Rngs(0)))(IMAGES)


def gru(**options):
    return nnx.GRUCell(2, 4, rngs=Rngs(0), **options)


class Counted(linen.RNNCellBase):
    """A cell whose carry is one count for the whole batch, or one for each sequence."""

    for_each: bool = False

    def __call__(self, carry, x):
        return carry + 1, x

    @nowrap
    def initialize_carry(self, rng, input_shape):
        return jnp.zeros(input_shape[:-1] if self.for_each else (), int)

    num_feature_axes = 1


def counted(for_each=False, return_carry=True, seq_lengths=(1, 2)):
    layer = linen.RNN(Counted(for_each), return_carry=return_carry)
    return over(layer, seq_lengths=seq_lengths)


class Sum(Module):
    """A cell that does not inherit `RNNCellBase`."""

    num_feature_axes = 1

    def __init__(self):
        self.scale = Param(jnp.ones(2))
        self.steps = Variable(jnp.array(0))

    def __call__(self, carry, x):
        return carry + self.scale * x, x

    def initialize_carry(self, input_shape, rngs=None):
        return jnp.zeros(input_shape)


class Counting(Sum):
    def __call__(self, carry, x):
        self.steps[...] += 1
        return super().__call__(carry, x)


class Growing(Sum):
    def __call__(self, carry, x):
        self.last = Variable(x)
        return super().__call__(carry, x)


class Keeping(Sum):
    def __init__(self):
        super().__init__()
        self.last = Variable(jnp.zeros((2, 2)))

    def __call__(self, carry, x):
        self.last[...] = x
        return super().__call__(carry, x)


class Halves(Sum):
    dtype = jnp.bfloat16

    def __call__(self, carry, x):
        carry = (carry + x).astype(self.dtype)
        return carry, carry


def run(cell, initial_carry=None, **options):
    return nnx.RNN(cell, **options)(XS, initial_carry=initial_carry)


REMEDIES = [
    Remedy(
        "For example RNN({}({})).",
        lambda: over(linen.Bidirectional(linen.GRUCell(4), linen.RNN(linen.GRUCell(4)))),
        lambda: over(linen.Bidirectional(linen.RNN(linen.GRUCell(4)), linen.RNN(linen.GRUCell(4)))),
    ),
    Remedy(
        "For example RNN({}({})).",
        lambda: nnx.Bidirectional(nnx.GRUCell(2, 4, rngs=Rngs(0)), nnx.RNN(gru())),
        lambda: nnx.Bidirectional(nnx.RNN(nnx.GRUCell(2, 4, rngs=Rngs(0))), nnx.RNN(gru()))(XS),
    ),
    Remedy(
        "That is the class: pass an instance, {}(...).",
        lambda: nnx.Bidirectional(nnx.RNN, nnx.RNN),
        lambda: nnx.Bidirectional(nnx.RNN(gru()), nnx.RNN(gru()))(XS),
    ),
    Remedy(
        "Make one: RNN(",
        lambda: over(linen.RNN(linen.GRUCell)),
        lambda: over(linen.RNN(linen.GRUCell(4))),
    ),
    Remedy(
        "Make one: RNN(",
        lambda: nnx.RNN(nnx.GRUCell),
        lambda: nnx.RNN(nnx.GRUCell(2, 4, rngs=Rngs(0)))(XS),
    ),
    Remedy(
        "A cell is an instance of a subclass of RNNCellBase, e.g.",
        lambda: over(linen.RNN(64)),
        lambda: over(linen.RNN(linen.LSTMCell(64))),
    ),
    Remedy(
        "or a module with __call__(carry, inputs), initialize_carry and num_feature_axes.",
        lambda: nnx.RNN(Module()),
        lambda: run(Sum()),
    ),
    Remedy(
        "For a single step, call the cell itself.",
        lambda: nnx.RNN(gru())(X[0]),
        lambda: gru()(jnp.zeros(4), X[0]),
    ),
    Remedy(
        "Leave out return_carry or seq_lengths, or give the entry batch dimensions.",
        counted,
        lambda: [counted(return_carry=False), counted(seq_lengths=None), counted(for_each=True)],
    ),
    Remedy(
        "The cell's `initialize_carry` makes a carry that fits.",
        lambda: traced(linen.LSTMCell(4), (jnp.ones((2, 5)), jnp.ones((2, 4)))),
        lambda: traced(linen.LSTMCell(4), begun(linen.LSTMCell(4))),
    ),
    Remedy(
        "The cell's `initialize_carry` makes one.",
        lambda: traced(linen.LSTMCell(4), jnp.zeros((2, 4))),
        lambda: traced(linen.LSTMCell(4), begun(linen.LSTMCell(4))),
    ),
    Remedy(
        "A carry has the batch dimensions of the inputs and the cell's features;",
        lambda: over(linen.RNN(linen.GRUCell(4)), initial_carry=jnp.zeros((3, 4))),
        lambda: [
            over(linen.RNN(linen.GRUCell(4)), initial_carry=jnp.zeros((2, 4))),
            over(linen.RNN(linen.GRUCell(4)), initial_carry=begun(linen.GRUCell(4))),
        ],
    ),
    Remedy(
        "It holds the number of steps of each sequence; to convert a mask, sum it over time.",
        lambda: lengths(jnp.array([[True, True, False], [True, True, True]])),
        lambda: lengths(jnp.array([[True, True, False], [True, True, True]]).sum(1)),
    ),
    Remedy(
        "It holds one length for each sequence. Is the time dimension where it should be?",
        lambda: lengths([1, 2, 3]),
        lambda: [
            lengths([1, 2]),
            lengths([1, 2, 2], time_major=True),
            lengths([1, 2, 2], XS.swapaxes(0, 1)),
        ],
    ),
    Remedy(
        "It must keep the spatial dimensions (strides of 1, padding 'SAME'), and the inputs",
        lambda: conv(padding="VALID"),
        lambda: conv(padding="SAME"),
    ),
    Remedy(
        "and the inputs and the carry must have the same batch.",
        lambda: conv(batch=2),
        lambda: conv(batch=1),
    ),
    Remedy(
        "Pass one for each spatial dimension, e.g. (3, 3).",
        lambda: over(linen.RNN(linen.ConvLSTMCell(2, 3)), IMAGES),
        lambda: over(linen.RNN(linen.ConvLSTMCell(2, (3, 3))), IMAGES),
    ),
    Remedy(
        "Pass one for each spatial dimension, e.g. (3, 3).",
        lambda: conv_nnx(3),
        lambda: jax.eval_shape(lambda: conv_nnx((3, 3))),
    ),
    Remedy(
        "Pass rngs=nnx.Rngs(0), leave rngs=True in the RNN, or make the cell with keep_rngs=True.",
        lambda: nnx.RNN(gru(), rngs=False)(XS),
        lambda: [
            nnx.RNN(gru(), rngs=False)(XS, rngs=Rngs(0)),
            nnx.RNN(gru(), rngs=True)(XS),
            nnx.RNN(gru(keep_rngs=True), rngs=False)(XS),
        ],
    ),
    Remedy(
        "let state_axes begin with nnx.PathContains({}): nnx.Carry.",
        lambda: run(Counting(), state_axes={...: None}),
        lambda: run(Counting(), state_axes={PathContains("steps"): Carry, ...: None}),
    ),
    Remedy(
        "start from a carry of the cell's computation dtype.",
        lambda: run(Halves()),
        lambda: run(Halves(), jnp.zeros(X.shape, Halves.dtype)),
    ),
    Remedy(
        "make all variables in the cell's constructor, and keep what changes in them.",
        lambda: run(Growing()),
        lambda: run(Keeping()),
    ),
]


@pytest.mark.parametrize("remedy", REMEDIES, ids=lambda r: r.words[:40])
def test_a_remedy_works(remedy):
    hints.try_remedy(remedy)


def test_every_hint_has_a_remedy():
    found = hints.hints_in(SOURCES)
    assert hints.untried(found, REMEDIES) == []
    assert hints.unknown(found, [remedy.words for remedy in REMEDIES]) == []
