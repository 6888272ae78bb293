"""Normalization layers, as functions of a scope."""

from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from linnet import linen
from linnet.linen import initializers as initializers
from linnet.linen.initializers import Initializer
from linnet.linen.normalization import Axes
from linnet.module_core import errors
from linnet.module_core.accepted import accepted as _accepted
from linnet.module_core.functional.lift import swap_collection
from linnet.module_core.linen import Scope

_ones, _zeros = initializers.ones, initializers.zeros


def batch_norm(
    scope: Scope,
    x: jax.Array,
    use_running_average: bool = False,
    axis: Axes = -1,
    momentum: float = 0.99,
    epsilon: float = 1e-5,
    dtype: DTypeLike = jnp.float32,
    bias: bool = True,
    scale: bool = True,
    bias_init: Initializer = _zeros,
    scale_init: Initializer = _ones,
    axis_name: str | None = None,
    axis_index_groups: Any = None,
    kind: str = "batch_stats",
) -> jax.Array:
    """Batch normalization; see `linnet.linen.BatchNorm`.

    Args:
      scope: gets "mean" and "var" in the collection `kind`, and the parameters "scale" and "bias".
      x: [..., D].
      use_running_average: normalizes with the stored statistics instead of those of the batch.
      axis: the dimensions of features, which are not averaged over.
      momentum: how much of the stored statistics is kept.
      epsilon: added to the variance.
      dtype: the computation dtype.
      bias, scale: adds a bias; multiplies by a scale.
      bias_init, scale_init: initializers.
      axis_name, axis_index_groups: averages over an axis of `jax.vmap`, too.
      kind: the collection of the statistics.

    Raises:
      ModifyScopeVariableError: the statistics are to be updated, but their collection is immutable.
    """

    def normalize(scope: Scope, x: jax.Array) -> jax.Array:
        layer = linen.BatchNorm(
            use_running_average=use_running_average,
            axis=axis,
            momentum=momentum,
            epsilon=epsilon,
            dtype=dtype,
            use_bias=bias,
            use_scale=scale,
            bias_init=bias_init,
            scale_init=scale_init,
            axis_name=axis_name,
            axis_index_groups=axis_index_groups,
            parent=scope,
        )
        return layer(x)

    if kind == "batch_stats":
        return normalize(scope, x)
    return swap_collection(normalize, kind, "batch_stats")(scope, x)


def layer_norm(
    scope: Scope,
    x: jax.Array,
    epsilon: float = 1e-6,
    dtype: DTypeLike = jnp.float32,
    bias: bool = True,
    scale: bool = True,
    bias_init: Initializer = _zeros,
    scale_init: Initializer = _ones,
) -> jax.Array:
    """Layer normalization of the last dimension; see `linnet.linen.LayerNorm`.

    Args:
      scope: gets the parameters "scale" and "bias".
      x: [..., D].
      epsilon: added to the variance.
      dtype: accepted for Flax programs; the output has the common type of `x` and the parameters.
      bias, scale: adds a bias; multiplies by a scale.
      bias_init, scale_init: initializers.
    """
    _accepted(dtype=dtype)
    layer = linen.LayerNorm(
        epsilon=epsilon,
        use_bias=bias,
        use_scale=scale,
        bias_init=bias_init,
        scale_init=scale_init,
        parent=scope,
    )
    return layer(x)


def group_norm(
    scope: Scope,
    x: jax.Array,
    num_groups: int | None = 32,
    group_size: int | None = None,
    epsilon: float = 1e-6,
    dtype: DTypeLike = jnp.float32,
    bias: bool = True,
    scale: bool = True,
    bias_init: Initializer = _zeros,
    scale_init: Initializer = _ones,
) -> jax.Array:
    """Group normalization; see `linnet.linen.GroupNorm`.

    Args:
      scope: gets the parameters "scale" and "bias" of shape [1, ..., 1, D].
      x: [batch, ..., D].
      num_groups, group_size: the number of groups of features, or the size of each.
      epsilon: added to the variance.
      dtype: the computation dtype.
      bias, scale: adds a bias; multiplies by a scale.
      bias_init, scale_init: initializers.

    Raises:
      ValueError: both or neither of `num_groups` and `group_size` are given, or they don't divide
        the features.
    """
    if (num_groups is None) == (group_size is None):
        raise errors.ArgumentError(
            "group_norm needs either num_groups or group_size; "
            f"got num_groups={num_groups} and group_size={group_size}.",
            hint="Pass num_groups=None with a group_size.",
        )
    x = jnp.asarray(x)
    normalize = linen.GroupNorm(
        num_groups=num_groups,
        group_size=group_size,
        epsilon=epsilon,
        dtype=dtype,
        use_bias=False,
        use_scale=False,
        parent=scope.push("group_norm", reuse=True),
    )
    y = normalize(x)
    shape = (1,) * (x.ndim - 1) + x.shape[-1:]
    if scale:
        y = y * scope.param("scale", scale_init, shape).astype(dtype)
    if bias:
        y = y + scope.param("bias", bias_init, shape).astype(dtype)
    return y.astype(dtype)
