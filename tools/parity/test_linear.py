"""Linear, convolution, embedding, pooling and dropout layers: equal to Flax's bit for bit.

Each case is a layer built the same way from both libraries. Parameters are compared bit by bit;
outputs too, eager with eager and jitted with jitted (fusion changes rounding, so never one with the
other).
"""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import flax.linen
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import linnet.linen
from comparing import identical

KEY = jax.random.key(7)
bf16, f16, c64 = jnp.bfloat16, jnp.float16, jnp.complex64


def normal(*shape, dtype=jnp.float32):
    return jax.random.normal(jax.random.key(len(shape)), shape, dtype)


X = normal(3, 5, 4)
IMAGE = normal(2, 7, 6, 4)
IDS = jnp.array([[0, 4, 2], [-1, 5, -9]])


class Case(NamedTuple):
    name: str
    make: Callable[[Any], Any]
    inputs: tuple[Any, ...] = (X,)


def dense(name, *inputs, **fields):
    return Case(f"Dense {name}", lambda nn: nn.Dense(6, **built(nn, fields)), inputs or (X,))


def shown(fields):
    """Fields as a test's name, the same in each process."""
    values = {k: getattr(v, "shape", getattr(v, "__name__", v)) for k, v in fields.items()}
    return ", ".join(f"{k}={v}" for k, v in values.items())


def built(nn, fields):
    """The fields; those that hold an object of the library are given as functions of the library.

    If a case tests neither an initializer nor its dtype, `drawn` replaces the initializer.
    """
    made = {
        k: v(nn) if getattr(v, "__name__", "").startswith("of_") else v for k, v in fields.items()
    }
    if fields and not fields.keys() & {"kernel_init", "embedding_init", "param_dtype"}:
        made["kernel_init"] = drawn
    return made


def drawn(key, shape, dtype):
    """A kernel that depends on key, shape and dtype, and takes no time to compile."""
    if isinstance(key, jax.core.Tracer):  # Flax asks for an initializer's shape
        return jnp.zeros(shape, dtype)
    seed = np.asarray(jax.random.key_data(key))
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), dtype)


def of_normal(nn):
    return nn.initializers.normal(0.3)


def of_glorot(nn):
    return nn.initializers.glorot_uniform()


def of_narrow(nn):
    def promote(*args, dtype=None, inexact=True):
        return nn.dtypes.promote_dtype(*args, dtype=jnp.bfloat16, inexact=inexact)

    return promote


def doubled(lhs, rhs, dimension_numbers, precision=None):
    return 2 * lax.dot_general(lhs, rhs, dimension_numbers, precision=precision)


def to_half(lhs, rhs, dimension_numbers, precision=None):
    """Returns a dtype that differs from the bias's."""
    return lax.dot_general(lhs, rhs, dimension_numbers, precision=precision).astype(jnp.bfloat16)


def doubled_conv(*args, **kwargs):
    return 2 * lax.conv_general_dilated(*args, **kwargs)


DENSE = [
    dense("default"),
    dense("vector", normal(4)),
    dense("many dims", normal(2, 1, 3, 2, 4)),
    dense("no rows", normal(0, 4)),
    dense("no bias", use_bias=False),
    dense("dtype bf16", dtype=bf16),
    dense("dtype f16", dtype=f16),
    dense("dtype python float", dtype=float),
    dense("dtype str", dtype="bfloat16"),
    dense("dtype complex", dtype=c64),
    dense("param bf16", param_dtype=bf16),
    dense("param bf16, int inputs", jnp.arange(8).reshape(2, 4), param_dtype=bf16),
    dense("param f16, bf16 inputs", X.astype(bf16), param_dtype=f16),
    dense("param complex", param_dtype=c64),
    dense("int inputs", jnp.arange(8).reshape(2, 4)),
    dense("bool inputs", jnp.arange(8).reshape(2, 4) > 3),
    dense("bf16 inputs", X.astype(bf16)),
    dense("f16 inputs", X.astype(f16)),
    dense("complex inputs", X.astype(c64)),
    dense("numpy float64 inputs", np.linspace(0.0, 1.0, 8).reshape(2, 4)),
    dense("weakly typed inputs", jnp.ones((2, 4)) * 1.0),
    dense("highest precision", precision="highest"),
    dense("two precisions", precision=(lax.Precision.HIGHEST, lax.Precision.DEFAULT)),
    dense("initializers", kernel_init=of_glorot, bias_init=of_normal),
    dense("dot_general", dot_general=doubled),
    dense("dot_general of a different dtype", dot_general=to_half),
    dense("dot_general_cls", dot_general_cls=lambda: doubled, dot_general=to_half),
    dense("promote_dtype", promote_dtype=of_narrow),
]


def general(features, *inputs, **fields):
    name = f"DenseGeneral {features} {shown(fields)} {[i.shape for i in inputs]}"
    return Case(name, lambda nn: nn.DenseGeneral(features, **built(nn, fields)), inputs or (IMAGE,))


DENSE_GENERAL = [
    general(3),
    general((3, 2)),
    general([3, 2], use_bias=False),
    general((3, 2), axis=(1, -1)),
    general((3, 2), axis=(-1, 1)),
    general(3, axis=(-2, -1), dtype=bf16),
    general(3, axis=0),
    general(np.int32(3), axis=[1, 2]),
    general((3, 2), batch_dims=(0,)),
    general((3, 2), axis=(1, 3), batch_dims=(0,)),
    general(3, batch_dims=(0, 1)),
    general(3, batch_dims=(1, 0)),
    general(3, axis=2, batch_dims=(0,), param_dtype=bf16),
    general(3, axis=()),
    general(3, normal(4)),
    general(3, normal(0, 4)),
    general(3, kernel_init=of_glorot, bias_init=of_normal, precision="highest"),
    general(3, dot_general=doubled),
    general(3, dot_general_cls=lambda: doubled),
    general(3, promote_dtype=of_narrow),
]


def conv(kernel_size, *inputs, kind="Conv", **fields):
    name = f"{kind} {kernel_size} {shown(fields)} {[i.shape for i in inputs]}"
    return Case(
        name,
        lambda nn: getattr(nn, kind)(6, kernel_size, **built(nn, fields)),
        inputs or (IMAGE,),
    )


local = partial(conv, kind="ConvLocal")
transpose = partial(conv, kind="ConvTranspose")

CONV = [
    conv((3, 3)),
    conv(3, X),
    conv(3),
    conv((2, 4)),
    conv((1, 1)),
    conv((3, 3), use_bias=False),
    conv((3, 3), strides=2),
    conv((3, 3), strides=(2, 1)),
    conv((3, 3), strides=None, input_dilation=None, kernel_dilation=None),
    *(
        conv((3, 2), padding=p)
        for p in (
            "VALID",
            "same",
            "SAME_LOWER",
            "CIRCULAR",
            "REFLECT",
            0,
            2,
            -1,
            (1, 2),
            [1, (2, 0)],
            ((1, 2), (0, 3)),
            [[1, 2], [0, 3]],
        )
    ),
    *(
        conv((3, 4), padding=p, strides=(1, 2), kernel_dilation=(2, 1))
        for p in ("SAME", "VALID", "CIRCULAR", "REFLECT", 2)
    ),
    conv(3, X, padding="CAUSAL"),
    conv(4, X, padding="CAUSAL", kernel_dilation=2, strides=2),
    conv(9, X, padding="CIRCULAR"),
    conv(9, X, padding="REFLECT"),
    conv((3, 3), padding=((1, 2), (2, 3)), input_dilation=2),
    conv((3, 3), padding=1, input_dilation=(1, 3), strides=2),
    conv((3, 3), feature_group_count=2),
    conv((3, 3), normal(2, 5, 5, 6), feature_group_count=6),
    conv((3, 3), mask=jnp.tril(jnp.ones((3, 3, 4, 6)))),
    conv((3, 3), mask=jnp.tril(jnp.ones((3, 3, 4, 6))) > 0),
    conv((3, 3), mask=np.tril(np.ones((3, 3, 4, 6), np.float32)), param_dtype=bf16),
    conv((3, 3), dtype=bf16),
    conv((3, 3), dtype=f16, param_dtype=bf16),
    conv((3, 3), param_dtype=bf16),
    conv((3, 3), param_dtype=c64),
    conv((3, 3), jnp.arange(60).reshape(1, 5, 4, 3)),
    conv((3, 3), precision="highest"),
    conv((3, 3), normal(7, 6, 4)),
    conv((3, 3), normal(2, 3, 7, 6, 4)),
    conv((3, 3), normal(1, 2, 3, 7, 6, 4), padding="CIRCULAR"),
    conv((3, 3), normal(7, 6, 4), padding="REFLECT"),
    conv((3, 3), normal(0, 7, 6, 4)),
    conv((3, 3, 2), normal(1, 4, 5, 6, 4)),
    conv((), normal(3, 4)),
    conv((7, 6), padding="VALID"),
    conv((3, 3), kernel_init=of_glorot, bias_init=of_normal),
    conv((3, 3), conv_general_dilated=doubled_conv),
    conv((3, 3), conv_general_dilated_cls=lambda: doubled_conv),
    conv((3, 3), promote_dtype=of_narrow),
]

CONV_LOCAL = [
    local((3, 3)),
    local(3, X),
    local((3, 3), use_bias=False),
    local((3, 2), padding="VALID"),
    local((3, 2), padding="same", strides=2),
    local((3, 2), padding="CIRCULAR", strides=(2, 1)),
    local((3, 2), padding="REFLECT", kernel_dilation=2),
    local((3, 2), padding="VALID", kernel_dilation=(2, 1), strides=3),
    local((3, 2), padding=((1, 2), (0, 3))),
    local((3, 2), padding=1, input_dilation=2, kernel_dilation=2),
    local((3, 2), padding=[2, (0, 1)], input_dilation=(1, 2), strides=2),
    local(3, X, padding="CAUSAL", kernel_dilation=2),
    local((3, 3), mask=jnp.tril(jnp.ones((7, 6, 36, 6)))),
    local((3, 3), dtype=bf16),
    local((3, 3), param_dtype=bf16, precision="highest"),
    local((3, 3), normal(7, 6, 4)),
    local((3, 3), normal(2, 3, 7, 6, 4)),
    local((3, 3), normal(0, 7, 6, 4)),
    local((3, 3), kernel_init=of_glorot, bias_init=of_normal),
    local((3, 3), promote_dtype=of_narrow),
]

CONV_TRANSPOSE = [
    *(
        transpose((3, 2), padding=p, strides=s, transpose_kernel=t)
        for p in ("SAME", "VALID", "CIRCULAR", 1, (1, 2), ((1, 2), (0, 3)))
        for s, t in ((None, False), ((2, 3), False), ((2, 1), True))
    ),
    transpose(3, X),
    transpose(3, X, strides=2, padding="CIRCULAR"),
    transpose((6, 6), normal(1, 5, 5, 3), strides=(2, 2), padding="CIRCULAR"),
    transpose((9, 8), normal(1, 3, 2, 3), padding="CIRCULAR", transpose_kernel=True),
    transpose((1, 1), strides=(3, 3), padding="CIRCULAR"),
    transpose((3, 2), use_bias=False),
    transpose((3, 2), kernel_dilation=(2, 1)),
    transpose((3, 2), kernel_dilation=2, padding="CIRCULAR"),
    transpose((3, 3), mask=jnp.tril(jnp.ones((3, 3, 4, 6)))),
    transpose((3, 3), dtype=bf16),
    transpose((3, 3), dtype=bf16, padding="CIRCULAR"),
    transpose((3, 3), param_dtype=bf16, precision="highest"),
    transpose((3, 3), param_dtype=c64),
    transpose((3, 3), dtype=bf16, preferred_element_type=jnp.float32),
    transpose((3, 3), normal(7, 6, 4)),
    transpose((3, 3), normal(2, 3, 7, 6, 4), padding="CIRCULAR"),
    transpose((3, 3), normal(0, 7, 6, 4)),
    transpose((3, 3), kernel_init=of_glorot, bias_init=of_normal),
    transpose((3, 3), promote_dtype=of_narrow),
]


def einsum(shape, equation, *inputs, **fields):
    return Case(
        f"Einsum {equation} {shape} {shown(fields)}",
        lambda nn: nn.Einsum(shape, equation, **built(nn, fields)),
        inputs or (X,),
    )


EINSUM = [
    einsum((4, 6), "bta,ac->btc"),
    einsum([4, 6], " ... a , a c -> ... c "),
    einsum((5, 6, 7), "abc,cde->abde", normal(3, 4, 5)),
    einsum((4, 3, 7), "nhwa,abc->cnhwb", IMAGE),
    einsum((2, 4, 3), "nhwa,nab->nhwb", IMAGE),
    einsum((4, 3, 7), "nhwa,a...->nhw...", IMAGE),
    einsum((4, 6), "bta,ac->bt"),
    einsum((4, 6), "bta,ac->btc", use_bias=False),
    einsum((4, 6), "bta,ac->btc", dtype=bf16),
    einsum((4, 6), "bta,ac->btc", dtype=bf16, preferred_element_type=jnp.float32),
    einsum((4, 6), "bta,ac->btc", param_dtype=bf16, precision="highest"),
    einsum((4, 6), "bta,ac->btc", kernel_init=of_glorot, bias_init=of_normal),
    einsum((4, 6), "bta,ac->btc", promote_dtype=of_narrow),
    Case("Einsum equation in the call", lambda nn: nn.Einsum((4, 6)), (X, "bta,ac->btc")),
]


def table(nn, fields):
    made = built(nn, fields)
    if "kernel_init" in made:
        made["embedding_init"] = made.pop("kernel_init")
    return made


def embed(name, ids, rows=5, **fields):
    return Case(f"Embed {name}", lambda nn: nn.Embed(rows, 3, **table(nn, fields)), (ids,))


EMBED = [
    embed("default", IDS),
    embed("scalar", jnp.array(2)),
    embed("uint8", IDS[:1].astype(jnp.uint8)),
    embed("numpy", np.array([1, 2])),
    embed("one row", IDS, rows=1),
    embed("dtype bf16", IDS, dtype=bf16),
    embed("dtype int", IDS, dtype=jnp.int32, embedding_init=of_glorot),
    embed("param bf16", IDS, param_dtype=bf16),
    embed("init", IDS, embedding_init=of_normal),
    embed("promote_dtype", IDS, promote_dtype=of_narrow),
]

PRELU = [
    Case("PReLU", lambda nn: nn.PReLU()),
    Case("PReLU slope", lambda nn: nn.PReLU(negative_slope_init=0.3)),
    Case("PReLU positional", lambda nn: nn.PReLU(bf16, 0.2)),
    Case("PReLU bf16 inputs", lambda nn: nn.PReLU(), (X.astype(bf16),)),
    Case("PReLU int inputs", lambda nn: nn.PReLU(), (jnp.arange(-2, 2),)),
]

WITH_PARAMETERS = [
    *DENSE,
    *DENSE_GENERAL,
    *CONV,
    *CONV_LOCAL,
    *CONV_TRANSPOSE,
    *EINSUM,
    *EMBED,
    *PRELU,
]


@pytest.mark.parametrize("case", WITH_PARAMETERS, ids=lambda c: c.name)
def test_layer(case):
    ours, theirs = case.make(linnet.linen), case.make(flax.linen)
    arrays = [i for i in case.inputs if not isinstance(i, str)]
    static = [i for i in case.inputs if isinstance(i, str)]
    variables = theirs.init(KEY, *case.inputs)
    identical(ours.init(KEY, *case.inputs), variables)
    identical(ours.apply(variables, *case.inputs), theirs.apply(variables, *case.inputs))
    identical(
        jax.jit(lambda v, *a: ours.apply(v, *a, *static))(variables, *arrays),
        jax.jit(lambda v, *a: theirs.apply(v, *a, *static))(variables, *arrays),
    )


@pytest.mark.parametrize("name", ["Dense", "DenseGeneral", "Conv", "ConvTranspose", "Embed"])
@pytest.mark.parametrize("impl", ["threefry2x32", "rbg"])
def test_any_key(name, impl):
    arguments = {"Dense": (3,), "DenseGeneral": ((3, 2),), "Embed": (4, 3)}.get(name, (3, (3,)))
    x = IDS if name == "Embed" else X
    for key in (jax.random.key(3, impl=impl), jax.random.PRNGKey(3)):
        identical(
            getattr(linnet.linen, name)(*arguments).init(key, x),
            getattr(flax.linen, name)(*arguments).init(key, x),
        )


@pytest.mark.parametrize("dtype", [None, bf16, c64], ids=str)
@pytest.mark.parametrize("query", [normal(3), normal(2, 3), normal(2, 2, 3).astype(bf16)])
def test_attend(query, dtype):
    ours, theirs = (nn.Embed(5, 3, dtype=dtype) for nn in (linnet.linen, flax.linen))
    variables = theirs.init(KEY, IDS)
    identical(ours.init(KEY, query, method="attend"), theirs.init(KEY, query, method="attend"))
    for wrap in (lambda f: f, jax.jit):
        identical(
            wrap(partial(ours.apply, method="attend"))(variables, query),
            wrap(partial(theirs.apply, method="attend"))(variables, query),
        )


DROPOUT = [
    ((0.5,), {}, X),
    ((0.1,), {}, IMAGE),
    ((0.9, (1,)), {}, IMAGE),
    ((0.3, (0, -1)), {}, IMAGE),
    ((0.25,), {}, X.astype(bf16)),
    ((0.3,), {}, X.astype(f16)),
    ((0.3,), {}, X.astype(c64)),
    ((0.3,), {}, np.ones((2, 3))),
    ((0.3,), {}, jnp.float32(2.0)),
    ((np.float32(0.1),), {}, X),
    ((0.3,), {"rng_collection": "noise"}, X),
    ((0.0,), {}, X),
    ((1.0,), {}, X),
    ((1,), {}, X),
]


@pytest.mark.parametrize(("positional", "fields", "x"), DROPOUT)
def test_dropout(positional, fields, x):
    ours, theirs = (nn.Dropout(*positional, **fields) for nn in (linnet.linen, flax.linen))
    rngs = {fields.get("rng_collection", "dropout"): KEY}

    def run(layer, x, rngs):
        return layer.apply({}, x, deterministic=False, rngs=rngs)

    identical(run(ours, x, rngs), run(theirs, x, rngs))
    identical(
        jax.jit(partial(run, ours))(x, rngs),
        jax.jit(partial(run, theirs))(x, rngs),
    )
    assert ours.apply({}, x, deterministic=True) is x
    identical(
        ours.apply({}, x, False, jax.random.key(2)), theirs.apply({}, x, False, jax.random.key(2))
    )
    # If only "params" is given, dropout draws from its stream.
    identical(
        ours.apply({}, x, deterministic=False, rngs=KEY),
        theirs.apply({}, x, deterministic=False, rngs=KEY),
    )


POOLS = [
    ("max_pool", {}),
    ("min_pool", {}),
    ("avg_pool", {}),
    ("avg_pool", {"count_include_pad": False}),
]
POOL_CASES = [
    (IMAGE, ((2, 3),)),
    (IMAGE, ((2, 2), (2, 2))),
    (IMAGE, ((3, 2), (2, 1), "SAME_LOWER")),
    (IMAGE, ((3, 3), None, ((1, 0), (2, 1)))),
    (IMAGE, ((7, 6), None, "VALID")),
    (IMAGE[0], ((3, 3), None, ((1, 0), (2, 1)))),
    (IMAGE[None], ((3, 2), (2, 2), "SAME")),
    (IMAGE[:0], ((3, 2), (1, 2), "SAME")),
    (IMAGE.astype(bf16), ((3, 2), (1, 2), "SAME")),
    (IMAGE.astype(f16), ((3, 2), (1, 2), "same")),
    (jnp.arange(168).reshape(1, 7, 6, 4), ((3, 2), (1, 2), "SAME")),
    (np.asarray(IMAGE), ((3, 2), (1, 2), "SAME")),
]


@pytest.mark.parametrize(("x", "geometry"), POOL_CASES)
@pytest.mark.parametrize(("name", "options"), POOLS)
def test_pool(name, options, geometry, x):
    ours = partial(getattr(linnet.linen, name), **options)
    theirs = partial(getattr(flax.linen.pooling, name), **options)
    identical(ours(x, *geometry), theirs(x, *geometry))
    identical(jax.jit(lambda x: ours(x, *geometry))(x), jax.jit(lambda x: theirs(x, *geometry))(x))


@pytest.mark.parametrize(
    ("init", "reduce_fn"), [(0.0, lax.add), (1.0, lax.mul), (-jnp.inf, lax.max), (0.5, lax.max)]
)
@pytest.mark.parametrize("x", [IMAGE, IMAGE[0]], ids=["batch", "single"])
def test_pool_of_any_reduction(init, reduce_fn, x):
    arguments = (init, reduce_fn, (2, 3), (2, 1), "SAME")
    identical(linnet.linen.pool(x, *arguments), flax.linen.pool(x, *arguments))


def test_model_of_all_layers():
    def model(nn):
        class Trunk(nn.Module):
            @nn.compact
            def __call__(self, x, train):
                x = nn.Conv(4, (3, 3), name="first")(x)
                x = nn.max_pool(nn.PReLU()(x), (2, 2), (2, 2))
                x = nn.ConvTranspose(3, (2, 2), strides=(2, 2))(x)
                x = nn.ConvLocal(2, (2, 2))(x)
                x = nn.avg_pool(x, (2, 2), (2, 2), "SAME")
                return nn.Dropout(0.4, deterministic=not train)(x)

        class Model(nn.Module):
            def setup(self):
                self.trunk = Trunk()
                self.heads = [nn.DenseGeneral((2, 3), axis=(1, 2, 3)), nn.Dense(6)]
                self.mix = nn.Einsum((6, 5), "...a,ab->...b")
                self.table = nn.Embed(7, 6)
                self.noise = nn.Dropout(0.3)

            def __call__(self, x, ids, train=False):
                x = nn.gelu(self.heads[0](self.trunk(x, train)))
                x = x.reshape(x.shape[0], -1) + self.table(ids)
                x = self.noise(self.heads[1](x), deterministic=not train)
                return self.mix(x), self.table.attend(x)

        return Model()

    ours, theirs = model(linnet.linen), model(flax.linen)
    rngs = {"params": jax.random.key(1), "dropout": jax.random.key(2)}
    ids = jnp.array([3, 6])
    variables = theirs.init(rngs, IMAGE, ids)
    identical(ours.init(rngs, IMAGE, ids), variables)
    del rngs["params"]
    identical(
        ours.apply(variables, IMAGE, ids, train=True, rngs=rngs),
        theirs.apply(variables, IMAGE, ids, train=True, rngs=rngs),
    )

    def loss(model, variables):
        y, logits = model.apply(variables, IMAGE, ids, train=True, rngs=rngs)
        return (y**2).sum() + jax.nn.logsumexp(logits)

    identical(
        jax.jit(jax.value_and_grad(partial(loss, ours)))(variables),
        jax.jit(jax.value_and_grad(partial(loss, theirs)))(variables),
    )


def test_x64():
    with jax.enable_x64(True):
        for x in (jnp.ones((2, 5, 4)), jnp.ones((2, 5, 4), jnp.float32)):
            for make in (
                lambda nn: nn.Dense(3),
                lambda nn: nn.Dense(3, param_dtype=jnp.float64),
                lambda nn: nn.Conv(3, 3, param_dtype=jnp.float64),
                lambda nn: nn.ConvTranspose(3, 3, padding="CIRCULAR"),
                lambda nn: nn.PReLU(),
                lambda nn: nn.Dropout(0.3, deterministic=False),
            ):
                ours, theirs = make(linnet.linen), make(flax.linen)
                identical(ours.init_with_output(KEY, x), theirs.init_with_output(KEY, x))
            identical(
                linnet.linen.avg_pool(x, (2,), None, "SAME", False),
                flax.linen.avg_pool(x, (2,), None, "SAME", False),
            )


# Dtypes.

PARTNERS = [None, 1.5, np.ones(2), jnp.ones(2), jnp.ones(2, bf16), jnp.arange(2)]
VALUES = [
    None,
    1,
    1.5,
    1j,
    True,
    [1, 2],
    np.float32(1.0),
    np.float64(2.0),
    np.int8(3),
    np.ones(2),
    np.ones(2, np.float16),
    jnp.asarray(1.5),
    *(jnp.ones(2, t) for t in (jnp.float32, bf16, f16, c64, jnp.int32, jnp.int8, bool)),
]
DTYPES = [None, jnp.float32, bf16, "float32", float, np.dtype("float16"), c64, int, jnp.int32]


def outcome(function, *args, **options):
    """The parts of a result to compare, or the type of the error."""
    try:
        result = function(*args, **options)
    except (TypeError, ValueError) as error:
        return "refused", isinstance(error, ValueError)
    if not isinstance(result, list):
        return jnp.dtype(result)
    return [
        x if x is None else (x.dtype, x.weak_type, x.shape, np.asarray(x).tobytes()) for x in result
    ]


@pytest.mark.parametrize("x64", [False, True])
@pytest.mark.parametrize("name", ["promote_dtype", "canonicalize_dtype"])
@pytest.mark.filterwarnings("ignore:Explicitly requested dtype:UserWarning")
@pytest.mark.filterwarnings("ignore:Casting complex values to real")
def test_promotion(name, x64):
    ours, theirs = (getattr(nn.dtypes, name) for nn in (linnet.linen, flax.linen))
    with jax.enable_x64(x64):
        for a, b, dtype, inexact in itertools.product(VALUES, PARTNERS, DTYPES, (True, False)):
            options = {"dtype": dtype, "inexact": inexact}
            assert outcome(ours, a, b, **options) == outcome(theirs, a, b, **options), (
                a,
                b,
                options,
            )


# Names and signatures.

ORDER = "the documented order; what Flax has added since then comes later, by keyword"
DIFFERENT_ORDER = {
    "Dense": ORDER,
    "DenseGeneral": ORDER,
    "Conv": ORDER,
    "ConvLocal": ORDER,
}

LAYERS = [
    "Conv",
    "ConvLocal",
    "ConvTranspose",
    "Dense",
    "DenseGeneral",
    "Dropout",
    "Einsum",
    "Embed",
    "PReLU",
]


WIDER = {"ConvTranspose": {"feature_group_count"}, "PReLU": {"per_feature"}}  # after Flax's


def default(parameter):
    value = parameter.default
    if parameter.name == "parent" or (parameter.name.endswith("_init") and callable(value)):
        return "compared where they are used"
    return value.__name__ if parameter.name == "promote_dtype" else value


@pytest.mark.parametrize("name", LAYERS)
def test_fields_are_flax_s(name):
    ours, theirs = (
        {p.name: default(p) for p in inspect.signature(getattr(nn, name)).parameters.values()}
        for nn in (linnet.linen, flax.linen)
    )
    for more in WIDER.get(name, ()):
        del ours[more]
    assert ours == theirs
    if name in DIFFERENT_ORDER:
        assert list(ours) != list(theirs), f"{name} is listed as different, but isn't"
    else:
        assert list(ours) == list(theirs)


def arguments_of(function):
    """The names, kinds and defaults of a function's parameters."""
    parameters = inspect.signature(function).parameters.values()
    return [(p.name, p.kind, p.default) for p in parameters]


@pytest.mark.parametrize(
    "path",
    [
        *(f"{name}.__call__" for name in LAYERS),
        "Embed.attend",
        "max_pool",
        "avg_pool",
        "pool",
        "pooling.min_pool",
        "dtypes.promote_dtype",
        "dtypes.canonicalize_dtype",
        "linear.canonicalize_padding",
    ],
)
def test_functions_take_flax_s_arguments(path):
    def arguments(nn):
        function = nn
        for part in path.split("."):
            function = getattr(function, part)
        return arguments_of(function)

    if path == "linear.canonicalize_padding":
        assert arguments(linnet.linen)[:2] == arguments(flax.linen)
    else:
        # `out_sharding` is keyword-only, after Flax's parameters: nnx's layers have it in both
        # libraries.
        own = ("out_sharding", inspect.Parameter.KEYWORD_ONLY, None)
        assert [a for a in arguments(linnet.linen) if a != own] == arguments(flax.linen)


ACTIVATIONS = [
    name
    for name in dir(flax.linen.activation)
    if getattr(getattr(flax.linen, name, None), "__module__", "").startswith("jax")
]


# Recorded once, for speed: not the same objects, but the same equations.
RECORDED_ONCE = {"gelu", "logsumexp", "relu", "relu6", "softmax"}


def test_activations_are_jax_s():
    assert len(ACTIVATIONS) > 20
    for name in ACTIVATIONS:
        ours, theirs = getattr(linnet.linen, name), getattr(flax.linen, name)
        assert getattr(linnet.linen.activation, name) is ours
        assert arguments_of(ours) == arguments_of(theirs)
        if name in RECORDED_ONCE:
            identical(ours(IMAGE), theirs(IMAGE))
            identical(jax.jit(ours)(IMAGE), jax.jit(theirs)(IMAGE))
        else:
            assert ours is theirs
