"""The documented behavior of the linear, pooling and dropout layers, statement by statement.

The numbers are Flax's for the same seeds.
"""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import linnet.linen as nn
from comparing import sample

KEY = jax.random.key(0)


def shapes(variables):
    return jax.tree.map(jnp.shape, variables["params"])


@pytest.mark.parametrize(
    ("layer", "x", "y", "params"),
    [
        (nn.Dense(5), (2, 7), (2, 5), {"kernel": (7, 5), "bias": (5,)}),
        (nn.DenseGeneral(5), (2, 7), (2, 5), {"kernel": (7, 5), "bias": (5,)}),
        (nn.DenseGeneral((3, 2)), (4, 7), (4, 3, 2), {"kernel": (7, 3, 2), "bias": (3, 2)}),
        (
            nn.DenseGeneral((3, 2), axis=(1, -1)),
            (8, 4, 5, 6),
            (8, 5, 3, 2),
            {"kernel": (4, 6, 3, 2), "bias": (3, 2)},
        ),
        (
            nn.Conv(5, (4,), padding="VALID"),
            (2, 9, 6),
            (2, 6, 5),
            {"kernel": (4, 6, 5), "bias": (5,)},
        ),
        (
            nn.Conv(5, (2, 3), strides=2, padding="CIRCULAR"),
            (4, 10, 2),  # no batch dimension
            (2, 5, 5),
            {"kernel": (2, 3, 2, 5), "bias": (5,)},
        ),
        (
            nn.ConvTranspose(5, (4,), padding="VALID"),
            (2, 9, 6),
            (2, 12, 5),
            {"kernel": (4, 6, 5), "bias": (5,)},
        ),
        (
            nn.ConvTranspose(5, (4, 4), strides=(2, 3), padding="CIRCULAR", transpose_kernel=True),
            (2, 7, 9, 6),
            (2, 14, 27, 5),
            {"kernel": (4, 4, 5, 6), "bias": (5,)},
        ),
        (
            nn.ConvLocal(5, (4,), padding="VALID"),
            (2, 9, 6),
            (2, 6, 5),
            {"kernel": (6, 24, 5), "bias": (6, 5)},
        ),
        (
            nn.ConvLocal(5, (2, 3), strides=2, padding="CIRCULAR"),
            (4, 10, 2),
            (2, 5, 5),
            {"kernel": (2, 5, 12, 5), "bias": (2, 5, 5)},
        ),
        (
            nn.Einsum((6, 2, 3), "nlm,mij->nlij"),
            (2, 5, 6),
            (2, 5, 2, 3),
            {"kernel": (6, 2, 3), "bias": (2, 3)},
        ),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else "",
)
def test_shapes_of_outputs_and_parameters(layer, x, y, params):
    out, variables = jax.eval_shape(layer.init_with_output, KEY, jnp.ones(x))
    assert out.shape == y
    assert shapes(variables) == params


@pytest.mark.parametrize("name", ["Conv", "ConvTranspose", "ConvLocal"])
def test_a_triangular_mask_has_the_kernel_s_shape(name):
    shape = (6, 24, 5) if name == "ConvLocal" else (4, 6, 5)
    layer = getattr(nn, name)(5, (4,), padding="VALID", mask=jnp.tril(jnp.ones(shape)))
    variables = jax.eval_shape(layer.init, KEY, jnp.ones((2, 9, 6)))
    assert shapes(variables)["kernel"] == shape


def test_embed_s_rows_and_those_counted_from_the_end():
    ids = jnp.array([[2, 0], [-1, -3]])
    y, variables = nn.Embed(3, 2).init_with_output(jax.random.key(7), ids)
    table = [[-0.52520937, 0.25832027], [-0.0719226, -0.7759339], [0.18564546, 0.24641043]]
    np.testing.assert_allclose(variables["params"]["embedding"], table, rtol=1e-6)
    np.testing.assert_allclose(y, [[table[2], table[0]]] * 2, rtol=1e-6)


def test_dropout_in_a_model_that_gets_the_mode():
    class Gate(nn.Module):
        @nn.compact
        def __call__(self, x, on):
            x = nn.Dense(3)(x)
            return nn.Dropout(0.25, deterministic=not on)(x)

    x = jnp.arange(4.0).reshape(2, 2)
    variables = Gate().init(jax.random.key(3), x, on=False)
    off = Gate().apply(variables, x, on=False)
    on = Gate().apply(variables, x, on=True, rngs={"dropout": jax.random.key(5)})
    expected = [[-0.49989602, 0.8678394, -0.14295124], [0.18731222, 2.019666, -0.09365697]]
    np.testing.assert_allclose(off, expected, rtol=1e-5)
    kept = np.array([[1, 1, 0], [1, 1, 0]])
    np.testing.assert_allclose(on, kept * off / 0.75, rtol=1e-6)


SIGNATURES = {
    "Dense": "features, use_bias=True, dtype=None, param_dtype=float32, precision=None, "
    "kernel_init=variance_scaling, bias_init=zeros, dot_general=None, dot_general_cls=None",
    "DenseGeneral": "features, axis=-1, batch_dims=(), use_bias=True, dtype=None, "
    "param_dtype=float32, kernel_init=variance_scaling, bias_init=zeros, precision=None, "
    "dot_general=None, dot_general_cls=None",
    "Conv": "features, kernel_size, strides=1, padding='SAME', input_dilation=1, "
    "kernel_dilation=1, feature_group_count=1, use_bias=True, mask=None, dtype=None, "
    "param_dtype=float32, precision=None, kernel_init=variance_scaling, bias_init=zeros, "
    "conv_general_dilated=None, conv_general_dilated_cls=None",
    "ConvTranspose": "features, kernel_size, strides=None, padding='SAME', kernel_dilation=None, "
    "use_bias=True, mask=None, dtype=None, param_dtype=float32, precision=None, "
    "kernel_init=variance_scaling, bias_init=zeros, transpose_kernel=False",
    "ConvLocal": "features, kernel_size, strides=1, padding='SAME', input_dilation=1, "
    "kernel_dilation=1, feature_group_count=1, use_bias=True, mask=None, dtype=None, "
    "param_dtype=float32, precision=None, kernel_init=variance_scaling, bias_init=zeros, "
    "conv_general_dilated=None, conv_general_dilated_cls=None",
    "Einsum": "shape, einsum_str=None, use_bias=True, dtype=None, param_dtype=float32, "
    "precision=None, kernel_init=variance_scaling, bias_init=zeros",
    "Embed": "num_embeddings, features, dtype=None, param_dtype=float32, "
    "embedding_init=variance_scaling",
    "Dropout": "rate, broadcast_dims=(), deterministic=None, rng_collection='dropout'",
    "Conv.__call__": "self, inputs",
    "ConvTranspose.__call__": "self, inputs",
    "ConvLocal.__call__": "self, inputs",
    "Einsum.__call__": "self, inputs, einsum_str=None",
    "Embed.__call__": "self, inputs",
    "Embed.attend": "self, query",
    "Dropout.__call__": "self, inputs, deterministic=None, rng=None",
    "max_pool": "inputs, window_shape, strides=None, padding='VALID'",
    "avg_pool": "inputs, window_shape, strides=None, padding='VALID', count_include_pad=True",
    "pool": "inputs, init, reduce_fn, window_shape, strides, padding",
}


def written(parameter):
    default = parameter.default
    if default is inspect.Parameter.empty:
        return parameter.name
    if parameter.name == "param_dtype":
        return f"param_dtype={jnp.dtype(default).name}"
    if parameter.name.endswith("_init"):
        ours = {
            nn.initializers.lecun_normal(): "variance_scaling",
            nn.linear.default_embed_init: "variance_scaling",
            nn.initializers.zeros: "zeros",
        }
        return f"{parameter.name}={ours[default]}"
    return f"{parameter.name}={default!r}"


@pytest.mark.parametrize("path", SIGNATURES)
def test_signature_begins_as_documented(path):
    function = nn
    for part in path.split("."):
        function = getattr(function, part)
    parameters = list(inspect.signature(function).parameters.values())
    if inspect.isclass(function):
        assert [p.name for p in parameters[-2:]] == ["parent", "name"]
        parameters = parameters[:-2]
    documented = SIGNATURES[path].split(", ")
    ours = [written(p) for p in parameters]
    assert ours[: len(documented)] == documented
    # Parameters that were added later have a default.
    assert all("=" in p for p in ours[len(documented) :])


# Tests that several layers share.

X = sample((2, 8, 3), seed=3)
MAKERS = {
    "Dense": lambda **fields: nn.Dense(4, **fields),
    "DenseGeneral": lambda **fields: nn.DenseGeneral(4, **fields),
    "Conv": lambda **fields: nn.Conv(4, 3, **fields),
    "ConvTranspose": lambda **fields: nn.ConvTranspose(4, 3, **fields),
    "ConvLocal": lambda **fields: nn.ConvLocal(4, 3, **fields),
    "Einsum": lambda **fields: nn.Einsum((3, 4), "bta,ac->btc", **fields),
}
CONVOLUTIONS = ["Conv", "ConvTranspose", "ConvLocal"]

each = pytest.mark.parametrize("name", MAKERS)
each_convolution = pytest.mark.parametrize("name", CONVOLUTIONS)


@each
def test_use_bias_says_whether_a_bias_is_added(name):
    layer = MAKERS[name](bias_init=nn.initializers.constant(5.0))
    y, variables = layer.init_with_output(KEY, X)
    plain = MAKERS[name](use_bias=False)
    del variables["params"]["bias"]
    assert list(jax.eval_shape(plain.init, KEY, X)["params"]) == ["kernel"]
    np.testing.assert_allclose(plain.apply(variables, X) + 5.0, y, rtol=1e-5)


@each
def test_dtype_is_inferred_from_input_and_parameters(name):
    def output(x_dtype, **fields):
        y, _ = jax.eval_shape(MAKERS[name](**fields).init_with_output, KEY, X.astype(x_dtype))
        return y.dtype

    assert output(jnp.float32) == jnp.float32
    assert output(jnp.bfloat16) == jnp.float32
    assert output(jnp.bfloat16, param_dtype=jnp.bfloat16) == jnp.bfloat16
    assert output(jnp.int32) == jnp.float32
    assert output(jnp.float32, dtype=jnp.bfloat16) == jnp.bfloat16


@each
def test_param_dtype_is_passed_to_the_initializers(name):
    seen = []

    def spy(key, shape, dtype):
        seen.append(jnp.dtype(dtype))
        return jnp.zeros(shape, dtype)

    MAKERS[name](kernel_init=spy, bias_init=spy).init(KEY, X)
    MAKERS[name](kernel_init=spy, bias_init=spy, param_dtype=jnp.bfloat16).init(KEY, X)
    assert seen == [jnp.float32, jnp.float32, jnp.bfloat16, jnp.bfloat16]


@each
def test_precision_is_jax_s(name):
    layer = MAKERS[name](precision=lax.Precision.HIGHEST)
    variables = layer.init(KEY, X)
    assert "HIGHEST" in str(jax.make_jaxpr(layer.apply)(variables, X))


@each
def test_initializers_make_kernel_and_bias(name):
    ones, twos = nn.initializers.ones, nn.initializers.constant(2.0)
    params = MAKERS[name](kernel_init=ones, bias_init=twos).init(KEY, X)["params"]
    assert (params["kernel"] == 1.0).all()
    assert (params["bias"] == 2.0).all()
    assert (MAKERS[name]().init(KEY, X)["params"]["bias"] == 0.0).all()


def test_dense_transforms_the_last_dimension():
    layer = nn.Dense(4)
    variables = layer.init(KEY, X)
    y = layer.apply(variables, X)
    assert y.shape == (2, 8, 4)
    np.testing.assert_allclose(y[1, 5], layer.apply(variables, X[1, 5]), rtol=1e-5)


def test_dense_general_is_dense_by_default():
    dense, general = nn.Dense(features=4), nn.DenseGeneral(features=4)
    variables = dense.init(KEY, X)
    same = general.init(KEY, X)
    assert jax.tree.all(jax.tree.map(lambda a, b: (a == b).all(), variables, same))
    np.testing.assert_array_equal(dense.apply(variables, X), general.apply(variables, X))


def test_dense_general_s_axes():
    layer = nn.DenseGeneral((4, 5), axis=(-2, -1))
    y, variables = layer.init_with_output(KEY, X)
    assert y.shape == (2, 4, 5)
    params = variables["params"]
    expected = jnp.einsum("btc,tcfg->bfg", X, params["kernel"]) + params["bias"]
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-6)


def test_dense_general_s_batch_dims():
    y, variables = nn.DenseGeneral(4, batch_dims=(0,)).init_with_output(KEY, X)
    params = variables["params"]
    assert params["kernel"].shape == (2, 3, 4)
    assert params["bias"].shape == (2, 4)
    expected = jnp.einsum("btc,bcf->btf", X, params["kernel"]) + params["bias"][:, None]
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-6)


# Convolutions.


@pytest.mark.parametrize(
    ("layer", "function"),
    [
        (nn.Conv(4, 3), "conv_general_dilated"),
        (nn.ConvTranspose(4, 3), "conv_general_dilated"),
        (nn.ConvLocal(4, 3), "dot_general"),
    ],
    ids=CONVOLUTIONS,
)
def test_convolutions_wrap_lax(layer, function):
    variables = layer.init(KEY, X)
    assert function in str(jax.make_jaxpr(layer.apply)(variables, X))


def test_convolutions_are_lax_s():
    numbers = ("NHC", "HIO", "NHC")
    for name, direct in {
        "Conv": lambda k: lax.conv_general_dilated(X, k, (1,), "SAME", dimension_numbers=numbers),
        "ConvTranspose": lambda k: lax.conv_transpose(X, k, (1,), "SAME"),
        "ConvLocal": lambda k: lax.conv_general_dilated_local(
            X, k, (1,), "SAME", (3,), dimension_numbers=numbers
        ),
    }.items():
        y, variables = MAKERS[name](use_bias=False).init_with_output(KEY, X)
        np.testing.assert_allclose(y, direct(variables["params"]["kernel"]), rtol=1e-6)


@each_convolution
def test_an_int_is_a_kernel_of_one_dimension(name):
    one, several = (getattr(nn, name)(4, size) for size in (3, (3,)))
    y, variables = one.init_with_output(KEY, X)
    np.testing.assert_array_equal(several.apply(variables, X), y)


@pytest.mark.parametrize(
    ("field", "one", "many"),
    [("strides", 2, (2, 2)), ("kernel_dilation", 2, (2, 2)), ("padding", 2, ((2, 2), (2, 2)))],
)
@each_convolution
def test_one_int_applies_to_all_dimensions(name, field, one, many):
    x = jnp.ones((1, 6, 5, 2))
    short, long = (getattr(nn, name)(3, (3, 2), **{field: value}) for value in (one, many))
    y, variables = short.init_with_output(KEY, x)
    np.testing.assert_array_equal(long.apply(variables, x), y)
    assert jax.tree.map(jnp.shape, long.init(KEY, x)) == jax.tree.map(jnp.shape, variables)


@each_convolution
def test_defaults_of_strides_and_dilation_are_one(name):
    fields = {"strides": 1, "kernel_dilation": 1}
    if name != "ConvTranspose":
        fields["input_dilation"] = 1
    y, variables = MAKERS[name]().init_with_output(KEY, X)
    np.testing.assert_array_equal(MAKERS[name](**fields).apply(variables, X), y)
    nothing = dict.fromkeys(fields)
    np.testing.assert_array_equal(MAKERS[name](**nothing).apply(variables, X), y)


@each_convolution
def test_paddings_that_all_know(name):
    shapes = {}
    for padding in ("SAME", "VALID", "CIRCULAR", ((1, 2),), 1, (1,), [[1, 2]]):
        y, _ = jax.eval_shape(MAKERS[name](padding=padding).init_with_output, KEY, X)
        shapes[str(padding)] = y.shape[1]
    valid = {"ConvTranspose": 10}.get(name, 6)
    extra = {"ConvTranspose": 9}.get(name, 9)
    assert shapes == {
        "SAME": 8,
        "VALID": valid,
        "CIRCULAR": 8,
        "((1, 2),)": extra,
        "1": 8,
        "(1,)": 8,
        "[[1, 2]]": extra,
    }


@each_convolution
def test_an_int_in_a_sequence_pads_both_sides(name):
    x = jnp.ones((1, 6, 5, 2))
    short, long = (getattr(nn, name)(3, (3, 2), padding=p) for p in ((1, 2), ((1, 1), (2, 2))))
    y, variables = short.init_with_output(KEY, x)
    np.testing.assert_array_equal(long.apply(variables, x), y)


@pytest.mark.parametrize("name", ["Conv", "ConvLocal"])
def test_circular_padding_is_periodic(name):
    around = jnp.pad(X, ((0, 0), (1, 1), (0, 0)), mode="wrap")
    y, variables = MAKERS[name](padding="CIRCULAR").init_with_output(KEY, X)
    expected = MAKERS[name](padding="VALID").apply(variables, around)
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["Conv", "ConvLocal"])
def test_causal_padding_is_on_the_left(name):
    y, variables = MAKERS[name](padding="CAUSAL").init_with_output(KEY, X)
    assert y.shape == (2, 8, 4)
    np.testing.assert_allclose(
        y, MAKERS[name](padding=((2, 0),)).apply(variables, X), rtol=1e-5, atol=1e-6
    )
    with pytest.raises(ValueError, match="1D"):
        getattr(nn, name)(4, (3, 3), padding="CAUSAL").init(KEY, jnp.ones((1, 4, 4, 3)))


def test_input_dilation_is_a_transposed_convolution():
    transposed = nn.ConvTranspose(4, 3, strides=2, padding="VALID")
    y, variables = transposed.init_with_output(KEY, X)
    dilated = nn.Conv(4, 3, input_dilation=2, padding=((2, 2),))
    np.testing.assert_allclose(dilated.apply(variables, X), y, rtol=1e-5, atol=1e-6)


@each_convolution
def test_kernel_dilation_spreads_the_kernel(name):
    padding = {"ConvTranspose": "VALID"}.get(name, ((2, 2),))
    dilated = MAKERS[name](kernel_dilation=2, padding=padding)
    y, variables = dilated.init_with_output(KEY, X)
    kernel = variables["params"]["kernel"]
    if name == "ConvLocal":
        spread = jnp.zeros((8, 3, 5, 4)).at[:, :, ::2].set(kernel.reshape(8, 3, 3, 4))
        spread = spread.reshape(8, 15, 4)
    else:
        spread = jnp.zeros((5, 3, 4)).at[::2].set(kernel)
    wide = {"params": {**variables["params"], "kernel": spread}}
    direct = getattr(nn, name)(4, 5, padding=padding).apply(wide, X)
    np.testing.assert_allclose(y, direct, rtol=1e-5, atol=1e-6)


def test_groups_divide_the_input_s_features():
    x = jnp.ones((1, 6, 4))
    layer = nn.Conv(6, 3, feature_group_count=2)
    y, variables = layer.init_with_output(KEY, x)
    assert variables["params"]["kernel"].shape == (3, 2, 6)
    second = layer.apply(variables, x.at[..., 2:].set(7.0))
    np.testing.assert_array_equal(second[..., :3], y[..., :3])
    assert (second[..., 3:] != y[..., 3:]).any()
    assert nn.Conv(6, 3).feature_group_count == 1


@each_convolution
def test_mask_masks_the_weights(name):
    y, variables = MAKERS[name]().init_with_output(KEY, X)
    kernel = variables["params"]["kernel"]
    mask = jnp.tril(jnp.ones_like(kernel))
    masked = {"params": {**variables["params"], "kernel": kernel * mask}}
    expected = MAKERS[name]().apply(masked, X)
    np.testing.assert_array_equal(MAKERS[name](mask=mask).apply(variables, X), expected)
    assert (expected != y).any()
    with pytest.raises(ValueError, match="mask has shape"):
        MAKERS[name](mask=jnp.ones((1, 2))).apply(variables, X)


@each_convolution
def test_batch_dimensions_are_merged_and_restored(name):
    x = sample((2, 3, 8, 3))
    variables = MAKERS[name]().init(KEY, X)
    y = MAKERS[name]().apply(variables, x)
    assert y.shape[:2] == (2, 3)
    each = jax.vmap(lambda x: MAKERS[name]().apply(variables, x))(x)
    np.testing.assert_allclose(y, each, rtol=1e-5, atol=1e-6)


@each_convolution
def test_a_missing_batch_dimension_is_added_and_removed(name):
    variables = MAKERS[name]().init(KEY, X)
    alone = MAKERS[name]().apply(variables, X[0])
    np.testing.assert_allclose(alone, MAKERS[name]().apply(variables, X)[0], rtol=1e-5, atol=1e-6)


def test_images_and_volumes_have_their_channels_last():
    for spatial in ((5, 4), (5, 4, 3)):
        x = jnp.ones((2, *spatial, 6))
        for name in CONVOLUTIONS:
            layer = getattr(nn, name)(7, (2,) * len(spatial))
            assert jax.eval_shape(layer.init_with_output, KEY, x)[0].shape == (2, *spatial, 7)


def test_transpose_kernel_flips_and_swaps():
    y, variables = nn.ConvTranspose(4, 3, transpose_kernel=True).init_with_output(KEY, X)
    kernel = variables["params"]["kernel"]
    assert kernel.shape == (3, 4, 3)
    other = {"params": {**variables["params"], "kernel": kernel[::-1].swapaxes(1, 2)}}
    plain = nn.ConvTranspose(4, 3).apply(other, X)
    np.testing.assert_allclose(plain, y, rtol=1e-5, atol=1e-6)


def test_overrides():
    def dot(*args, **kwargs):
        return 3 * lax.dot_general(*args, **kwargs)

    def convolve(*args, **kwargs):
        return 3 * lax.conv_general_dilated(*args, **kwargs)

    for name, field, function in (
        ("Dense", "dot_general", dot),
        ("DenseGeneral", "dot_general", dot),
        ("Conv", "conv_general_dilated", convolve),
    ):
        y, variables = MAKERS[name]().init_with_output(KEY, X)
        tripled = MAKERS[name](**{field: function}).apply(variables, X)
        np.testing.assert_allclose(tripled, 3 * y, rtol=1e-6)
        from_cls = MAKERS[name](**{f"{field}_cls": lambda f=function: f}).apply(variables, X)
        np.testing.assert_array_equal(from_cls, tripled)


# Einsum.


def test_einsum_takes_its_equation_from_constructor_or_call():
    given, later = nn.Einsum((3, 4), "bta,ac->btc"), nn.Einsum((3, 4))
    y, variables = given.init_with_output(KEY, X)
    np.testing.assert_array_equal(later.apply(variables, X, "bta,ac->btc"), y)
    np.testing.assert_array_equal(later.apply(variables, X, einsum_str="bta,ac->btc"), y)
    for layer, arguments in ((later, ()), (given, ("bta,ac->btc",))):
        with pytest.raises(ValueError, match="einsum_str"):
            layer.apply(variables, X, *arguments)


@pytest.mark.parametrize("equation", ["bta->bt", "bta,ac,c->bt"])
def test_einsum_has_exactly_two_operands(equation):
    with pytest.raises(ValueError, match="expected two"):
        nn.Einsum((3, 4), equation).init(KEY, X)


# Embed.


def test_embed_s_table():
    variables = nn.Embed(num_embeddings=5, features=3).init(KEY, jnp.array([0]))
    assert jax.tree.map(jnp.shape, variables) == {"params": {"embedding": (5, 3)}}


def test_embed_indexes_the_table():
    layer = nn.Embed(5, 3)
    ids = jnp.array([[[0], [4]]])
    y, variables = layer.init_with_output(KEY, ids)
    assert y.shape == (1, 2, 1, 3)
    np.testing.assert_array_equal(y, variables["params"]["embedding"][ids])


def test_embed_beyond_its_rows_is_nan():
    y, _ = nn.Embed(5, 3).init_with_output(KEY, jnp.array([4, 5, 6]))
    assert np.isnan(y).all(1).tolist() == [False, True, True]


def test_embed_of_one_row_broadcasts():
    y, variables = nn.Embed(1, 3).init_with_output(KEY, jnp.array([[0, 1], [2, 3]]))
    np.testing.assert_array_equal(y, jnp.broadcast_to(variables["params"]["embedding"], (2, 2, 3)))


def test_embed_takes_integers():
    with pytest.raises(ValueError, match="integer"):
        nn.Embed(5, 3).init(KEY, jnp.ones(2))


def test_embed_s_dtypes_and_initializer():
    ids = jnp.array([0])
    assert (
        nn.Embed(5, 3, param_dtype=jnp.bfloat16).init_with_output(KEY, ids)[0].dtype == "bfloat16"
    )
    y, variables = nn.Embed(
        5, 3, dtype=jnp.float16, embedding_init=nn.initializers.ones
    ).init_with_output(KEY, ids)
    assert y.dtype == jnp.float16
    assert variables["params"]["embedding"].dtype == jnp.float32
    assert (y == 1.0).all()


def test_attend_is_the_inner_product_with_each_row():
    layer = nn.Embed(5, 3)
    variables = layer.init(KEY, jnp.array([0]))
    y = layer.apply(variables, X, method=layer.attend)
    assert y.shape == (2, 8, 5)
    table = variables["params"]["embedding"]
    np.testing.assert_allclose(y, jnp.inner(X, table), rtol=1e-5, atol=1e-6)


def test_attend_shares_the_table_with_the_embedding():
    class Tied(nn.Module):
        def setup(self):
            self.embed = nn.Embed(5, 3)

        def __call__(self, ids):
            return self.embed.attend(self.embed(ids))

    logits, variables = Tied().init_with_output(KEY, jnp.array([[1, 2]]))
    assert logits.shape == (1, 2, 5)
    assert list(variables["params"]) == ["embed"]
    assert list(variables["params"]["embed"]) == ["embedding"]


# Pooling.

IMAGE = jnp.arange(32.0).reshape(1, 4, 4, 2)


def test_pools():
    blocks = np.asarray(IMAGE).reshape(1, 2, 2, 2, 2, 2)
    np.testing.assert_array_equal(nn.max_pool(IMAGE, (2, 2), (2, 2)), blocks.max((2, 4)))
    np.testing.assert_array_equal(nn.avg_pool(IMAGE, (2, 2), (2, 2)), blocks.mean((2, 4)))
    np.testing.assert_array_equal(nn.min_pool(IMAGE, (2, 2), (2, 2)), blocks.min((2, 4)))


def test_pool_strides_are_one_by_default():
    for pool in (nn.max_pool, nn.avg_pool):
        np.testing.assert_array_equal(pool(IMAGE, (2, 2)), pool(IMAGE, (2, 2), (1, 1)))
    default = nn.pool(IMAGE, 0.0, lax.add, (2, 2), None, "VALID")
    np.testing.assert_array_equal(default, nn.pool(IMAGE, 0.0, lax.add, (2, 2), (1, 1), "VALID"))


def test_pool_paddings():
    for pool in (nn.max_pool, nn.avg_pool):
        assert pool(IMAGE, (3, 3)).shape == (1, 2, 2, 2)
        assert pool(IMAGE, (3, 3), padding="VALID").shape == (1, 2, 2, 2)
        assert pool(IMAGE, (3, 3), padding="SAME").shape == (1, 4, 4, 2)
        assert pool(IMAGE, (3, 3), padding=((0, 1), (2, 2))).shape == (1, 3, 6, 2)


def test_avg_pool_counts_padding_or_not():
    ones = jnp.ones((1, 3, 1))
    counted = nn.avg_pool(ones, (2,), padding="SAME")
    assert counted.ravel().tolist() == [1.0, 1.0, 0.5]
    real = nn.avg_pool(ones, (2,), padding="SAME", count_include_pad=False)
    assert real.ravel().tolist() == [1.0, 1.0, 1.0]


def test_pool_reduces_with_the_function_given():
    product = nn.pool(IMAGE + 1, 2.0, lambda a, b: a * b, (1, 2), (1, 2), "VALID")
    expected = 2 * (IMAGE + 1)[:, :, ::2] * (IMAGE + 1)[:, :, 1::2]
    np.testing.assert_array_equal(product, expected)
    assert "reduce_window" in str(jax.make_jaxpr(lambda x: nn.max_pool(x, (2, 2)))(IMAGE))


# Dropout.


def test_dropout_needs_a_stream_in_apply_but_none_in_init():
    layer = nn.Dropout(0.5)
    assert layer.init(KEY, X, deterministic=True) == {}
    assert layer.init({}, X, deterministic=True) == {}
    layer.apply({}, X, deterministic=False, rngs={"dropout": KEY})
    with pytest.raises(Exception, match="dropout"):
        layer.apply({}, X, deterministic=False)


def test_rate_is_the_probability_to_be_dropped():
    y = nn.Dropout(0.1, deterministic=False).apply({}, jnp.ones(10_000), rngs={"dropout": KEY})
    assert 0.08 < (y == 0.0).mean() < 0.12


def test_broadcast_dims_share_the_mask():
    layer = nn.Dropout(0.5, broadcast_dims=(1,), deterministic=False)
    y = layer.apply({}, jnp.ones((20, 6, 2)), rngs={"dropout": KEY})
    assert (y == y[:, :1]).all()
    assert 0.0 < (y == 0.0).mean() < 1.0


def test_deterministic_returns_the_inputs():
    x = jnp.ones(1000)
    assert nn.Dropout(0.75, deterministic=True).apply({}, x) is x
    assert nn.Dropout(0.75).apply({}, x, True) is x
    y = nn.Dropout(0.75).apply({}, x, deterministic=False, rngs={"dropout": KEY})
    assert set(y.tolist()) == {0.0, 4.0}


def test_rng_collection_names_the_stream():
    layer = nn.Dropout(0.5, rng_collection="noise", deterministic=False)
    y = layer.apply({}, X, rngs={"noise": KEY})
    same = nn.Dropout(0.5, deterministic=False).apply({}, X, rngs={"dropout": KEY})
    np.testing.assert_array_equal(y, same)


def test_rng_is_used_as_the_key():
    layer = nn.Dropout(0.5, deterministic=False)
    y = layer.apply({}, X, rng=KEY)
    mask = jax.random.bernoulli(KEY, 0.5, X.shape)
    np.testing.assert_array_equal(y, jnp.where(mask, X / 0.5, 0.0))


def test_dropout_keeps_the_mean():
    y = nn.Dropout(0.3, deterministic=False).apply({}, jnp.ones(100_000), rngs={"dropout": KEY})
    assert abs(y.mean() - 1.0) < 0.01
