"""Behavior of individual nnx layers: attributes, options passed on, streams, mistakes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from linnet.layers_linear import functional, nnx
from linnet.module_core.errors import ArgumentError, ArgumentTypeError, DtypeError, ShapeError
from linnet.module_core.layers.nnx import promote_dtype
from linnet.module_core.nnx import (
    BatchStat,
    LoRAParam,
    Param,
    Repeat,
    Rngs,
    RngStream,
    split,
    state,
    to_flat_state,
    with_metadata,
)

X = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)


def zeros(key, shape, dtype):
    return jnp.zeros(shape, dtype)


# Parameters.


def keys_of(make):
    """The counts of the keys that a layer's initializers got."""
    seen = []
    keys = [jax.random.key_data(jax.random.fold_in(jax.random.key(0), i)) for i in range(8)]

    def init(key, shape, dtype):
        data = jax.random.key_data(key)
        seen.append((next(i for i, k in enumerate(keys) if (k == data).all()), tuple(shape)))
        return jnp.zeros(shape, dtype)

    rngs = Rngs(0)
    make(rngs, init)
    assert int(rngs.default.count[...]) == len(seen)
    return seen


@pytest.mark.parametrize(
    ("make", "drawn"),
    [
        (
            lambda rngs, init: nnx.Linear(2, 3, kernel_init=init, bias_init=init, rngs=rngs),
            [(2, 3), (3,)],
        ),
        (
            lambda rngs, init: nnx.Linear(2, 3, use_bias=False, kernel_init=init, rngs=rngs),
            [(2, 3)],
        ),
        (
            lambda rngs, init: nnx.LinearGeneral(
                (2, 3),
                (4, 5),
                axis=(-2, -1),
                batch_axis={0: 6},
                kernel_init=init,
                bias_init=init,
                rngs=rngs,
            ),
            [(36, 20), (120,)],  # flat: fans are counted on matrices
        ),
        (
            lambda rngs, init: nnx.Conv(4, 6, 3, kernel_init=init, bias_init=init, rngs=rngs),
            [(3, 4, 6), (6,)],
        ),
        (
            lambda rngs, init: nnx.ConvTranspose(
                4, 6, 3, transpose_kernel=True, kernel_init=init, bias_init=init, rngs=rngs
            ),
            [(3, 6, 4), (6,)],
        ),
        (
            lambda rngs, init: nnx.Einsum(
                "ab,bc->ac", (2, 3), (3,), kernel_init=init, bias_init=init, rngs=rngs
            ),
            [(2, 3), (3,)],
        ),
        (lambda rngs, init: nnx.Embed(5, 2, embedding_init=init, rngs=rngs), [(5, 2)]),
        (
            lambda rngs, init: nnx.LoRALinear(
                2,
                3,
                lora_rank=1,
                kernel_init=init,
                bias_init=init,
                a_initializer=init,
                b_initializer=init,
                rngs=rngs,
            ),
            [(2, 3), (3,), (2, 1), (1, 3)],
        ),
    ],
)
def test_parameters_are_drawn_in_order(make, drawn):
    assert keys_of(make) == list(enumerate(drawn))


def test_parameters_carry_their_metadata():
    rngs = Rngs(0)
    layer = nnx.Linear(2, 3, kernel_metadata={"unit": "m"}, bias_metadata={"unit": "s"}, rngs=rngs)
    assert (layer.kernel.unit, layer.bias.unit) == ("m", "s")
    assert nnx.Embed(2, 3, embedding_metadata={"unit": "m"}, rngs=rngs).embedding.unit == "m"
    assert nnx.PReLU(negative_slope_metadata={"unit": "m"}).negative_slope.unit == "m"
    lora = nnx.LoRA(2, 1, 3, a_metadata={"unit": "a"}, b_metadata={"unit": "b"}, rngs=rngs)
    assert (lora.lora_a.unit, lora.lora_b.unit) == ("a", "b")
    init = with_metadata(zeros, unit="m")
    general = nnx.LinearGeneral(2, (3, 4), kernel_init=init, kernel_metadata={"more": 1}, rngs=rngs)
    assert (general.kernel.unit, general.kernel.more) == ("m", 1)
    assert general.kernel.shape == (2, 3, 4)


def test_attributes_are_the_arguments():
    rngs = Rngs(0)
    layer = nnx.Conv(3, 4, [3, 2], [1, 2], padding=[1, (0, 2)], use_bias=False, rngs=rngs)
    assert (layer.in_features, layer.out_features, layer.kernel_size) == (3, 4, (3, 2))
    assert (layer.strides, layer.padding, layer.kernel_shape) == ((1, 2), (1, (0, 2)), (3, 2, 3, 4))
    assert layer.bias is None
    assert layer.conv_general_dilated is lax.conv_general_dilated
    assert nnx.Linear(3, 4, rngs=rngs).dot_general is lax.dot_general
    assert nnx.Embed(3, 4, param_dtype=jnp.bfloat16, rngs=rngs).dtype == jnp.bfloat16
    assert nnx.Embed(3, 4, dtype=jnp.float16, rngs=rngs).dtype == jnp.float16
    general = nnx.LinearGeneral(3, 4, axis=-1, batch_axis={1: 6, 0: 5}, rngs=rngs)
    assert (general.in_features, general.out_features, general.axis) == ((3,), (4,), (-1,))
    assert dict(general.batch_axis) == {0: 5, 1: 6}
    assert general.kernel.shape == (5, 6, 3, 4)
    assert nnx.Einsum(" ab, bc -> ac ", (3, 4), rngs=rngs).einsum_str == "ab,bc->ac"


# Computed values.


def test_a_map_for_each_index_of_a_batch():
    layer = nnx.LinearGeneral(4, 5, batch_axis={0: 3}, rngs=Rngs(0))
    layer.bias = Param(jnp.arange(15.0).reshape(3, 5))
    expected = np.einsum("bi,bio->bo", X, layer.kernel[...]) + layer.bias[...]
    np.testing.assert_allclose(layer(X), expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("batch", "make"),
    [
        ((), lambda rngs: nnx.Conv(4, 2, 3, rngs=rngs)),
        ((2, 3), lambda rngs: nnx.Conv(4, 2, 3, padding="REFLECT", rngs=rngs)),
        ((), lambda rngs: nnx.ConvTranspose(4, 2, 3, rngs=rngs)),
        ((2, 3), lambda rngs: nnx.ConvTranspose(4, 2, 3, padding="CIRCULAR", rngs=rngs)),
    ],
)
def test_any_number_of_batch_dimensions(batch, make):
    layer = make(Rngs(0))
    x = np.random.default_rng(1).normal(size=(*batch, 5, 4)).astype(np.float32)
    y = layer(x)
    assert y.shape == (*batch, 5, 2)
    flat = layer(x.reshape(-1, 5, 4))
    np.testing.assert_allclose(y.reshape(-1, 5, 2), flat, rtol=1e-5, atol=1e-6)


def test_embed_looks_up_and_attends():
    layer = nnx.Embed(5, 4, rngs=Rngs(0))
    table = np.asarray(layer.embedding[...])
    np.testing.assert_array_equal(layer(np.array([[0, 4], [-1, 2]])), table[[[0, 4], [-1, 2]]])
    assert np.isnan(layer(np.array([5]))).all()
    np.testing.assert_allclose(layer.attend(X), X @ table.T, rtol=1e-5, atol=1e-6)
    one = nnx.Embed(1, 4, rngs=Rngs(0))
    np.testing.assert_array_equal(one(np.array([7, 0])), np.tile(one.embedding[...], (2, 1)))


def test_einsum_takes_its_equation_from_either():
    layer = nnx.Einsum(None, (4, 5), (5,), rngs=Rngs(0))
    y = layer(X, "ab,bc->ac")
    np.testing.assert_array_equal(y, nnx.Einsum("ab,bc->ac", (4, 5), (5,), rngs=Rngs(0))(X))
    swapped = nnx.Einsum("ab,bc->ac", (4, 5), rngs=Rngs(0))
    np.testing.assert_array_equal(swapped(X, "ab,bc->ca"), swapped(X).T)
    with pytest.raises(ArgumentError, match="Einsum: einsum_str was passed neither"):
        layer(X)


def test_prelu_computes_in_the_inputs_type():
    layer = nnx.PReLU(0.25)
    y = layer(jnp.asarray([-2.0, 0.0, 2.0], jnp.bfloat16))
    assert y.dtype == jnp.bfloat16
    assert y.tolist() == [-0.5, 0.0, 2.0]
    assert nnx.PReLU(0.25, dtype=jnp.float32)(y).dtype == jnp.float32


def test_lora_is_the_product_next_to_the_layer():
    rng = np.random.default_rng(2)
    a, b = rng.normal(size=(4, 2)).astype(np.float32), rng.normal(size=(2, 5)).astype(np.float32)
    rngs = Rngs(0)
    base = nnx.Linear(4, 5, rngs=rngs)
    plain = X @ np.asarray(base.kernel[...])
    for layer, expected in (
        (nnx.LoRA(4, 2, 5, rngs=rngs), 0),
        (nnx.LoRA(4, 2, 5, base_module=base, rngs=rngs), plain),
        (nnx.LoRA(4, 2, 5, base_module=lambda x: 2 * base(x), rngs=rngs), 2 * plain),
    ):
        np.testing.assert_allclose(layer(X), np.broadcast_to(expected, (3, 5)), atol=1e-6)
        layer.lora_a[...], layer.lora_b[...] = jnp.asarray(a), jnp.asarray(b)
        np.testing.assert_allclose(layer(X), expected + X @ a @ b, rtol=1e-5, atol=1e-5)


def test_lora_has_the_dimensions_of_the_layer_that_it_is_around():
    base = nnx.LinearGeneral((2, 2), (3, 5), axis=(-2, -1), rngs=Rngs(0))
    layer = nnx.LoRA((2, 2), 1, (3, 5), base_module=base, rngs=Rngs(1))
    x = jnp.reshape(jnp.asarray(X), (3, 2, 2))
    np.testing.assert_array_equal(layer(x), base(x))
    layer.lora_b[...] = jnp.ones((1, 15))
    change = np.asarray(X) @ np.asarray(layer.lora_a[...]) @ np.ones((1, 15), np.float32)
    np.testing.assert_allclose(layer(x), base(x) + change.reshape(3, 3, 5), rtol=1e-5)
    with pytest.raises(ShapeError, match=r"\(3, 4\), expected their last dimensions"):
        layer(X)


def test_lora_is_merged_into_the_kernel():
    base = nnx.LinearGeneral((2, 2), (3, 5), axis=(-2, -1), rngs=Rngs(0))
    layer = nnx.LoRA((2, 2), 1, (3, 5), base_module=base, rngs=Rngs(1))
    layer.lora_b[...] = jnp.arange(15.0)[None]
    x = jnp.reshape(jnp.asarray(X), (3, 2, 2))
    expected = layer(x)
    layer.merge()
    assert not layer.lora_b[...].any()
    for merged in (layer(x), base(x)):
        np.testing.assert_allclose(merged, expected, rtol=1e-5, atol=1e-5)
    half = nnx.Linear(4, 5, param_dtype=jnp.bfloat16, rngs=Rngs(0))
    adapter = nnx.LoRA(4, 2, 5, base_module=half, rngs=Rngs(0))
    adapter.lora_b[...] = jnp.ones((2, 5))
    adapter.merge()
    assert half.kernel.dtype == jnp.bfloat16


def test_repeated_adapters_are_merged():
    def block(rngs):
        base = nnx.Linear(4, 4, rngs=rngs)
        return nnx.LoRA(4, 2, 4, base_module=base, rngs=rngs)

    def linear(rngs):
        return nnx.LoRALinear(4, 4, lora_rank=2, rngs=rngs)

    for make in (block, linear):
        model = Repeat(make, 3, rngs=Rngs(0))
        adapter = getattr(model.block, "lora", model.block)
        adapter.lora_b[...] = jnp.asarray(np.random.default_rng(0).normal(size=(3, 2, 4)))
        expected = model(X)
        model.block.merge()
        assert not adapter.lora_b[...].any()
        np.testing.assert_allclose(model(X), expected, rtol=1e-4, atol=1e-5)


def test_lora_linear_is_a_linear_with_an_adapter():
    layer = nnx.LoRALinear(4, 5, lora_rank=2, rngs=Rngs(0))
    assert isinstance(layer, nnx.Linear)
    np.testing.assert_array_equal(layer(X), nnx.Linear(4, 5, rngs=Rngs(0))(X))
    layer.lora.lora_b[...] = jnp.ones((2, 5))
    expected = layer(X)
    assert not np.allclose(expected, nnx.Linear(4, 5, rngs=Rngs(0))(X))
    layer.merge()
    assert not layer.lora.lora_b[...].any()
    alone = nnx.Linear(4, 5, rngs=Rngs(1))
    alone.kernel, alone.bias = layer.kernel, layer.bias
    for merged in (layer, alone):
        np.testing.assert_allclose(merged(X), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("linear", [False, True])
def test_a_kept_adapter_is_taken_out_again(linear):
    def make(rngs):
        if linear:
            return nnx.LoRALinear(4, 5, lora_rank=2, rngs=rngs)
        return nnx.LoRA(4, 2, 5, base_module=nnx.Linear(4, 5, rngs=rngs), rngs=rngs)

    layer = make(Rngs(0))
    adapter, base = (layer.lora, layer) if linear else (layer, layer.base_module)
    b = adapter.lora_b[...] = jnp.ones((2, 5))
    expected, kernel, graphdef = layer(X), base.kernel[...], split(layer)[0]
    with pytest.raises(ArgumentError, match="isn't in the kernel"):
        layer.unmerge()
    layer.merge(keep=True)
    np.testing.assert_array_equal(adapter.lora_b, b)
    np.testing.assert_allclose(layer(X), expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(X @ base.kernel + base.bias, expected, rtol=1e-5, atol=1e-5)
    with pytest.raises(ArgumentError, match="already"):
        layer.merge()
    layer.unmerge()
    np.testing.assert_allclose(base.kernel, kernel, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(layer(X), expected, rtol=1e-5, atol=1e-5)
    assert split(layer)[0] == graphdef


def test_only_the_adapter_is_of_its_type():
    layer = nnx.LoRALinear(4, 5, lora_rank=2, rngs=Rngs(0))
    paths = to_flat_state(state(layer, LoRAParam)).paths
    assert paths == (("lora", "lora_a"), ("lora", "lora_b"))
    other = nnx.LoRA(4, 2, 5, lora_param_type=BatchStat, rngs=Rngs(0))
    assert type(other.lora_a) is type(other.lora_b) is BatchStat
    assert nnx.LoRAParam is LoRAParam


def test_lora_hands_the_cast_input_and_keywords_on():
    seen = []

    def base(x, **kwargs):
        seen.append((x.dtype, kwargs))
        return x[..., :1]

    nnx.LoRA(4, 2, 1, base_module=base, dtype=jnp.bfloat16, rngs=Rngs(0))(X, extra=3)
    assert seen == [(jnp.bfloat16, {"extra": 3})]


# Options that are passed on.


def spy(function):
    calls = []

    def call(*args, **kwargs):
        calls.append(kwargs)
        return function(*args, **kwargs)

    return call, calls


@pytest.mark.parametrize(
    ("function", "make", "x"),
    [
        (lax.dot_general, lambda f: nnx.Linear(4, 5, dot_general=f, rngs=Rngs(0)), X),
        (lax.dot_general, lambda f: nnx.LinearGeneral(4, 5, dot_general=f, rngs=Rngs(0)), X),
        (
            lax.dot_general,
            lambda f: nnx.LinearGeneral(4, 5, dot_general_cls=lambda: f, rngs=Rngs(0)),
            X,
        ),
        (
            lax.conv_general_dilated,
            lambda f: nnx.Conv(4, 5, 2, conv_general_dilated=f, rngs=Rngs(0)),
            X[None],
        ),
        (
            jnp.einsum,
            lambda f: nnx.Einsum("ab,bc->ac", (4, 5), einsum_op=f, rngs=Rngs(0)),
            X,
        ),
    ],
)
def test_operations_of_one_s_own(function, make, x):
    own, calls = spy(function)
    layer = make(own)
    layer.precision = "highest"
    y = layer(x)
    np.testing.assert_array_equal(y, make(function)(x))
    layer.preferred_element_type = jnp.float32
    layer(x)
    assert len(calls) == 2
    assert all(c["precision"] == "highest" for c in calls)
    # The option is passed on only if it was given, so a user-defined operation need not accept it.
    assert [c.get("preferred_element_type") for c in calls] == [None, jnp.float32]
    assert "preferred_element_type" not in calls[0]


@pytest.mark.parametrize(
    ("make", "x", "sizes"),
    [
        (lambda p: nnx.Linear(4, 5, promote_dtype=p, rngs=Rngs(0)), X, 3),
        (lambda p: nnx.LinearGeneral(4, 5, promote_dtype=p, rngs=Rngs(0)), X, 3),
        (lambda p: nnx.Conv(4, 5, 2, promote_dtype=p, rngs=Rngs(0)), X, 3),
        (lambda p: nnx.ConvTranspose(4, 5, 2, promote_dtype=p, rngs=Rngs(0)), X, 3),
        (lambda p: nnx.Einsum("ab,bc->ac", (4, 5), promote_dtype=p, rngs=Rngs(0)), X, 3),
        (lambda p: nnx.Embed(4, 5, promote_dtype=p, rngs=Rngs(0)), np.arange(3), 1),
        (lambda p: nnx.LoRA(4, 2, 5, promote_dtype=p, rngs=Rngs(0)), X, 3),
        (lambda p: nnx.PReLU(dtype=jnp.bfloat16, promote_dtype=p), X, 2),
    ],
)
def test_promotion_of_one_s_own_takes_one_tuple(make, x, sizes):
    seen = []

    def promote(args, /, *, dtype=None, inexact=True):
        seen.append(args)
        return promote_dtype(args, dtype=jnp.bfloat16, inexact=inexact)

    assert make(promote)(x).dtype == jnp.bfloat16
    (args,) = seen
    assert isinstance(args, tuple)
    assert len(args) == sizes


@pytest.mark.skipif(
    not hasattr(jax, "set_mesh"),
    reason=f"jax {jax.__version__} lacks jax.set_mesh, which is new in jax 0.7.1",
)
def test_outputs_are_laid_out_as_asked():
    explicit = (jax.sharding.AxisType.Explicit,) * 2
    mesh = jax.make_mesh((1, 1), ("a", "b"), axis_types=explicit)
    two, three = jax.P("a", "b"), jax.P("a", None, "b")
    rngs = Rngs(0)
    with jax.set_mesh(mesh):
        for layer, x, spec in (
            (nnx.Linear(4, 6, rngs=rngs), X, two),
            (nnx.LinearGeneral(4, 6, rngs=rngs), X, two),
            (nnx.Einsum("ab,bc->ac", (4, 6), (6,), rngs=rngs), X, two),
            (nnx.LoRALinear(4, 6, lora_rank=2, rngs=rngs), X, two),
            (nnx.Conv(4, 6, 2, rngs=rngs), X[None], three),
            (nnx.Embed(4, 6, rngs=rngs), np.array([[1, 2, 3]]), three),
            (nnx.Embed(1, 6, rngs=rngs), np.array([[0, 1, 2]]), three),
            (nnx.Embed(6, 4, rngs=rngs).attend, X, two),
        ):
            y = layer(x, out_sharding=spec)
            assert jax.typeof(y).sharding.spec == spec
            np.testing.assert_allclose(y, layer(x), rtol=1e-5, atol=1e-6)


# Dropout.

ONES = jnp.ones((4, 8))


def expected_drop(key, count):
    return functional.dropout(ONES, jax.random.fold_in(key, count), 0.5)


def test_dropout_draws_from_a_stream_of_its_own():
    rngs = Rngs(params=1, dropout=2)
    own = jax.random.fold_in(jax.random.key(2), 0)  # the stream's first key starts the layer's own
    layer = nnx.Dropout(0.5, rngs=rngs)
    assert int(rngs.dropout.count[...]) == 1
    assert isinstance(layer.rngs, RngStream)
    for count in range(2):
        np.testing.assert_array_equal(layer(ONES), expected_drop(own, count))
    assert int(rngs.dropout.count[...]) == 1


def test_streams_of_a_call_go_first():
    layer = nnx.Dropout(0.5, rng_collection="noise", rngs=Rngs(0))
    key = jax.random.key(3)
    first = expected_drop(key, 0)
    np.testing.assert_array_equal(layer(ONES, rngs=Rngs(noise=3)), first)
    np.testing.assert_array_equal(layer(ONES, rngs=Rngs(3)), first)
    np.testing.assert_array_equal(layer(ONES, rngs=RngStream(key, tag="any")), first)
    by_key = functional.dropout(ONES, key, 0.5)
    np.testing.assert_array_equal(layer(ONES, rngs=key), by_key)
    assert int(layer.rngs.count[...]) == 0


def test_when_nothing_is_dropped_no_stream_is_needed():
    layer = nnx.Dropout(0.5)
    assert layer.rngs is None
    assert layer(ONES, deterministic=True) is ONES
    assert nnx.Dropout(0.0)(ONES) is ONES
    assert not nnx.Dropout(1.0)(ONES).any()
    layer.eval()
    assert layer(ONES) is ONES
    with pytest.raises(
        ArgumentError,
        match=r"Dropout: .*neither the layer nor its call has `rngs`(.|\n)*model\.eval\(\)",
    ):
        layer(ONES, deterministic=False)  # the call takes precedence


def test_coins_are_shared_along_broadcast_dims():
    y = np.asarray(nnx.Dropout(0.5, broadcast_dims=[-1], rngs=Rngs(0))(ONES))
    assert (y == y[:, :1]).all()
    assert set(np.unique(y)) == {0.0, 2.0}


def test_set_view_sets_what_is_given():
    layer = nnx.Dropout(0.5)
    layer.set_view()
    assert layer.deterministic is False
    layer.set_view(deterministic=True)
    assert layer.deterministic is True


# Mistakes.

MISTAKES = {
    "no rngs": (
        lambda: nnx.Linear(3, 4),
        ArgumentTypeError,
        r"Linear: rngs is missing(.|\n)*Linear\(..., rngs=nnx\.Rngs\(0\)\)",
    ),
    "a seed": (
        lambda: nnx.Conv(3, 4, 2, rngs=0),
        ArgumentTypeError,
        r"Conv: .*got 0 of type int(.|\n)*rngs=nnx\.Rngs\(0\)",
    ),
    "a float": (
        lambda: nnx.Linear(3, 4.0, rngs=Rngs(0)),
        ArgumentTypeError,
        "Linear: 'out_features' must be an integer, got 4.0",
    ),
    "a negative size": (
        lambda: nnx.LoRA(3, 2, -4, rngs=Rngs(0)),
        ArgumentError,
        "LoRA: 'out_features' must be at least 0, got -4",
    ),
    "rank 0": (lambda: nnx.LoRA(3, 0, 4, rngs=Rngs(0)), ArgumentError, "'lora_rank' .* got 0"),
    "other features": (
        lambda: nnx.Linear(3, 4, rngs=Rngs(0))(X),
        ShapeError,
        r"Linear: inputs have shape \(3, 4\), expected 3 features in the last dimension, got 4\.",
    ),
    "other features of a convolution in groups": (
        lambda: nnx.Conv(6, 4, 2, feature_group_count=2, rngs=Rngs(0))(X),
        ShapeError,
        "Conv: .* expected 6 features in the last dimension, got 4",
    ),
    "other features of a transposed convolution": (
        lambda: nnx.ConvTranspose(3, 5, 2, transpose_kernel=True, rngs=Rngs(0))(X),
        ShapeError,
        "ConvTranspose: .* expected 3 features in the last dimension, got 4",
    ),
    "other features of an adapter": (
        lambda: nnx.LoRA(3, 2, 5, rngs=Rngs(0))(X),
        ShapeError,
        "LoRA: .* expected 3 features in the last dimension, got 4",
    ),
    "other sizes": (
        lambda: nnx.LinearGeneral((3, 5), 2, axis=(0, 1), rngs=Rngs(0))(X),
        ShapeError,
        r"LinearGeneral: .* expected sizes \(3, 5\) in the dimensions \(0, 1\), got \(3, 4\)",
    ),
    "a different batch": (
        lambda: nnx.LinearGeneral(4, 2, batch_axis={0: 6}, rngs=Rngs(0))(X),
        ShapeError,
        r"expected sizes \(6, 4\) .* got \(3, 4\)(.|\n)*batch sizes \(6,\)",
    ),
    "as many sizes as axes": (
        lambda: nnx.LinearGeneral((3, 4), 2, rngs=Rngs(0)),
        ArgumentError,
        r"axis=\(-1,\) contracts 1 dimension, but in_features=\(3, 4\) has 2 sizes",
    ),
    "a batch dimension that doesn't lead": (
        lambda: nnx.LinearGeneral(3, 2, batch_axis={1: 4}, rngs=Rngs(0)),
        ArgumentError,
        r"batch_axis=\{1: 4\} does not name the leading dimensions",
    ),
    "groups that don't divide": (
        lambda: nnx.Conv(4, 3, 2, feature_group_count=3, rngs=Rngs(0)),
        ArgumentError,
        "feature_group_count=3 doesn't divide the inputs' 4",
    ),
    "an unknown padding": (
        lambda: nnx.Conv(4, 3, 2, padding="SMAE", rngs=Rngs(0)),
        ArgumentError,
        "Conv: Unknown padding 'SMAE'(.|\n)*Did you mean 'SAME'",
    ),
    "a padding of other convolutions": (
        lambda: nnx.ConvTranspose(4, 3, 2, padding="CAUSAL", rngs=Rngs(0)),
        ArgumentError,
        "ConvTranspose: Unknown padding 'CAUSAL'",
    ),
    "a mask of a different shape": (
        lambda: nnx.Conv(4, 3, 2, mask=jnp.ones((2, 4, 1)), rngs=Rngs(0))(X),
        ShapeError,
        r"Conv: The mask has shape \(2, 4, 1\), but the kernel has shape \(2, 4, 3\)",
    ),
    "a malformed equation": (
        lambda: nnx.Einsum("ab->c", (4, 5), rngs=Rngs(0)),
        ArgumentError,
        "Einsum: .*1 operand.*expected two",
    ),
    "another bias": (
        lambda: nnx.Einsum("ab,bc->ac", (4, 5), (4,), rngs=Rngs(0))(X),
        ShapeError,
        r"Einsum: bias has shape \(4,\), expected \(5,\)",
    ),
    "float ids": (lambda: nnx.Embed(4, 5, rngs=Rngs(0))(X), DtypeError, "Embed: .*integer"),
    "no rows": (lambda: nnx.Embed(0, 5, rngs=Rngs(0)), ArgumentError, "'num_embeddings' .* got 0"),
    "other features of a query": (
        lambda: nnx.Embed(4, 5, rngs=Rngs(0)).attend(X),
        ShapeError,
        "Embed: query .* 5 features",
    ),
    "a percentage": (lambda: nnx.Dropout(50, rngs=Rngs(0)), ArgumentError, r"Dropout: .* got 50"),
    "a key for the constructor": (
        lambda: nnx.Dropout(0.5, rngs=jax.random.key(0)),
        ArgumentTypeError,
        r"Dropout: rngs must be nnx\.Rngs(.|\n)*bare key",
    ),
    "a seed for the call": (
        lambda: nnx.Dropout(0.5)(X, rngs=0),
        ArgumentTypeError,
        "Dropout: rngs must be .* got 0 of type int",
    ),
    "nobody says whether": (
        lambda: nnx.Dropout(0.5, deterministic=None, rngs=Rngs(0))(X),
        ArgumentError,
        "Dropout: `deterministic` is None in both",
    ),
    "a base that can't be called": (
        lambda: nnx.LoRA(4, 2, 5, base_module=3, rngs=Rngs(0)),
        ArgumentError,
        "LoRA: `base_module` must be callable, got 3",
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_are_named(name):
    mistake, error, text = MISTAKES[name]
    with pytest.raises(error, match=text):
        mistake()


def test_other_missing_arguments_are_python_s():
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'out_features'"):
        nnx.Linear(3, rngs=Rngs(0))
