"""Bad input raises an error that says what was expected, what was passed, and where.

Each row: a call, the type that a plain Python handler would catch, and text from the message.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from linnet.layers_linear import functional, linen
from linnet.module_core import errors
from linnet.module_core.linen import Module, compact

KEY = jax.random.key(0)
VECTORS = jnp.ones((2, 4))
SEQUENCE = jnp.ones((2, 8, 4))
IMAGES = jnp.ones((2, 8, 8, 4))
IDS = jnp.array([0, 1])


class Refusal(NamedTuple):
    layer: Module
    x: Any
    error: type[Exception]
    says: tuple[str, ...]
    call: dict[str, Any]


def refused(layer, x, error, *says, **call):
    """A layer whose `init` raises an error for an input, and text from the message."""
    return Refusal(layer, x, error, says, call)


@pytest.mark.parametrize(
    "refusal",
    [
        # Numbers of features.
        refused(linen.Dense(-3), VECTORS, ValueError, "'features'", "-3"),
        refused(linen.Dense(3.0), VECTORS, TypeError, "'features'", "3.0 (float)", "Write 3,"),
        refused(linen.Dense(3.5), VECTORS, TypeError, "'features'", "3.5 (float)"),
        refused(linen.Dense("3"), VECTORS, TypeError, "'features'", "'3' (str)"),
        refused(linen.Dense((3,)), VECTORS, TypeError, "'features'", "(3,) (tuple)"),
        refused(linen.DenseGeneral((3, -1)), VECTORS, ValueError, "'features[1]'", "-1"),
        refused(linen.DenseGeneral((3.0,)), VECTORS, TypeError, "'features[0]'", "3.0"),
        refused(linen.Conv(-3, 3), SEQUENCE, ValueError, "'features'", "-3"),
        refused(linen.ConvLocal(-3, 3), SEQUENCE, ValueError, "'features'", "-3"),
        refused(linen.ConvTranspose(3.0, 3), SEQUENCE, TypeError, "'features'", "3.0"),
        refused(linen.Embed(-5, 3), IDS, ValueError, "'num_embeddings'", "-5"),
        refused(linen.Embed(0, 3), IDS, ValueError, "'num_embeddings'", "at least 1"),
        refused(linen.Embed(5, 3.0), IDS, TypeError, "'features'", "3.0"),
        refused(linen.GLU((3, 4)), VECTORS, TypeError, "'hidden_features'", "(3, 4) (tuple)"),
        refused(linen.MLP((3, -4)), VECTORS, ValueError, "'hidden_features[1]'", "-4"),
        refused(linen.MLP(3, -4), VECTORS, ValueError, "'features'", "-4"),
        refused(linen.GLU(3, activation="silu"), VECTORS, TypeError, "'activation'", "'silu'"),
        refused(linen.Einsum((4, -3), "ta,ac->tc"), VECTORS, ValueError, "'shape[1]'", "-3"),
        # Inputs.
        refused(linen.Dense(3), 1.0, ValueError, "at least one dimension", "scalar"),
        refused(linen.Dense(3), None, TypeError, "array of numbers", "None"),
        refused(linen.Dense(3), [[1.0, 2.0], [3.0]], TypeError, "array of numbers", "list"),
        refused(linen.Embed(5, 3), [[1, 2], [3]], TypeError, "array of numbers", "list"),
        refused(linen.PReLU(), [[1.0], 2.0], TypeError, "array of numbers", "list"),
        refused(linen.Dense(3), "text", TypeError, "array of numbers", "'text'"),
        refused(linen.Conv(3, (3, 3)), VECTORS, ValueError, "(2, 4)", "at least 3"),
        refused(linen.ConvLocal(3, (3, 3)), VECTORS, ValueError, "(2, 4)", "at least 3"),
        refused(linen.ConvTranspose(3, (3, 3)), VECTORS, ValueError, "(2, 4)", "at least 3"),
        refused(linen.Embed(5, 3), jnp.ones(2), ValueError, "integer", "float32", "astype"),
        refused(linen.Embed(5, 3), IDS > 0, ValueError, "integer", "bool"),
        # Computation dtypes.
        refused(linen.Dense(3, dtype=jnp.int32), VECTORS, ValueError, "inexact", "int32"),
        refused(linen.Conv(3, 3, dtype=bool), SEQUENCE, ValueError, "inexact", "bool"),
        # Axes.
        refused(linen.DenseGeneral(3, axis=7), IMAGES, ValueError, "axis=7", "4 dimensions"),
        refused(linen.DenseGeneral(3, axis=1.0), IMAGES, TypeError, "'axis'", "1.0"),
        refused(linen.DenseGeneral(3, axis=(1, -3)), IMAGES, ValueError, "(1, -3)", "twice"),
        refused(linen.DenseGeneral(3, axis=0), jnp.float32(1), ValueError, "0 dimensions"),
        refused(linen.DenseGeneral(3, batch_dims=(1,)), IMAGES, ValueError, "(1,)", "leading"),
        refused(
            linen.DenseGeneral(3, axis=0, batch_dims=(0,)), IMAGES, ValueError, "axis=0", "same"
        ),
        # Windows.
        refused(linen.Conv(3, (3, -1)), IMAGES, ValueError, "'kernel_size[1]'", "-1"),
        refused(linen.Conv(3, 0), SEQUENCE, ValueError, "'kernel_size'", "at least 1"),
        refused(linen.Conv(3, (3, 2.0)), IMAGES, TypeError, "'kernel_size[1]'", "2.0"),
        refused(linen.Conv(3, "33"), IMAGES, TypeError, "'kernel_size'", "'33'"),
        refused(linen.ConvLocal(3, -1), SEQUENCE, ValueError, "'kernel_size'", "-1"),
        refused(linen.ConvTranspose(3, -1), SEQUENCE, ValueError, "'kernel_size'", "-1"),
        refused(linen.Conv(3, 3, strides=0), SEQUENCE, ValueError, "'strides'", "got 0"),
        refused(linen.Conv(3, (3, 3), strides=(1,)), IMAGES, ValueError, "1 entry,", "2 spat"),
        refused(linen.Conv(3, 3, kernel_dilation=1.5), SEQUENCE, TypeError, "dilation", "1.5"),
        refused(linen.ConvTranspose(3, 3, strides=-1), SEQUENCE, ValueError, "'strides'", "-1"),
        # Padding.
        refused(
            linen.Conv(3, 3, padding="circulr"), SEQUENCE, ValueError, "'circulr'", "'CIRCULAR'?"
        ),
        refused(linen.Conv(3, 3, padding="?"), SEQUENCE, ValueError, "'?'", "VALID", "CAUSAL"),
        refused(linen.ConvLocal(3, 3, padding="?"), SEQUENCE, ValueError, "'?'", "VALID"),
        refused(
            linen.ConvTranspose(3, 3, padding="CAUSAL"), SEQUENCE, ValueError, "'CAUSAL'", "VALID"
        ),
        refused(linen.Conv(3, (3, 3), padding=(1,)), IMAGES, ValueError, "(1,)", "2 ints"),
        refused(linen.Conv(3, 3, padding=2.5), SEQUENCE, ValueError, "2.5", "(low, high) pair"),
        refused(linen.Conv(3, 3, padding=None), SEQUENCE, ValueError, "None", "(low, high) pair"),
        refused(linen.Conv(3, 3, padding=((1, 2, 3),)), SEQUENCE, ValueError, "(1, 2, 3)", "pair"),
        refused(linen.Conv(3, 3, padding=((1, "2"),)), SEQUENCE, ValueError, "'2'", "pair"),
        refused(
            linen.Conv(3, (3, 3), padding="CAUSAL"), IMAGES, ValueError, "1D", "(3, 3)", "pairs"
        ),
        refused(linen.ConvLocal(3, (3, 3), padding="CAUSAL"), IMAGES, ValueError, "1D", "(3, 3)"),
        refused(
            linen.Conv(3, 3, input_dilation=2), SEQUENCE, ValueError, "'SAME'", "input_dilation"
        ),
        # Groups and masks.
        refused(linen.Conv(3, 3, feature_group_count=3), SEQUENCE, ValueError, "=3", "inputs' 4"),
        refused(linen.Conv(3, 3, feature_group_count=2), SEQUENCE, ValueError, "=2", "output's 3"),
        refused(
            linen.Conv(3, 3, feature_group_count=0), SEQUENCE, ValueError, "at least 1", "got 0"
        ),
        refused(
            linen.ConvLocal(3, 3, feature_group_count=2), SEQUENCE, ValueError, "no feature groups"
        ),
        refused(
            linen.ConvLocal(3, 3, conv_general_dilated=jax.lax.conv_general_dilated),
            SEQUENCE,
            ValueError,
            "conv_general_dilated",
            "no effect",
        ),
        refused(linen.Conv(3, 3, mask=jnp.ones(3)), SEQUENCE, ValueError, "(3,)", "(3, 4, 3)"),
        # Equations.
        refused(linen.Einsum((4, 3)), VECTORS, ValueError, "einsum_str"),
        refused(
            linen.Einsum((4, 3), "ta,ac->tc"),
            VECTORS,
            ValueError,
            "given twice",
            einsum_str="ta,ac->tc",
        ),
        refused(linen.Einsum((4, 3), "ta,ac"), VECTORS, ValueError, '"->"', "'ta,ac'"),
        refused(linen.Einsum((4, 3), "ta->ta"), VECTORS, ValueError, "1 operand", "expected two"),
        refused(
            linen.Einsum((4, 3), "ta,ac,c->t"), VECTORS, ValueError, "3 operand", "expected two"
        ),
        refused(linen.Einsum((4, 3), "bta,ac->tc"), VECTORS, ValueError, "'bta'", "(2, 4)"),
        refused(linen.Einsum((4, 3), "ta,acd->tc"), VECTORS, ValueError, "'acd'", "(4, 3)"),
        refused(linen.Einsum((5, 3), "ta,ac->tc"), VECTORS, ValueError, "'a'", "4", "5"),
        refused(linen.Einsum((4, 3), "ta,ac->tz"), VECTORS, ValueError, "'z'", "neither"),
        refused(linen.Einsum((4, 3), "ta,ac->tcc"), VECTORS, ValueError, "repeats"),
        refused(linen.Einsum((4, 3), "t1,1c->tc"), VECTORS, ValueError, "malformed", "'t1'"),
        refused(linen.Einsum((4, 3), 3), VECTORS, TypeError, "'einsum_str'", "3 (int)"),
        # Dropout.
        *(
            refused(linen.Dropout(rate), VECTORS, error, "'rate'", shown, deterministic=False)
            for rate, error, shown in (
                (-0.1, ValueError, "-0.1"),
                (1.5, ValueError, "1.5"),
                (50, ValueError, "50"),
                (float("nan"), ValueError, "nan"),
                ("a", TypeError, "'a'"),
                (None, TypeError, "None"),
            )
        ),
        refused(linen.Dropout(1.5), VECTORS, ValueError, "'rate'", deterministic=True),
        refused(linen.Dropout(0.5), IDS, ValueError, "floating", "int32", deterministic=False),
        refused(linen.Dropout(0.5, (7,)), VECTORS, ValueError, "7", "2 dim", deterministic=False),
        refused(
            linen.Dropout(0.5, (0.5,)),
            VECTORS,
            TypeError,
            "'broadcast_dims[0]'",
            deterministic=False,
        ),
        refused(linen.Dropout(0.5), VECTORS, ValueError, "deterministic"),
        refused(
            linen.Dropout(0.5, deterministic=True),
            VECTORS,
            ValueError,
            "given twice",
            deterministic=False,
        ),
    ],
)
def test_a_layer_raises_an_error(refusal):
    with pytest.raises(errors.LinnetError) as caught:
        refusal.layer.init(KEY, refusal.x, **refusal.call)
    assert isinstance(caught.value, refusal.error)
    text = str(caught.value)
    assert text.startswith(f"{type(refusal.layer).__name__}: ")
    for part in refusal.says:
        assert part in text, text


class Model(Module):
    layer: Module

    @compact
    def __call__(self, x):
        return self.layer(x)


@pytest.mark.parametrize(
    ("layer", "x", "other", "name", "expected", "stored"),
    [
        (linen.Dense(3), VECTORS, jnp.ones((2, 5)), "kernel", (5, 3), (4, 3)),
        (linen.DenseGeneral((3, 2)), VECTORS, jnp.ones((2, 5)), "kernel", (5, 3, 2), (4, 3, 2)),
        (linen.Conv(3, 3), SEQUENCE, jnp.ones((2, 8, 5)), "kernel", (3, 5, 3), (3, 4, 3)),
        (linen.ConvTranspose(3, 3), SEQUENCE, jnp.ones((2, 8, 5)), "kernel", (3, 5, 3), (3, 4, 3)),
        (linen.ConvLocal(3, 3), SEQUENCE, jnp.ones((2, 9, 4)), "kernel", (9, 12, 3), (8, 12, 3)),
    ],
    ids=lambda v: type(v).__name__ if isinstance(v, Module) else None,
)
def test_stored_parameters_of_another_input_raise_an_error(layer, x, other, name, expected, stored):
    model = Model(layer)
    variables = model.init(KEY, x)
    with pytest.raises(errors.ScopeParamShapeError) as caught:
        model.apply(variables, other)
    text = str(caught.value)
    for part in (f"layer ({type(layer).__name__})", f'"{name}"', str(expected), str(stored)):
        assert part in text


def test_the_place_is_the_module_s_path():
    class Encoder(Module):
        @compact
        def __call__(self, x):
            return linen.Dropout(1.5, deterministic=False)(linen.Dense(3)(x))

    class Outer(Module):
        @compact
        def __call__(self, x):
            return Encoder(name="encoder")(x)

    with pytest.raises(
        errors.ArgumentError, match=re.escape("encoder/Dropout_0 (Dropout): 'rate'")
    ):
        Outer().init(KEY, VECTORS)


def test_a_missing_key_names_stream_and_module():
    model = Model(linen.Dropout(0.5, deterministic=False))
    with pytest.raises(errors.InvalidRngError) as caught:
        model.apply({}, VECTORS, rngs={"noise": KEY})
    for part in ("layer", '"dropout"', "'noise'"):
        assert part in str(caught.value)


def test_a_traced_rate_raises_an_error():
    @jax.jit
    def program(rate):
        return functional.dropout(VECTORS, KEY, rate)

    with pytest.raises(errors.ArgumentTypeError, match="static_argnames"):
        program(0.5)


@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (lambda x: functional.max_pool(x, (2, 2), (2,)), ValueError, "strides=(2,) has 1"),
        (lambda x: functional.max_pool(x, 2), TypeError, "'window_shape' must be a sequence"),
        (lambda x: functional.avg_pool(x, 2), TypeError, "'window_shape' must be a sequence"),
        (lambda x: functional.max_pool(x, (2, 2), 2), TypeError, "'strides' must be a sequence"),
        (lambda x: functional.max_pool(x, (0, 2)), ValueError, "'window_shape' must be at least 1"),
        (lambda x: functional.min_pool(x, (-1, 2)), ValueError, "got -1"),
        (lambda x: functional.avg_pool(x, (2.0, 2)), TypeError, "got 2.0 (float)"),
        (
            lambda x: functional.max_pool(x, (2, 2), (0, 1)),
            ValueError,
            "'strides' must be at least",
        ),
        (lambda x: functional.max_pool(x, (2, 2), padding="CIRCULAR"), ValueError, "'CIRCULAR'"),
        (lambda x: functional.max_pool(x, (2, 2), padding=((1, 1),)), ValueError, "2 ints"),
        (lambda x: functional.max_pool(x[0, 0], (2, 2)), ValueError, "at least 3 dimensions"),
        (
            lambda x: functional.pool(x, 0.0, jax.lax.add, (2,), (2, 2), "SAME"),
            ValueError,
            "2 entries",
        ),
    ],
)
def test_pooling_raises_an_error(call, error, says):
    with pytest.raises(errors.LinnetError) as caught:
        call(IMAGES)
    assert isinstance(caught.value, error)
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: functional.dense(VECTORS, jnp.ones((5, 3))), ["(5, 3)", "(4, features)"]),
        (lambda: functional.dense(VECTORS, jnp.ones(4)), ["(4,)", "(4, features)"]),
        (
            lambda: functional.dense(VECTORS, jnp.ones((4, 3)), jnp.ones(4)),
            ["bias", "(4,)", "(3,)"],
        ),
        (lambda: functional.dense(jnp.float32(1), jnp.ones((4, 3))), ["scalar"]),
        (
            lambda: functional.dense_general(SEQUENCE, jnp.ones((8, 5, 3)), axis=(1, 2)),
            ["(8, 5, 3)", "(8, 4, 3)"],
        ),
        (
            lambda: functional.dense_general(VECTORS, jnp.ones((4, 3)), jnp.ones((3, 1))),
            ["bias", "(3, 1)", "(3,)"],
        ),
        (lambda: functional.conv(SEQUENCE, jnp.ones((3, 5, 3))), ["(3, 5, 3)", "(3, 4, 3)"]),
        (lambda: functional.conv(SEQUENCE, jnp.ones(3)), ["(3,)", "features"]),
        (
            lambda: functional.conv(SEQUENCE, jnp.ones((3, 4, 3)), jnp.ones(4)),
            ["bias", "(4,)", "(3,)"],
        ),
        (
            lambda: functional.conv_transpose(SEQUENCE, jnp.ones((3, 4, 3)), transpose_kernel=True),
            ["(3, 4, 3)", "(3, 4, 4)", "transpose_kernel=True"],
        ),
        (lambda: functional.conv_transpose(SEQUENCE, jnp.ones(3)), ["(3,)", "features"]),
        (
            lambda: functional.conv_transpose(SEQUENCE, jnp.ones((3, 4, 3)), jnp.ones(4)),
            ["bias", "(4,)", "(3,)"],
        ),
        (
            lambda: functional.conv_local(SEQUENCE, jnp.ones((8, 4, 3)), kernel_size=3),
            ["(8, 4, 3)", "(8, 12, 3)"],
        ),
        (
            lambda: functional.conv_local(
                SEQUENCE, jnp.ones((8, 12, 3)), jnp.ones(3), kernel_size=3
            ),
            ["bias", "(3,)", "(8, 3)"],
        ),
        (
            lambda: functional.einsum("ta,ac->tc", VECTORS, jnp.ones((4, 3)), jnp.ones(4)),
            ["bias", "(4,)", "(3,)"],
        ),
        (lambda: functional.embed(IDS, jnp.ones(5)), ["(5,)", "num_embeddings"]),
        (lambda: functional.attend(VECTORS, jnp.ones((5, 3))), ["(2, 4)", "3 features"]),
    ],
)
def test_functions_raise_an_error_for_arrays_that_do_not_fit(call, says):
    with pytest.raises(errors.ShapeError) as caught:
        call()
    assert isinstance(caught.value, ValueError)
    for part in says:
        assert part in str(caught.value)


@pytest.mark.parametrize("key", [None, 3])
def test_dropout_raises_an_error_without_a_key(key):
    with pytest.raises(errors.InvalidRngError, match=f"needs a random key, got {key}"):
        functional.dropout(VECTORS, key, 0.5)


def test_numpy_s_integers_are_integers():
    layer = linen.Conv(np.int64(3), (np.int32(3),), strides=np.int8(2), padding=np.int64(1))
    y, variables = layer.init_with_output(KEY, SEQUENCE)
    assert y.shape == (2, 4, 3)
    assert variables["params"]["kernel"].shape == (3, 4, 3)
