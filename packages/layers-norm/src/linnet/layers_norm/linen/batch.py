"""`BatchNorm`: normalization over the batch, as a module with running averages."""

from __future__ import annotations

import jax.numpy as jnp

from linnet.initializers import Initializer
from linnet.initializers.defaults import default_bias_init, default_scale_init
from linnet.layers_norm import functional
from linnet.layers_norm._torch import BATCH_NORM
from linnet.layers_norm.functional._checks import check_momentum, feature_shape
from linnet.layers_norm.functional.batch import check_statistics
from linnet.module_core.layers import Array, Axes, AxisIndexGroups, AxisName, DTypeLike, as_array
from linnet.module_core.linen import Module, compact, merge_param

from ._fields import affine_param


class BatchNorm(Module):
    """Batch normalization (arXiv:1502.03167); see `functional.batch_norm` for the equation.

    The collection "batch_stats" holds running averages of mean and variance. During training, make
    it mutable in `apply` and keep the result; `init` leaves the averages at their initial values,
    and needs no mapped axis.

    Args:
      use_running_average: normalizes with the running averages instead of the batch's statistics;
        given either here or in the call.
      axis: the feature axis, or several; the statistics are computed over all others.
      momentum: the weight of the old average in an update, within [0, 1].
      epsilon: added to the variance, so that it is never zero.
      dtype: dtype of the result; None for the common type of input and parameters.
      param_dtype: dtype of the parameters.
      use_bias: adds a learned bias.
      use_scale: multiplies by a learned scale; redundant before a linear layer, or before a ReLU
        followed by a linear layer.
      bias_init: initializer of the bias.
      scale_init: initializer of the scale.
      axis_name: a mapped axis (`jax.vmap`, `jax.pmap`, `jax.shard_map`) over which the statistics
        are computed as well. Under `jax.jit` with sharded arrays, it isn't needed.
      axis_index_groups: indices along `axis_name` that belong together: [[0, 1], [2, 3]] for the
        first two and the last two devices; None for all.
      use_fast_variance: E[|x|²] - |μ|² in one pass over memory; otherwise E[|x - μ|²], which stays
        accurate where the mean is many times the standard deviation.
      force_float32_reductions: computes the statistics in float32 or wider, and stores the averages
        in float32; otherwise these are stored in `param_dtype`.

    >>> import jax, jax.numpy as jnp
    >>> layer = BatchNorm(momentum=0.9)
    >>> x = jnp.arange(12.0).reshape(4, 3)
    >>> variables = layer.init(jax.random.key(0), x, use_running_average=False)
    >>> jax.tree.map(jnp.shape, variables)
    {'batch_stats': {'mean': (3,), 'var': (3,)}, 'params': {'bias': (3,), 'scale': (3,)}}
    >>> y, updates = layer.apply(
    ...     variables, x, use_running_average=False, mutable=["batch_stats"]
    ... )
    >>> y = layer.apply({**variables, **updates}, x, use_running_average=True)
    """

    __torch_layout__ = BATCH_NORM

    use_running_average: bool | None = None
    axis: Axes = -1
    momentum: float = 0.99
    epsilon: float = 1e-5
    dtype: DTypeLike | None = None
    param_dtype: DTypeLike = jnp.float32
    use_bias: bool = True
    use_scale: bool = True
    bias_init: Initializer = default_bias_init
    scale_init: Initializer = default_scale_init
    axis_name: AxisName | None = None
    axis_index_groups: AxisIndexGroups | None = None
    use_fast_variance: bool = True
    force_float32_reductions: bool = True

    @compact
    def __call__(
        self, x: Array, use_running_average: bool | None = None, *, mask: Array | None = None
    ) -> Array:
        """Normalizes `x`.

        Args:
          x: any shape and type.
          use_running_average: True normalizes with the running averages and doesn't update them;
            required if the constructor wasn't given it.
          mask: broadcastable to `x`; False positions are excluded from the statistics, but are
            normalized as well. Where everything is masked, the averages don't change.

        Returns:
          An array of the shape of `x`.
        """
        use_running_average = merge_param(
            "use_running_average", self.use_running_average, use_running_average
        )
        check_momentum(self.momentum)
        x = as_array(x)
        shape = feature_shape(x.shape, self.axis, "axis")
        stats_dtype = jnp.float32 if self.force_float32_reductions else self.param_dtype
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, shape, stats_dtype)
        running_var = self.variable("batch_stats", "var", jnp.ones, shape, stats_dtype)
        mean, variance = running_mean.value, running_var.value
        check_statistics(x.shape, mean, variance, self.axis)
        if not use_running_average:
            mean, variance, observed = functional.batch_moments(
                x,
                axis=self.axis,
                dtype=self.dtype,
                mask=mask,
                axis_name=None if self.is_initializing() else self.axis_name,
                axis_index_groups=self.axis_index_groups,
                use_fast_variance=self.use_fast_variance,
                force_float32_reductions=self.force_float32_reductions,
            )
            if not self.is_initializing():
                for running, new in ((running_mean, mean), (running_var, variance)):
                    running.value = functional.running_average(
                        running.value, new, self.momentum, observed=observed
                    )
        return functional.batch_norm(
            x,
            mean,
            variance,
            affine_param(self, "scale", shape),
            affine_param(self, "bias", shape),
            axis=self.axis,
            epsilon=self.epsilon,
            dtype=self.dtype,
        )
