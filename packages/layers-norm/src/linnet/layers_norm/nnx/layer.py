"""`LayerNorm`: normalization of each example over its features, as a module."""

from __future__ import annotations

import jax.numpy as jnp

from linnet.initializers import Initializer
from linnet.initializers.defaults import default_bias_init, default_scale_init
from linnet.layers_norm import functional
from linnet.layers_norm._torch import NORM
from linnet.module_core.layers import (
    NO_METADATA,
    Array,
    Axes,
    AxisIndexGroups,
    AxisName,
    DTypeLike,
    Metadata,
    PromoteDtype,
    Sizes,
    as_array,
    integers,
)
from linnet.module_core.layers.nnx import Layer, promote_dtype, value_of
from linnet.module_core.nnx import Rngs

from ._fields import affine_param


class LayerNorm(Layer):
    """Layer normalization (arXiv:1607.06450); see `functional.layer_norm` for the equation.

    Args:
      num_features: number of features; one for each of several `feature_axes`, in ascending
        order of the axes.
      epsilon: added to the variance, so that it is never zero.
      dtype: dtype of the result, to which input and parameters are also cast; None for their common
        type.
      param_dtype: dtype of the parameters.
      use_bias: adds a learned bias.
      use_scale: multiplies by a learned scale; redundant before a linear layer, or before a ReLU
        followed by a linear layer.
      bias_init: initializer of the bias.
      scale_init: initializer of the scale.
      reduction_axes: the axes over which the statistics are computed.
      feature_axes: the axes along which scale and bias differ.
      axis_name: a mapped axis (`jax.vmap`, `jax.pmap`, `jax.shard_map`) over which the statistics
        are computed as well. Under `jax.jit` with sharded arrays, it isn't needed.
      axis_index_groups: indices along `axis_name` that belong together: [[0, 1], [2, 3]] for the
        first two and the last two devices; None for all.
      use_fast_variance: E[|x|²] - |μ|² in one pass over memory; otherwise E[|x - μ|²], which stays
        accurate if the mean is many times the standard deviation.
      promote_dtype: casts the tuple of input, scale and bias, before the statistics are computed.
      rngs: draws the parameters: scale, then bias.
      bias_metadata, scale_metadata: metadata of the parameters.

    Attributes:
      scale, bias: `Param`s of shape [num_features], or None.

    >>> import jax.numpy as jnp
    >>> from linnet.module_core.nnx import Rngs
    >>> layer = LayerNorm(3, rngs=Rngs(0))
    >>> layer(jnp.array([[1.0, 2.0, 3.0]])).round(3)
    Array([[-1.225,  0.   ,  1.225]], dtype=float32)
    """

    __torch_layout__ = NORM

    def __init__(
        self,
        num_features: Sizes,
        *,
        epsilon: float = 1e-6,
        dtype: DTypeLike | None = None,
        param_dtype: DTypeLike = jnp.float32,
        use_bias: bool = True,
        use_scale: bool = True,
        bias_init: Initializer = default_bias_init,
        scale_init: Initializer = default_scale_init,
        reduction_axes: Axes = -1,
        feature_axes: Axes = -1,
        axis_name: AxisName | None = None,
        axis_index_groups: AxisIndexGroups | None = None,
        use_fast_variance: bool = True,
        promote_dtype: PromoteDtype = promote_dtype,
        rngs: Rngs,
        bias_metadata: Metadata = NO_METADATA,
        scale_metadata: Metadata = NO_METADATA,
    ) -> None:
        shape = integers(num_features, "num_features")
        self.scale = affine_param(
            self, use_scale, scale_init, shape, param_dtype, rngs, scale_metadata
        )
        self.bias = affine_param(self, use_bias, bias_init, shape, param_dtype, rngs, bias_metadata)
        self.num_features = num_features
        self.epsilon = epsilon
        self.dtype = dtype
        self.param_dtype = param_dtype
        self.use_bias = use_bias
        self.use_scale = use_scale
        self.reduction_axes = reduction_axes
        self.feature_axes = feature_axes
        self.axis_name = axis_name
        self.axis_index_groups = axis_index_groups
        self.use_fast_variance = use_fast_variance
        self.promote_dtype = promote_dtype

    def __call__(self, x: Array, *, mask: Array | None = None) -> Array:
        """Normalizes `x`.

        Args:
          x: any shape and type.
          mask: broadcastable to `x`; False positions are excluded from the statistics, but are
            normalized as well.

        Returns:
          An array of the shape of `x`.
        """
        x, scale, bias = self.promote_dtype(
            (as_array(x), value_of(self.scale), value_of(self.bias)), dtype=self.dtype
        )
        return functional.layer_norm(
            x,
            scale,
            bias,
            reduction_axes=self.reduction_axes,
            feature_axes=self.feature_axes,
            epsilon=self.epsilon,
            dtype=self.dtype,
            mask=mask,
            axis_name=self.axis_name,
            axis_index_groups=self.axis_index_groups,
            use_fast_variance=self.use_fast_variance,
        )
