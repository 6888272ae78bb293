"""`GroupNorm`: normalization over groups of channels, as a module."""

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


class GroupNorm(Module):
    """Group normalization (arXiv:1803.08494); see `functional.group_norm` for the equation.

    Args:
      num_groups: number of groups; None if `group_size` is given.
      group_size: channels in a group; None if `num_groups` is given.
      epsilon: added to the variance, so that it is never zero.
      dtype: dtype of the result; None for the common type of input and parameters.
      param_dtype: dtype of the parameters.
      use_bias: adds a learned bias.
      use_scale: multiplies by a learned scale; redundant before a linear layer, or before a ReLU
        followed by a linear layer.
      bias_init: initializer of the bias.
      scale_init: initializer of the scale.
      reduction_axes: the axes over which the statistics are computed, including the last, which is
        split into groups; None for all but the first. Required if inputs may have more leading axes
        than the one at init.
      axis_name: a mapped axis (`jax.vmap`, `jax.pmap`, `jax.shard_map`) over which the statistics
        are computed as well. Under `jax.jit` with sharded arrays, it isn't needed.
      axis_index_groups: indices along `axis_name` that belong together: [[0, 1], [2, 3]] for the
        first two and the last two devices; None for all.
      use_fast_variance: E[|x|²] - |μ|² in one pass over memory; otherwise E[|x - μ|²], which stays
        accurate where the mean is many times the standard deviation.
      force_float32_reductions: computes the statistics in float32 or wider.

    >>> import jax, jax.numpy as jnp
    >>> norm = GroupNorm(num_groups=4)
    >>> y, variables = norm.init_with_output(jax.random.key(0), jnp.ones((2, 6, 6, 16)))
    >>> jax.tree.map(jnp.shape, variables)
    {'params': {'bias': (16,), 'scale': (16,)}}
    """

    __torch_layout__ = NORM

    num_groups: int | None = 32
    group_size: int | None = None
    epsilon: float = 1e-6
    dtype: DTypeLike | None = None
    param_dtype: DTypeLike = jnp.float32
    use_bias: bool = True
    use_scale: bool = True
    bias_init: Initializer = default_bias_init
    scale_init: Initializer = default_scale_init
    reduction_axes: Axes | None = None
    axis_name: AxisName | None = None
    axis_index_groups: AxisIndexGroups | None = None
    use_fast_variance: bool = True
    force_float32_reductions: bool = True

    @compact
    def __call__(self, x: Array, *, mask: Array | None = None) -> Array:
        """Normalizes `x`.

        Args:
          x: [B, ..., C], any type.
          mask: broadcastable to `x`; False positions are excluded from the statistics, but are
            normalized as well.

        Returns:
          An array of the shape of `x`.
        """
        x = as_array(x)
        shape = feature_shape(x.shape)
        return functional.group_norm(
            x,
            affine_param(self, "scale", shape),
            affine_param(self, "bias", shape),
            num_groups=self.num_groups,
            group_size=self.group_size,
            reduction_axes=self.reduction_axes,
            epsilon=self.epsilon,
            dtype=self.dtype,
            mask=mask,
            axis_name=axis_for_statistics(self, self.axis_name),
            axis_index_groups=self.axis_index_groups,
            use_fast_variance=self.use_fast_variance,
            force_float32_reductions=self.force_float32_reductions,
        )
