"""nnx linear layers: equal to Flax's bit for bit.

Each case is a layer built the same way from both libraries. Variables, the counts of streams,
and outputs are compared bit by bit, eager with eager and jitted with jitted; gradients up to
rounding.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx as theirs

import comparing
from linnet import nnx as ours

pytestmark = pytest.mark.usefixtures("quick_compilation")

LAYERS = [
    "Linear",
    "LinearGeneral",
    "Conv",
    "ConvTranspose",
    "Einsum",
    "Embed",
    "Dropout",
    "PReLU",
    "LoRA",
    "LoRALinear",
]
POOLS = ["avg_pool", "max_pool", "min_pool", "pool"]


def normal(*shape, dtype=jnp.float32):
    return jax.random.normal(jax.random.key(len(shape)), shape).astype(dtype)


def ids(*shape, below):
    return jax.random.randint(jax.random.key(5), shape, 0, below)


identical = functools.partial(comparing.identical, weak_types=False)


def data(value):
    key = jnp.issubdtype(value.dtype, jax.dtypes.prng_key)
    return jax.random.key_data(value) if key else value


def state_of(nnx, module):
    """Type, metadata except Flax's own, and value of each leaf, by path and in order."""
    own = {"hijax", "ref", "eager_sharding"}
    return {
        path: (
            type(leaf).__name__,
            {k: v for k, v in leaf.get_metadata().items() if k not in own},
            data(leaf.get_value()),
        )
        if isinstance(leaf, nnx.Variable)
        else ("array", {}, leaf)
        for path, leaf in nnx.to_flat_state(nnx.state(module))
    }


def same_state(a, b):
    mine, other = state_of(ours, a), state_of(theirs, b)
    assert list(mine) == list(other)
    for path in mine:
        assert mine[path][:2] == other[path][:2]
        identical(mine[path][2], other[path][2])


class Case(NamedTuple):
    """A layer, by its constructor's arguments, and an input; `nnx` stands for either library."""

    name: str
    args: tuple[Any, ...]
    x: Any
    options: Mapping[str, Any] = {}
    call: Mapping[str, Any] = {}

    def make(self, nnx, **more):
        rngs = nnx.Rngs(7, dropout=3)
        options = {k: v(nnx, rngs) if k in BY_LIBRARY else v for k, v in self.options.items()}
        if self.name != "PReLU":
            options["rngs"] = rngs
        return getattr(nnx, self.name)(*self.args, **options, **more), rngs


BY_LIBRARY = {"base_module", "kernel_init", "bias_init", "lora_param_type"}
BF16 = {"dtype": jnp.bfloat16}


def orthogonal(nnx, rngs):
    return nnx.initializers.orthogonal()


def normal_init(nnx, rngs):
    return nnx.initializers.normal(0.3)


def tagged(nnx, rngs):
    return nnx.with_metadata(nnx.initializers.lecun_normal(), tag="here")


def base(nnx, rngs):
    return nnx.Linear(4, 5, rngs=rngs)


VECTORS = normal(3, 4)
SEQUENCE = normal(2, 6, 4)
IMAGES = normal(2, 7, 6, 4)
CASES = [
    Case("Linear", (4, 5), VECTORS),
    Case("Linear", (4, 5), normal(2, 3, 4), {"bias_init": normal_init}),
    Case("Linear", (4, 5), VECTORS[0], {"use_bias": False}),
    Case("Linear", (4, 5), VECTORS, {"kernel_init": orthogonal, "precision": "highest"}),
    Case("Linear", (4, 5), VECTORS, BF16),
    Case("Linear", (4, 5), VECTORS.astype(jnp.bfloat16)),
    Case("Linear", (4, 5), VECTORS.astype(jnp.int32), {"param_dtype": jnp.bfloat16}),
    Case("Linear", (4, 5), VECTORS, {**BF16, "preferred_element_type": jnp.float32}),
    Case("Linear", (4, 5), VECTORS, {"kernel_metadata": {"a": 1}, "bias_metadata": {"b": 2}}),
    Case("Linear", (4, 5), VECTORS, {"kernel_init": tagged}),
    Case("LinearGeneral", (4, 5), SEQUENCE),
    Case("LinearGeneral", (4, (2, 3)), SEQUENCE, {"bias_init": normal_init}),
    Case("LinearGeneral", ((6, 4), (2, 3)), SEQUENCE, {"axis": (1, -1)}),
    Case("LinearGeneral", ((6, 4), 3), SEQUENCE, {"axis": (-1, 1), "bias_init": normal_init}),
    Case(
        "LinearGeneral",
        (4, (5, 2)),
        SEQUENCE,
        {"batch_axis": {0: 2, 1: 6}, "bias_init": normal_init},
    ),
    Case("LinearGeneral", (4, 5), SEQUENCE, {**BF16, "use_bias": False, "kernel_init": tagged}),
    Case("Conv", (4, 5, 3), SEQUENCE),
    Case("Conv", (4, 5, 3), SEQUENCE[0], {"bias_init": normal_init}),
    Case("Conv", (4, 5, (3, 2), (2, 1)), IMAGES),
    Case("Conv", (4, 6, (2, 3)), normal(2, 3, 7, 6, 4), {"padding": "VALID"}),
    Case("Conv", (4, 6, (3, 3)), IMAGES, {"padding": "CIRCULAR", "kernel_dilation": 2}),
    Case("Conv", (4, 6, (3, 2)), IMAGES, {"padding": "REFLECT", "strides": 2}),
    Case("Conv", (4, 6, 3), SEQUENCE, {"padding": "CAUSAL", "kernel_dilation": 2}),
    Case("Conv", (4, 6, (3, 2)), IMAGES, {"padding": (1, (0, 2)), "feature_group_count": 2}),
    Case("Conv", (4, 6, 3), SEQUENCE, {"padding": 2, "input_dilation": 2}),
    Case("Conv", (4, 6, 3), SEQUENCE, {"mask": np.tril(np.ones((3, 4, 6), np.float32)), **BF16}),
    Case("Conv", (4, 6, 3), SEQUENCE, {"use_bias": False, "strides": None, "input_dilation": None}),
    Case("ConvTranspose", (4, 5, 3), SEQUENCE),
    Case("ConvTranspose", (4, 5, (3, 2), (2, 1)), IMAGES, {"bias_init": normal_init}),
    Case("ConvTranspose", (4, 5, 3, 2), SEQUENCE, {"padding": "CIRCULAR"}),
    Case(
        "ConvTranspose", (4, 5, 3, 2), SEQUENCE, {"padding": "CIRCULAR", "transpose_kernel": True}
    ),
    Case("ConvTranspose", (4, 5, 3), SEQUENCE[0], {"padding": "VALID", "kernel_dilation": 2}),
    Case("ConvTranspose", (4, 5, (3, 3)), IMAGES, {"padding": ((1, 0), 2), "use_bias": False}),
    Case(
        "ConvTranspose",
        (4, 5, 3),
        SEQUENCE,
        {"mask": np.tril(np.ones((3, 4, 5), np.float32)), **BF16},
    ),
    Case("Einsum", ("nta,hab->nthb", (3, 4, 2), (3, 2)), SEQUENCE, {"bias_init": normal_init}),
    Case("Einsum", ("nta,hab->nthb", (3, 4, 2)), SEQUENCE),
    Case("Einsum", ("...a,ab->...b", (4, 5), (5,)), IMAGES, BF16),
    Case("Einsum", ("ab,bc->ac", (4, 5), (5,)), VECTORS, call={"einsum_str": "ab, bc -> ca"}),
    Case("Embed", (7, 4), ids(3, 5, below=7)),
    Case("Embed", (7, 4), ids(3, below=9) - 2, BF16),
    Case("Embed", (1, 4), ids(3, below=4)),
    Case("Embed", (7, 4), ids(3, below=7), {"param_dtype": jnp.bfloat16}),
    Case("PReLU", (), VECTORS),
    Case("PReLU", (0.3,), VECTORS.astype(jnp.bfloat16)),
    Case("PReLU", (0.3,), VECTORS, {**BF16, "negative_slope_metadata": {"a": 1}}),
    Case("PReLU", (), (3 * VECTORS).astype(jnp.int32)),
    Case("Dropout", (0.5,), SEQUENCE),
    Case("Dropout", (0.3,), SEQUENCE.astype(jnp.bfloat16), {"broadcast_dims": (1,)}),
    Case("Dropout", (0.3,), SEQUENCE, {"broadcast_dims": (0, -1), "rng_collection": "noise"}),
    Case("Dropout", (0.9,), SEQUENCE, {"deterministic": True}, {"deterministic": False}),
    Case("Dropout", (0.9,), SEQUENCE, {"deterministic": None}, {"deterministic": True}),
    Case("Dropout", (0.0,), SEQUENCE),
    Case("Dropout", (1.0,), SEQUENCE),
    Case("LoRA", (4, 2, 5), SEQUENCE),
    Case("LoRA", (4, 2, 5), SEQUENCE, {"base_module": base}),
    Case("LoRA", (4, 2, 5), SEQUENCE, {"base_module": base, **BF16}),
    Case("LoRA", (4, 2, 5), VECTORS, {"a_metadata": {"a": 1}, "param_dtype": jnp.bfloat16}),
    Case("LoRA", (4, 2, 5), VECTORS, {"lora_param_type": lambda nnx, rngs: nnx.BatchStat}),
    Case("LoRALinear", (4, 5), SEQUENCE, {"lora_rank": 2}),
    Case(
        "LoRALinear", (4, 5), SEQUENCE, {"lora_rank": 1, "bias_init": normal_init, "use_bias": True}
    ),
    Case(
        "LoRALinear",
        (4, 5),
        SEQUENCE,
        {"lora_rank": 3, "lora_dtype": jnp.bfloat16, "use_bias": False},
    ),
]
each_case = pytest.mark.parametrize(
    "case", CASES, ids=[f"{n}-{c.name}" for n, c in enumerate(CASES)]
)


def trained(nnx, module):
    """Gives an adapter's second factor values other than zeros."""
    for path, leaf in nnx.to_flat_state(nnx.state(module)):
        if path[-1] == "lora_b":
            leaf[...] = jnp.cos(jnp.arange(leaf.size, dtype=leaf.dtype)).reshape(leaf.shape)
    return module


@each_case
def test_same_parameters_and_outputs(case):
    (mine, my_rngs), (other, other_rngs) = case.make(ours), case.make(theirs)
    same_state(mine, other)
    same_state(my_rngs, other_rngs)
    trained(ours, mine), trained(theirs, other)
    for _ in range(2):  # the second time, with different counts
        identical(mine(case.x, **case.call), other(case.x, **case.call))
    same_state(mine, other)


JITTED = [0, 4, 12, 14, 19, 23, 29, 34, 38, 42, 46, 54, 58]


@pytest.mark.parametrize("case", [CASES[i] for i in JITTED], ids=[CASES[i].name for i in JITTED])
def test_same_under_jit_and_gradients(case):
    results = []
    for nnx in (ours, theirs):
        module = trained(nnx, case.make(nnx)[0])
        graphdef, params, rest = nnx.split(module, nnx.Param, ...)

        def run(params, rest, x, nnx=nnx, graphdef=graphdef):
            made = nnx.merge(graphdef, params, rest)
            y = made(x, **case.call)
            return jnp.sum(jnp.sin(y.astype(jnp.float32))), y

        (_, y), gradient = jax.value_and_grad(jax.jit(run), has_aux=True)(params, rest, case.x)
        results.append((y, nnx.to_pure_dict(gradient)))
    identical(results[0][0], results[1][0])
    for a, b in zip(*(jax.tree.leaves(g) for _, g in results), strict=True):
        np.testing.assert_allclose(
            np.asarray(a, np.float32), np.asarray(b, np.float32), rtol=1e-5, atol=1e-6
        )


def test_attend():
    mine, other = (n.Embed(7, 4, rngs=n.Rngs(0)) for n in (ours, theirs))
    for x in (VECTORS, SEQUENCE.astype(jnp.bfloat16)):
        identical(mine.attend(x), other.attend(x))


def test_dropout_by_each_kind_of_streams():
    def outputs(nnx):
        layer = nnx.Dropout(0.5, rngs=nnx.RngStream(3, tag="any"))
        streams = nnx.Rngs(4, dropout=5)
        return [
            layer(SEQUENCE),
            layer(SEQUENCE, rngs=streams),
            layer(SEQUENCE, rngs=streams.dropout),
            layer(SEQUENCE, rngs=jax.random.key(6)),
            layer(SEQUENCE),
            nnx.Dropout(0.5)(SEQUENCE, rngs=nnx.Rngs(1)),
        ]

    for mine, other in zip(outputs(ours), outputs(theirs), strict=True):
        identical(mine, other)


def test_a_model_s_streams_are_drawn_in_the_same_order():
    def model(nnx):
        rngs = nnx.Rngs(0)  # one stream for all
        return nnx.Dict(
            layers=nnx.List(
                [
                    nnx.Embed(5, 4, rngs=rngs),
                    nnx.Dropout(0.1, rngs=rngs),
                    nnx.LoRALinear(4, 4, lora_rank=2, rngs=rngs),
                    nnx.Conv(4, 4, 3, rngs=rngs),
                    nnx.PReLU(),
                    nnx.LinearGeneral(4, (2, 2), rngs=rngs),
                ]
            ),
            rngs=rngs,
        )

    same_state(model(ours), model(theirs))


def test_layers_made_by_vmap_and_run_by_scan():
    def run(nnx):
        @nnx.split_rngs(splits=3)
        @nnx.vmap
        def make(rngs):
            layers = [nnx.Linear(4, 4, rngs=rngs), nnx.Dropout(0.5, rngs=rngs)]
            return nnx.List([*layers, nnx.LoRALinear(4, 4, lora_rank=1, rngs=rngs)])

        @nnx.scan(in_axes=(0, nnx.Carry), out_axes=nnx.Carry)
        def forward(layers, x):
            return layers[2](layers[1](jnp.sin(layers[0](x))))

        model = make(nnx.Rngs(0, dropout=1))
        y = forward(model, VECTORS)

        def loss(model):
            return jnp.sum(forward(model, VECTORS) ** 2)

        adapters = nnx.DiffState(0, nnx.LoRAParam)
        gradient = nnx.to_pure_dict(nnx.grad(loss, argnums=adapters)(model))
        return [y, gradient, state_of(nnx, model)]

    (y, gradient, state), (other_y, other_gradient, other_state) = run(ours), run(theirs)
    identical(y, other_y)
    assert jax.tree.structure(gradient) == jax.tree.structure(other_gradient)
    for a, b in zip(jax.tree.leaves(gradient), jax.tree.leaves(other_gradient), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    identical([v for _, _, v in state.values()], [v for _, _, v in other_state.values()])


@pytest.mark.parametrize("name", LAYERS)
def test_attributes(name):
    case = next(c for c in CASES if c.name == name)
    mine, other = (case.make(n)[0] for n in (ours, theirs))
    names = {n for n in vars(other) if not n.startswith("_")}
    # Objects pickled by Flax lack some attributes, which are filled in when they are loaded.
    more = type(mine)._beyond_flax(vars(other))
    assert names | set(more) == {n for n in vars(mine) if not n.startswith("_")}
    assert {n: vars(mine)[n] for n in more} == more
    for attribute in names:
        a, b = getattr(mine, attribute), getattr(other, attribute)
        if b is None or isinstance(b, bool | int | float | str | tuple | type | np.dtype):
            assert a == b or (a.__name__ == b.__name__ == "LoRAParam"), attribute
        elif isinstance(b, Mapping):
            assert dict(a) == dict(b)
        else:
            assert callable(a) == callable(b)


# Signatures.


def parameters(function):
    return [(p.name, p.kind) for p in inspect.signature(function).parameters.values()]


def defaults(function):
    """Functions by kind: initializers are created separately in each library."""
    found = {p.name: p.default for p in inspect.signature(function).parameters.values()}
    return {
        name: "a function"
        if callable(d) and not isinstance(d, type)
        else d.__name__
        if isinstance(d, type)
        else dict(d)
        if isinstance(d, Mapping)
        else d
        for name, d in found.items()
    }


WIDER = {  # after Flax's
    ("ConvTranspose", "__init__"): {"feature_group_count"},
    ("ConvTranspose", "__call__"): {"out_sharding"},
    ("PReLU", "__init__"): {"num_features"},
}
METHODS = [(n, "__init__") for n in LAYERS] + [(n, "__call__") for n in LAYERS]
METHODS += [("Embed", "attend"), ("Dropout", "set_view")]


@pytest.mark.parametrize(("name", "method"), METHODS)
def test_signatures(name, method):
    mine, other = (getattr(getattr(n, name), method) for n in (ours, theirs))
    more = WIDER.get((name, method), ())
    assert [p for p in parameters(mine) if p[0] not in more] == parameters(other)
    assert {n: d for n, d in defaults(mine).items() if n not in more} == defaults(other)


@pytest.mark.parametrize("name", POOLS)
def test_pools(name):
    mine, other = getattr(ours, name), getattr(theirs, name)
    assert [n for n, _ in parameters(mine)] == [n for n, _ in parameters(other)]
    if name == "pool":
        args = (0.0, jax.lax.add, (2, 3), (1, 2), "SAME")
    else:
        args = ((2, 3), (1, 2), "SAME")
    identical(mine(IMAGES, *args), other(IMAGES, *args))


def test_overriding_functions_are_called_alike():
    """A user-defined operation that was written for Flax works here."""
    shapes = []
    for name, args, option, function in (
        ("Linear", (4, 5), "dot_general", jax.lax.dot_general),
        ("LinearGeneral", (4, 5), "dot_general", jax.lax.dot_general),
        ("Conv", (4, 5, 2), "conv_general_dilated", jax.lax.conv_general_dilated),
        ("Einsum", ("...b,bc->...c", (4, 5)), "einsum_op", jnp.einsum),
    ):
        shapes.clear()
        for nnx in (ours, theirs):

            def own(*a, function=function, **k):
                shapes.append([getattr(x, "shape", x) for x in a])
                return function(*a, **k)

            layer = getattr(nnx, name)(*args, **{option: own}, rngs=nnx.Rngs(0))
            layer(SEQUENCE)
        assert shapes[0][:2] == shapes[1][:2]
