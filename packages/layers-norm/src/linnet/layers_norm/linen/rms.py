"""`RMSNorm`: division of each example by its root mean square, as a module."""

from __future__ import annotations

import jax.numpy as jnp

from linnet.initializers import Initializer
from linnet.initializers.defaults import default_scale_init
from linnet.layers_norm import functional
from linnet.layers_norm._defaults import scale_init_of
from linnet.layers_norm._torch import NORM
from linnet.layers_norm.functional._checks import feature_shape
from linnet.module_core.layers import Array, Axes, AxisIndexGroups, AxisName, DTypeLike, as_array
from linnet.module_core.linen import Module, compact

from ._fields import affine_param, axis_for_statistics


class RMSNorm(Module):
    """RMS normalization (arXiv:1910.07467); see `functional.rms_norm` for the equation.

    Args:
      epsilon: added to the mean square, so that it is never zero.
      dtype: dtype of the result; None for the common type of input and parameters.
      param_dtype: dtype of the parameters.
      use_scale: multiplies by a learned scale; redundant before a linear layer, or before a ReLU
        followed by a linear layer.
      scale_init: initializer of the scale; with `zero_centered`, zeros replace the default ones.
      reduction_axes: the axes over which the mean square is computed.
      feature_axes: the axes along which the scale differs; it has the input's sizes along these
        axes, in ascending order.
      axis_name: a mapped axis (`jax.vmap`, `jax.pmap`, `jax.shard_map`) over which the statistics
        are computed as well. Under `jax.jit` with sharded arrays, it isn't needed.
      axis_index_groups: indices along `axis_name` that belong together: [[0, 1], [2, 3]] for the
        first two and the last two devices; None for all.
      use_fast_variance: has no effect, since there is no mean to subtract; the other norms use it.
      force_float32_reductions: computes the statistics in float32 or wider.
      zero_centered: multiplies by 1 + scale, as in the Gemma models.

    >>> import jax, jax.numpy as jnp
    >>> layer = RMSNorm()
    >>> variables = layer.init(jax.random.key(0), jnp.ones((5, 6)))
    >>> jax.tree.map(jnp.shape, variables)
    {'params': {'scale': (6,)}}
    """

    __torch_layout__ = NORM

    epsilon: float = 1e-6
    dtype: DTypeLike | None = None
    param_dtype: DTypeLike = jnp.float32
    use_scale: bool = True
    scale_init: Initializer = default_scale_init
    reduction_axes: Axes = -1
    feature_axes: Axes = -1
    axis_name: AxisName | None = None
    axis_index_groups: AxisIndexGroups | None = None
    use_fast_variance: bool = True
    force_float32_reductions: bool = True
    zero_centered: bool = False

    @compact
    def __call__(self, x: Array, *, mask: Array | None = None) -> Array:
        """Normalizes `x`.

        Args:
          x: any shape and type.
          mask: broadcastable to `x`; False positions are excluded from the statistics, but are
            normalized as well.

        Returns:
          An array of the shape of `x`.
        """
        x = as_array(x)
        shape = feature_shape(x.shape, self.feature_axes)
        scale_init = scale_init_of(self.scale_init, zero_centered=self.zero_centered)
        return functional.rms_norm(
            x,
            affine_param(self, "scale", shape, init=scale_init),
            reduction_axes=self.reduction_axes,
            feature_axes=self.feature_axes,
            epsilon=self.epsilon,
            dtype=self.dtype,
            mask=mask,
            axis_name=axis_for_statistics(self, self.axis_name),
            axis_index_groups=self.axis_index_groups,
            force_float32_reductions=self.force_float32_reductions,
            zero_centered=self.zero_centered,
        )
