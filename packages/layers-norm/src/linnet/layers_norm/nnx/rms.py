"""`RMSNorm`: division of each example by its root mean square, as a module."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp

from linnet.initializers import Initializer
from linnet.initializers.defaults import default_scale_init
from linnet.layers_norm import functional
from linnet.layers_norm._defaults import scale_init_of
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


class RMSNorm(Layer):
    """Root-mean-square normalization (arXiv:1910.07467); see `functional.rms_norm`.

    Args:
      num_features: number of features; one for each of several `feature_axes`, in ascending
        order of the axes.
      epsilon: added to the mean square, so that it is never zero.
      dtype: dtype of the result, to which input and scale are also cast; None for their common
        type.
      param_dtype: dtype of the scale.
      use_scale: multiplies by a learned scale; redundant before a linear layer.
      scale_init: initializer of the scale; with `zero_centered`, zeros replace the default ones.
      reduction_axes: the axes over which the mean square is computed.
      feature_axes: the axes along which the scale differs.
      axis_name: an axis mapped over (`jax.vmap`, `jax.pmap`, `jax.shard_map`) that the mean runs
        over as well. Under `jax.jit` with sharded arrays it isn't needed.
      axis_index_groups: indices along `axis_name` that belong together: [[0, 1], [2, 3]] for the
        first two and the last two devices; None for all.
      use_fast_variance: has no effect, since there is no mean to subtract.
      promote_dtype: casts the tuple of input and scale, before the mean is computed.
      zero_centered: multiplies by 1 + scale, as in the Gemma models.
      rngs: draws the scale.
      scale_metadata: metadata of the scale.

    Attributes:
      scale: a `Param` of shape [num_features], or None.

    >>> import jax.numpy as jnp
    >>> from linnet.module_core.nnx import Rngs
    >>> layer = RMSNorm(3, rngs=Rngs(0))
    >>> layer(jnp.array([[3.0, 3.0, -3.0]])).round(3)
    Array([[ 1.,  1., -1.]], dtype=float32)
    """

    __torch_layout__ = NORM

    @classmethod
    def _beyond_flax(cls, attributes: Mapping[str, Any]) -> Mapping[str, Any]:
        return {"zero_centered": False}

    def __init__(
        self,
        num_features: Sizes,
        *,
        epsilon: float = 1e-6,
        dtype: DTypeLike | None = None,
        param_dtype: DTypeLike = jnp.float32,
        use_scale: bool = True,
        scale_init: Initializer = default_scale_init,
        reduction_axes: Axes = -1,
        feature_axes: Axes = -1,
        axis_name: AxisName | None = None,
        axis_index_groups: AxisIndexGroups | None = None,
        use_fast_variance: bool = True,
        promote_dtype: PromoteDtype = promote_dtype,
        zero_centered: bool = False,
        rngs: Rngs,
        scale_metadata: Metadata = NO_METADATA,
    ) -> None:
        shape = integers(num_features, "num_features")
        scale_init = scale_init_of(scale_init, zero_centered=zero_centered)
        self.scale = affine_param(
            self, use_scale, scale_init, shape, param_dtype, rngs, scale_metadata
        )
        self.num_features = num_features
        self.epsilon = epsilon
        self.dtype = dtype
        self.param_dtype = param_dtype
        self.use_scale = use_scale
        self.reduction_axes = reduction_axes
        self.feature_axes = feature_axes
        self.axis_name = axis_name
        self.axis_index_groups = axis_index_groups
        self.use_fast_variance = use_fast_variance
        self.promote_dtype = promote_dtype
        self.zero_centered = zero_centered

    def __call__(self, x: Array, mask: Array | None = None) -> Array:
        """Normalizes `x`.

        Args:
          x: any shape and type.
          mask: broadcastable to `x`; False positions don't count in the mean, but are
            normalized as well.

        Returns:
          An array of the shape of `x`.
        """
        x, scale = self.promote_dtype((as_array(x), value_of(self.scale)), dtype=self.dtype)
        return functional.rms_norm(
            x,
            scale,
            reduction_axes=self.reduction_axes,
            feature_axes=self.feature_axes,
            epsilon=self.epsilon,
            dtype=self.dtype,
            mask=mask,
            axis_name=self.axis_name,
            axis_index_groups=self.axis_index_groups,
            zero_centered=self.zero_centered,
        )
