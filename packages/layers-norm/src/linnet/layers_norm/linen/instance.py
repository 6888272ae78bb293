"""`InstanceNorm`: normalization of each channel of each example, as a module."""

from __future__ import annotations

import jax.numpy as jnp

from linnet.initializers import Initializer
from linnet.initializers.defaults import default_bias_init, default_scale_init
from linnet.layers_norm import functional
from linnet.layers_norm._torch import NORM
from linnet.layers_norm.functional._checks import feature_shape
from linnet.module_core.layers import Array, Axes, AxisIndexGroups, AxisName, DTypeLike, as_array
from linnet.module_core.linen import Module, compact

from ._fields import affine_param, axis_for_statistics


class InstanceNorm(Module):
    """Instance normalization (arXiv:1607.08022); see `functional.instance_norm` for the equation.

    Args:
      epsilon: added to the variance, so that it is never zero.
      dtype: dtype of the result; None for the common type of input and parameters.
      param_dtype: dtype of the parameters.
      use_bias: adds a learned bias.
      use_scale: multiplies by a learned scale; redundant before a linear layer, or before a ReLU
        followed by a linear layer.
      bias_init: initializer of the bias.
      scale_init: initializer of the scale.
      feature_axes: the channels, along which scale and bias differ. Statistics are computed over
        all other axes except the first, the batch.
      axis_name: a mapped axis (`jax.vmap`, `jax.pmap`, `jax.shard_map`) over which the statistics
        are computed as well. Under `jax.jit` with sharded arrays, it isn't needed.
      axis_index_groups: indices along `axis_name` that belong together: [[0, 1], [2, 3]] for the
        first two and the last two devices; None for all.
      use_fast_variance: E[|x|²] - |μ|² in one pass over memory; otherwise E[|x - μ|²], which stays
        accurate if the mean is many times the standard deviation.
      force_float32_reductions: computes the statistics in float32 or wider.

    >>> import jax, jax.numpy as jnp
    >>> layer = InstanceNorm()
    >>> variables = layer.init(jax.random.key(0), jnp.ones((2, 3, 4, 5)))
    >>> jax.tree.map(jnp.shape, variables)
    {'params': {'bias': (5,), 'scale': (5,)}}
    """

    __torch_layout__ = NORM

    epsilon: float = 1e-6
    dtype: DTypeLike | None = None
    param_dtype: DTypeLike = jnp.float32
    use_bias: bool = True
    use_scale: bool = True
    bias_init: Initializer = default_bias_init
    scale_init: Initializer = default_scale_init
    feature_axes: Axes = -1
    axis_name: AxisName | None = None
    axis_index_groups: AxisIndexGroups | None = None
    use_fast_variance: bool = True
    force_float32_reductions: bool = True

    @compact
    def __call__(self, x: Array, *, mask: Array | None = None) -> Array:
        """Normalizes `x`.

        Args:
          x: [B, ...], any type.
          mask: broadcastable to `x`; False positions are excluded from the statistics, but are
            normalized as well.

        Returns:
          An array of the shape of `x`.
        """
        x = as_array(x)
        shape = feature_shape(x.shape, self.feature_axes)
        return functional.instance_norm(
            x,
            affine_param(self, "scale", shape),
            affine_param(self, "bias", shape),
            feature_axes=self.feature_axes,
            epsilon=self.epsilon,
            dtype=self.dtype,
            mask=mask,
            axis_name=axis_for_statistics(self, self.axis_name),
            axis_index_groups=self.axis_index_groups,
            use_fast_variance=self.use_fast_variance,
            force_float32_reductions=self.force_float32_reductions,
        )
