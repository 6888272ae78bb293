"""`GroupNorm`: normalization over groups of channels, as a module."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp

from linnet.initializers import Initializer
from linnet.initializers.defaults import default_bias_init, default_scale_init
from linnet.layers_norm import functional
from linnet.layers_norm._torch import NORM
from linnet.layers_norm.functional.group import count_groups
from linnet.module_core.layers import (
    NO_METADATA,
    Array,
    Axes,
    AxisIndexGroups,
    AxisName,
    DTypeLike,
    Metadata,
    PromoteDtype,
    as_array,
    integer,
)
from linnet.module_core.layers.nnx import Layer, promote_dtype, value_of
from linnet.module_core.nnx import Rngs

from ._fields import affine_param


class GroupNorm(Layer):
    """Group normalization (arXiv:1803.08494); see `functional.group_norm` for the equation.

    Args:
      num_features: number of channels of the inputs.
      num_groups: number of groups; None if `group_size` is given.
      group_size: channels in a group; None if `num_groups` is given.
      epsilon: added to the variance, so that it is never zero.
      dtype: dtype of the result, to which input and parameters are also cast; None for their common
        type.
      param_dtype: dtype of the parameters.
      use_bias: adds a learned bias.
      use_scale: multiplies by a learned scale; redundant before a linear layer, or before a ReLU
        followed by a linear layer.
      bias_init: initializer of the bias.
      scale_init: initializer of the scale.
      reduction_axes: the axes over which the statistics are computed, including the last, which is
        split into groups; None for all but the first.
      axis_name: a mapped axis (`jax.vmap`, `jax.pmap`, `jax.shard_map`) over which the statistics
        are computed as well. Under `jax.jit` with sharded arrays, it isn't needed.
      axis_index_groups: indices along `axis_name` that belong together: [[0, 1], [2, 3]] for the
        first two and the last two devices; None for all.
      use_fast_variance: E[|x|²] - |μ|² in one pass over memory; otherwise E[|x - μ|²], which stays
        accurate where the mean is many times the standard deviation.
      promote_dtype: casts the tuple of input, scale and bias, before the statistics are computed.
      rngs: draws the parameters: scale, then bias.
      bias_metadata, scale_metadata: metadata of the parameters.

    Attributes:
      scale, bias: `Param`s of shape [num_features], or None.
      num_groups, group_size: the number of groups and of channels in each; both are always ints.

    Raises:
      ArgumentError: both or neither of `num_groups` and `group_size` are given, or they don't
        divide the channels.

    >>> import jax.numpy as jnp
    >>> from linnet.module_core.nnx import Rngs
    >>> layer = GroupNorm(6, num_groups=3, rngs=Rngs(0))
    >>> layer.group_size, layer(jnp.ones((3, 4, 5, 6))).shape
    (2, (3, 4, 5, 6))
    """

    __torch_layout__ = NORM

    @classmethod
    def _beyond_flax(cls, attributes: Mapping[str, Any]) -> Mapping[str, Any]:
        return {"num_features": attributes["num_groups"] * attributes["group_size"]}

    def __init__(
        self,
        num_features: int,
        num_groups: int | None = 32,
        group_size: int | None = None,
        *,
        epsilon: float = 1e-6,
        dtype: DTypeLike | None = None,
        param_dtype: DTypeLike = jnp.float32,
        use_bias: bool = True,
        use_scale: bool = True,
        bias_init: Initializer = default_bias_init,
        scale_init: Initializer = default_scale_init,
        reduction_axes: Axes | None = None,
        axis_name: AxisName | None = None,
        axis_index_groups: AxisIndexGroups | None = None,
        use_fast_variance: bool = True,
        promote_dtype: PromoteDtype = promote_dtype,
        rngs: Rngs,
        bias_metadata: Metadata = NO_METADATA,
        scale_metadata: Metadata = NO_METADATA,
    ) -> None:
        shape = (integer(num_features, "num_features", least=0),)
        self.num_features = num_features
        self.feature_axis = -1
        self.num_groups = count_groups(num_features, num_groups, group_size)
        self.group_size = num_features // self.num_groups
        self.scale = affine_param(
            self, use_scale, scale_init, shape, param_dtype, rngs, scale_metadata
        )
        self.bias = affine_param(self, use_bias, bias_init, shape, param_dtype, rngs, bias_metadata)
        self.epsilon = epsilon
        self.dtype = dtype
        self.param_dtype = param_dtype
        self.use_bias = use_bias
        self.use_scale = use_scale
        self.reduction_axes = reduction_axes
        self.axis_name = axis_name
        self.axis_index_groups = axis_index_groups
        self.use_fast_variance = use_fast_variance
        self.promote_dtype = promote_dtype

    def __call__(self, x: Array, *, mask: Array | None = None) -> Array:
        """Normalizes `x`.

        Args:
          x: [B, ..., C], any type.
          mask: broadcastable to `x`; False positions are excluded from the statistics, but are
            normalized as well.

        Returns:
          An array of the shape of `x`.
        """
        x, scale, bias = self.promote_dtype(
            (as_array(x), value_of(self.scale), value_of(self.bias)), dtype=self.dtype
        )
        return functional.group_norm(
            x,
            scale,
            bias,
            num_groups=self.num_groups,
            reduction_axes=self.reduction_axes,
            epsilon=self.epsilon,
            dtype=self.dtype,
            mask=mask,
            axis_name=self.axis_name,
            axis_index_groups=self.axis_index_groups,
            use_fast_variance=self.use_fast_variance,
        )
