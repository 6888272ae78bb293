"""Bad input raises an error that says what was expected, what was passed, and where.

Each row: a call, the type that a plain Python handler would catch, and what the message must say.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import pytest

from linnet.layers_norm import functional, linen
from linnet.module_core import errors
from linnet.module_core.linen import Module, compact

from .layer_table import Linear

KEY = jax.random.key(0)
X = jnp.ones((2, 3, 4))
VECTORS = jnp.ones((2, 4))
COMPLEX = jnp.ones((2, 4), jnp.complex64)
BN = linen.BatchNorm(use_running_average=False)


class Refusal(NamedTuple):
    layer: Module
    x: Any
    error: type[Exception]
    says: tuple[str, ...]
    call: dict[str, Any]


def refused(layer, x, error, *says, **call):
    """A layer whose `init` raises an error for an input, and what the message must say."""
    return Refusal(layer, x, error, says, call)


def spectral(**fields):
    return linen.SpectralNorm(Linear(5), **fields)


def weight(**fields):
    return linen.WeightNorm(Linear(5), **fields)


@pytest.mark.parametrize(
    "refusal",
    [
        # Axes.
        refused(linen.LayerNorm(reduction_axes=3), X, ValueError, "reduction_axes=3", "3 dim"),
        refused(linen.LayerNorm(reduction_axes=-4), X, ValueError, "-4", "Valid axes are -3 to 2"),
        refused(linen.LayerNorm(reduction_axes=(1, -2)), X, ValueError, "(1, -2)", "twice"),
        refused(linen.LayerNorm(feature_axes=(0, 3)), X, ValueError, "feature_axes=(0, 3)"),
        refused(linen.LayerNorm(feature_axes=(2, -1)), X, ValueError, "(2, -1)", "twice"),
        refused(linen.LayerNorm(reduction_axes=1.0), X, TypeError, "'reduction_axes'", "Write 1,"),
        refused(linen.LayerNorm(feature_axes="-1"), X, TypeError, "'feature_axes'", "'-1' (str)"),
        refused(linen.LayerNorm(), jnp.float32(1), ValueError, "-1", "0 dimensions"),
        refused(linen.RMSNorm(reduction_axes=(0, 5)), X, ValueError, "reduction_axes=(0, 5)"),
        refused(linen.RMSNorm(feature_axes=-7), X, ValueError, "feature_axes=-7"),
        refused(linen.InstanceNorm(feature_axes=0), X, ValueError, "feature_axes=0", "batch"),
        refused(linen.InstanceNorm(feature_axes=(-3, 1)), X, ValueError, "(-3, 1)", "x[None]"),
        refused(linen.InstanceNorm(), jnp.ones(4), ValueError, "leading axis", "(4,)"),
        refused(linen.InstanceNorm(feature_axes=5), X, ValueError, "feature_axes=5"),
        refused(BN.clone(axis=3), X, ValueError, "axis=3", "3 dimensions"),
        refused(BN.clone(axis=(1, 1)), X, ValueError, "axis=(1, 1)", "twice"),
        refused(BN.clone(axis=1.5), X, TypeError, "'axis'", "1.5 (float)"),
        # Groups.
        refused(linen.GroupNorm(), X, ValueError, "4 channels", "num_groups=32", "1, 2, 4"),
        refused(linen.GroupNorm(3), X, ValueError, "4 channels", "num_groups=3"),
        refused(linen.GroupNorm(0), X, ValueError, "'num_groups'", "at least 1", "0"),
        refused(linen.GroupNorm(2.0), X, TypeError, "'num_groups'", "Write 2,"),
        refused(linen.GroupNorm(None, 3), X, ValueError, "4 channels", "group_size=3"),
        refused(linen.GroupNorm(None, -2), X, ValueError, "'group_size'", "-2"),
        refused(linen.GroupNorm(2, 2), X, ValueError, "num_groups=2", "num_groups=None along"),
        refused(linen.GroupNorm(group_size=2), X, ValueError, "32 by default"),
        refused(linen.GroupNorm(None), X, ValueError, "num_groups=None and group_size=None"),
        refused(linen.GroupNorm(2, reduction_axes=(0, 1)), X, ValueError, "(0, 1)", "last axis"),
        refused(linen.GroupNorm(2, reduction_axes=7), X, ValueError, "reduction_axes=7"),
        refused(linen.GroupNorm(1), jnp.float32(1), ValueError, "out of range", "0 dimensions"),
        # Masks.
        refused(linen.LayerNorm(), X, ValueError, "(2, 3)", "(2, 3, 4)", mask=jnp.ones((2, 3))),
        refused(linen.RMSNorm(), X, ValueError, "(5, 2, 3, 4)", mask=jnp.ones((5, 2, 3, 4))),
        refused(linen.GroupNorm(2), X, ValueError, "mask", "(3,)", mask=jnp.ones(3)),
        refused(linen.InstanceNorm(), X, ValueError, "mask[:, :, None]", mask=jnp.ones((2, 3))),
        refused(BN, X[:1], ValueError, "mask", "(1, 3, 4)", mask=jnp.ones((2, 3, 4))),
        refused(linen.LayerNorm(), X, TypeError, "mask", "'all'", mask="all"),
        # Inputs and types.
        refused(linen.LayerNorm(), None, TypeError, "array of numbers", "None"),
        refused(linen.RMSNorm(), [[1.0], 2.0], TypeError, "array of numbers", "list"),
        refused(linen.RMSNorm(), "text", TypeError, "array of numbers", "'text'"),
        refused(linen.LayerNorm(dtype=jnp.int32), X, ValueError, "inexact", "int32"),
        refused(BN.clone(dtype=bool), X, ValueError, "inexact", "bool"),
        refused(linen.LayerNorm(dtype=jnp.float32), COMPLEX, ValueError, "complex64", "imaginary"),
        refused(BN.clone(dtype=jnp.bfloat16), COMPLEX, ValueError, "complex64", "bfloat16"),
        # Numbers.
        refused(linen.LayerNorm(epsilon=-1e-6), X, ValueError, "'epsilon'", "-1e-06"),
        refused(linen.LayerNorm(epsilon=None), X, TypeError, "'epsilon'", "None"),
        refused(linen.RMSNorm(epsilon=float("nan")), X, ValueError, "'epsilon'", "nan"),
        refused(BN.clone(momentum=1.01), X, ValueError, "'momentum'", "1.01", "old average"),
        refused(BN.clone(momentum=-0.1), X, ValueError, "'momentum'", "-0.1"),
        refused(BN.clone(momentum="0.9"), X, TypeError, "'momentum'", "'0.9'"),
        # How to normalize.
        refused(linen.BatchNorm(), X, ValueError, '"use_running_average" was given neither'),
        refused(BN, X, ValueError, "given twice", use_running_average=False),
        # Norms of weights.
        refused(
            linen.SpectralNorm(lambda x: x),
            VECTORS,
            TypeError,
            "'layer_instance'",
            update_stats=True,
        ),
        refused(linen.WeightNorm(Linear), VECTORS, TypeError, "'layer_instance'", "an instance"),
        refused(spectral(n_steps=-1), VECTORS, ValueError, "'n_steps'", "-1", update_stats=True),
        refused(spectral(n_steps=1.0), VECTORS, TypeError, "'n_steps'", "1.0", update_stats=True),
        refused(spectral(epsilon=-1), VECTORS, ValueError, "'epsilon'", "-1", update_stats=True),
        refused(
            spectral(error_on_non_matrix=True),
            VECTORS,
            ValueError,
            "(2, 4, 5)",
            "3 dimensions",
            "error_on_non_matrix",
            update_stats=True,
        ),
        refused(weight(epsilon=-1), VECTORS, ValueError, "'epsilon'", "-1"),
        refused(weight(variable_filter="kernel"), VECTORS, TypeError, "each letter", "{'kernel'}"),
        refused(weight(feature_axes=2), VECTORS, ValueError, "layer_instance/kernel", "2 dim"),
        refused(weight(feature_axes=(1, -1)), VECTORS, ValueError, "(1, -1)", "twice"),
    ],
    ids=lambda refusal: f"{type(refusal.layer).__name__}: {refusal.says[0]}",
)
def test_errors(refusal):
    with pytest.raises(errors.LinnetError) as caught:
        jax.eval_shape(lambda: refusal.layer.init(KEY, refusal.x, **refusal.call))
    assert isinstance(caught.value, refusal.error)
    text = str(caught.value)
    for part in (type(refusal.layer).__name__, *refusal.says):
        assert part in text


class Model(Module):
    """A model whose layer has a path for messages to name."""

    @compact
    def __call__(self, x, train):
        return linen.BatchNorm(use_running_average=not train, name="norm")(x)


def test_the_first_line_says_where_and_what():
    variables = Model().init(KEY, VECTORS, train=True)
    stats = {"norm": {"mean": jnp.zeros(3), "var": jnp.ones(3)}}
    with pytest.raises(errors.ScopeParamShapeError, match=re.escape("norm (BatchNorm)")):
        Model().apply({**variables, "batch_stats": stats}, X[..., :3], train=False)


def test_the_error_without_a_mutable_collection_says_how_to_train():
    variables = Model().init(KEY, VECTORS, train=True)
    with pytest.raises(errors.ModifyScopeVariableError, match=r"mutable=\['batch_stats'\]"):
        Model().apply(variables, VECTORS, train=True)


def test_statistics_of_a_different_shape():
    variables = linen.BatchNorm(use_running_average=True).init(KEY, VECTORS)
    for size in (1, 3):
        variables["batch_stats"]["mean"] = jnp.zeros(size)
        with pytest.raises(
            errors.ShapeError, match=rf"mean has shape \({size},\), expected \(4,\)"
        ):
            linen.BatchNorm(use_running_average=True).apply(variables, VECTORS)
        with pytest.raises(
            errors.ShapeError, match=rf"mean has shape \({size},\), expected \(4,\)"
        ):
            BN.apply(variables, VECTORS, mutable=["batch_stats"])


def test_parameters_of_a_different_shape():
    variables = linen.LayerNorm().init(KEY, VECTORS)
    with pytest.raises(errors.ScopeParamShapeError, match=r"\(4,\).*\(3,\)"):
        linen.LayerNorm().apply(variables, VECTORS[:, :3])


def test_a_vector_of_another_kernel():
    layer = linen.SpectralNorm(Linear(5))
    variables = jax.jit(lambda: layer.init(KEY, VECTORS, update_stats=True))()
    variables["batch_stats"]["layer_instance/kernel/u"] = jnp.ones((1, 4))
    with pytest.raises(errors.ShapeError, match=r"u has shape \(1, 4\), expected \(1, 5\)"):
        layer.apply(variables, VECTORS, update_stats=False)


def test_statistics_that_were_not_given():
    layer = linen.SpectralNorm(Linear(5))
    params = jax.jit(lambda: layer.init(KEY, VECTORS, update_stats=True))()["params"]
    with pytest.raises(errors.ScopeCollectionNotFound, match="batch_stats"):
        layer.apply({"params": params}, VECTORS, update_stats=False)


@pytest.mark.parametrize(
    "call",
    [
        lambda: functional.layer_norm(X, axis_name="batch"),
        lambda: functional.batch_moments(X, axis_name="batch"),
        lambda: BN.clone(axis_name="batch").apply(BN.init(KEY, X), X, mutable=["batch_stats"]),
    ],
)
def test_a_name_that_nothing_maps_over(call):
    with pytest.raises(NameError, match=r"axis_name='batch'.*\n.*jax.vmap") as raised:
        call()
    assert isinstance(raised.value, errors.ArgumentError)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: functional.layer_norm(X, jnp.ones(3)), r"scale has shape \(3,\), expected \(4,\)"),
        (lambda: functional.layer_norm(X, None, jnp.ones(3)), "bias has shape"),
        (lambda: functional.layer_norm(X, jnp.ones((4, 3)), feature_axes=(2, 1)), "ascending"),
        (lambda: functional.group_norm(X, jnp.ones(2), num_groups=2), "scale has shape"),
        (lambda: functional.group_norm(jnp.float32(1)), "at least one dimension"),
        (lambda: functional.batch_norm(X, jnp.ones(3), jnp.ones(4)), "mean has shape"),
        (lambda: functional.batch_norm(X, jnp.ones(4), jnp.ones((1, 4))), "variance has shape"),
        (lambda: functional.running_average(jnp.ones(4), jnp.ones(3)), "average has shape"),
        (lambda: functional.spectral_norm(jnp.ones(4), jnp.ones((1, 4))), "expected a matrix"),
        (lambda: functional.spectral_norm(VECTORS, jnp.ones(4)), r"expected \(1, 4\)"),
        (lambda: functional.spectral_norm(VECTORS, jnp.ones((1, 4)), n_steps=0), "at least 1"),
        (lambda: functional.weight_norm(VECTORS, jnp.ones(2)), r"expected \(4,\)"),
    ],
)
def test_errors_of_functions(call, says):
    with pytest.raises(ValueError, match=says) as caught:
        call()
    assert isinstance(caught.value, errors.LinnetError)
