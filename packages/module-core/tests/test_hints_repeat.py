"""Every hint of repeated layers and of stacked variables, followed to the letter."""

import functools

import jax
import jax.numpy as jnp
import pytest

import hints
from hints import Remedy
from linnet.module_core import linen as nn
from linnet.module_core import nnx

from .linen_programs import KEY, Dense, X, hints_of


class Calls(nn.Module):
    """Passes its inputs to a function."""

    fn: object

    def __call__(self, *args, **kwargs):
        return self.fn(*args, **kwargs)


class Layer(nnx.Module):
    """A layer that keeps its input."""

    def __init__(self, width=None, *, kept=None, rngs=None):
        self.kept = kept

    def __call__(self, x):
        return x


def keeping(keep):
    def make(*, rngs):
        return Layer(kept=keep(rngs))

    return nnx.Repeat(make, 2, rngs=nnx.Rngs(0))


def repeated(fn, *args, length=2, **options):
    return nn.Repeat(Calls(fn), length, **options).apply({}, *args or (X,))


def alternating(*fns):
    return nn.Repeat([Calls(fn) for fn in fns], 2).apply({}, X)


def sharing(outside):
    class Model(nn.Module):
        @nn.compact
        def __call__(self, x):
            shared = Dense(name="shared")
            if not outside:
                return nn.Repeat(Calls(shared), 2)(x)
            y = shared(x)
            return nn.Repeat(Calls(lambda x, y: x + y), 2)(x, y)

    return Model().init(KEY, X)


def two(x, y):
    return x + y, y


W = jnp.ones(3)
LAYERS = {"a_0": {"w": W}, "a_1": {"w": W}}

REPEAT = [
    Remedy(
        'Pass "loop" for the keys of a Python loop, or "scan" for those of nn.scan.',
        lambda: nn.Repeat(Dense, 2, draws="split"),
        lambda: [nn.Repeat(Dense, 2, draws=d).init(KEY, X) for d in ("loop", "scan")],
    ),
    Remedy(
        'Write "{i}" where the number of the layer belongs: names="block_{i}".',
        lambda: nn.Repeat(Dense, 2, names="block"),
        lambda: nn.Repeat(Dense, 2, names="block_{i}").init(KEY, X),
    ),
    Remedy(
        "Leave layers_per_block out: it is the number of blocks.",
        lambda: nn.Repeat([Dense, Dense], 6, layers_per_block=3),
        lambda: nn.Repeat([Dense, Dense], 6).init(KEY, X),
    ),
    Remedy(
        "Leave layers_per_block out: it is the number of blocks.",
        lambda: nnx.Repeat([Layer, Layer], 6, layers_per_block=3),
        lambda: nnx.Repeat([Layer, Layer], 6)(X),
    ),
    Remedy(
        "Write nn.Repeat(Block, 24), or nn.Repeat(functools.partial(Block, width), 24).",
        lambda: nn.Repeat("Dense", 24),
        lambda: [
            nn.Repeat(Dense, 24).init(KEY, X),
            nn.Repeat(functools.partial(Dense, 3), 24).init(KEY, X),
        ],
    ),
    Remedy(
        "A block is a module, or a class or function without arguments that makes one.",
        lambda: nn.Repeat(lambda: X, 2),
        lambda: [nn.Repeat(b, 2).init(KEY, X) for b in (Dense(), Dense, lambda: Dense())],
    ),
    Remedy(
        "Variables of Repeat exist once for each layer. Call the shared module outside,",
        lambda: sharing(outside=False),
        lambda: sharing(outside=True),
    ),
    Remedy(
        "Write nnx.Repeat(Block, 24, *arguments, rngs=rngs): each layer needs parameters",
        lambda: nnx.Repeat(Layer(), 24),
        lambda: nnx.Repeat(Layer, 24, 3, rngs=nnx.Rngs(0)),
    ),
    Remedy(
        "A block is the class of a layer, or a function that makes one.",
        lambda: nnx.Repeat(lambda: X, 2),
        lambda: [nnx.Repeat(Layer, 2), nnx.Repeat(lambda: Layer(), 2)],
    ),
    Remedy(
        "Keep it as an attribute of a module, or keep stream.fork().",
        lambda: keeping(lambda rngs: nnx.data((rngs.noise,))),
        lambda: [
            keeping(lambda rngs: rngs.noise),
            keeping(lambda rngs: nnx.data((rngs.noise.fork(),))),
        ],
    ),
    Remedy(
        "Every step runs {}: pass length={}, or a different layers_per_block.",
        lambda: nn.Repeat(Dense, 5, layers_per_block=2),
        lambda: [nn.Repeat(Dense, 4, layers_per_block=2), nn.Repeat(Dense, 5, layers_per_block=5)],
        filled=("2 layers", "4"),
    ),
    Remedy(
        "Pass one of {}, True, or a policy of jax.checkpoint_policies.",
        lambda: nn.Repeat(Dense, 2, remat="all"),
        lambda: [
            nn.Repeat(Dense, 2, remat=r)
            for r in ("nothing", "dots", True, jax.checkpoint_policies.everything_saveable)
        ],
    ),
    Remedy(
        "Pass one of {}, or a policy of jax.checkpoint_policies.",
        lambda: nn.Repeat(Dense, 2, remat=1),
        lambda: nn.Repeat(Dense, 2, remat="dots_no_batch"),
    ),
    Remedy(
        "Pass by position what each layer returns for the next one.",
        lambda: nn.Repeat(Calls(lambda x: x), 2).apply({}, x=X),
        lambda: nn.Repeat(Calls(lambda x: x), 2).apply({}, X),
    ),
    Remedy(
        "Stack the layers' values along a new first axis.",
        lambda: repeated(lambda x, y: x + y, X, 1.0, per_layer=(1,)),
        lambda: repeated(lambda x, y: x + y, X, jnp.stack([1.0, 1.0]), per_layer=(1,)),
    ),
    Remedy(
        "Repeat passes a layer's output to the next layer: return a value like the first",
        lambda: repeated(lambda x: [x, x]),
        lambda: [repeated(lambda x: 2 * x), repeated(lambda x: (2 * x, x.sum()))],
    ),
    Remedy(
        "Return a tuple that begins with the new values of the first {}.",
        lambda: repeated(lambda x, y: x + y, X, X, carry=2),
        lambda: repeated(two, X, X, carry=2),
        filled=("2 arguments",),
    ),
    Remedy(
        "What goes from layer to layer must keep its structure.",
        lambda: repeated(lambda x, y: ([x], y), X, X, carry=2),
        lambda: repeated(two, X, X, carry=2),
    ),
    Remedy(
        "Equal layers need inputs of one shape: each one's output is the next one's input.",
        lambda: repeated(lambda x: x[:1]),
        lambda: repeated(lambda x: x.at[1:].set(0)),
    ),
    Remedy(
        "Pass x.astype({}), or make the layer compute in {} (dtype=).",
        lambda: repeated(lambda x: x.astype("bfloat16")),
        lambda: [
            repeated(lambda x: x.astype("bfloat16"), X.astype("bfloat16")),
            repeated(lambda x: x.astype("float32")),
        ],
        filled=("'bfloat16'", "float32"),
    ),
    Remedy(
        "Outputs of all layers are stacked, so their structures must agree.",
        lambda: alternating(lambda x: (x, x), lambda x: x),
        lambda: alternating(lambda x: (x, x), lambda x: (x, -x)),
    ),
    Remedy(
        "Layers are numbered from 0, without gaps.",
        lambda: nn.stack_layers({"a_0": W, "a_2": W}, "a_{i}", "b"),
        lambda: nn.stack_layers({"a_0": W, "a_1": W}, "a_{i}", "b"),
    ),
    Remedy(
        'Write {} once, in the last part of the path: "Block_{}".',
        lambda: nn.stack_layers(LAYERS, "a", "b"),
        lambda: nn.stack_layers(LAYERS, "a_{i}", "b"),
        filled=("{i}", "{i}"),
    ),
    Remedy(
        'Write {j} for the number of a layer in its step: "{}_{j}".',
        lambda: nn.stack_layers(LAYERS, "a_{i}", "b", layers_per_block=2),
        lambda: nn.stack_layers(LAYERS, "a_{i}", "b_{j}", layers_per_block=2),
        filled=("b",),
    ),
    Remedy(
        "Give the path of the layers within the collection.",
        lambda: nn.stack_layers({"p": LAYERS}, "A_{i}", "b"),
        lambda: nn.stack_layers({"p": LAYERS}, "a_{i}", "b"),
    ),
    Remedy(
        "Only layers of one kind can be stacked. If kinds alternate, pass layers_per_block=.",
        lambda: nn.stack_layers({"a_0": {"w": W}, "a_1": {"v": W}}, "a_{i}", "b"),
        lambda: nn.stack_layers(
            {"a_0": {"w": W}, "a_1": {"v": W}}, "a_{i}", "b_{j}", layers_per_block=2
        ),
    ),
    Remedy(
        "Only layers of one shape can be stacked.",
        lambda: nn.stack_layers({"a_0": W, "a_1": jnp.ones(4)}, "a_{i}", "b"),
        lambda: nn.stack_layers({"a_0": W, "a_1": W}, "a_{i}", "b"),
    ),
]


@pytest.mark.parametrize("remedy", REPEAT, ids=lambda r: r.words[:40])
def test_a_remedy_works(remedy):
    hints.try_remedy(remedy)


def test_every_hint_has_a_remedy():
    found = hints_of("repeat")
    assert hints.untried(found, REPEAT) == []
    assert hints.unknown(found, [remedy.words for remedy in REPEAT]) == []
