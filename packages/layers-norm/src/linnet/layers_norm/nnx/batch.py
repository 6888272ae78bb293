"""`BatchNorm`: normalization over the batch, as a module with running averages."""

from __future__ import annotations

import jax.numpy as jnp
from jax import lax

from linnet.initializers import Initializer
from linnet.initializers.defaults import default_bias_init, default_scale_init
from linnet.layers_norm import functional
from linnet.layers_norm._torch import BATCH_NORM
from linnet.layers_norm.functional._checks import check_momentum
from linnet.layers_norm.functional.batch import check_statistics
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
from linnet.module_core.layers.nnx import Layer, promote_dtype, put_value, value_of
from linnet.module_core.nnx import BatchStat, Rngs, first_from

from ._fields import affine_param


class BatchNorm(Layer):
    """Batch normalization (arXiv:1502.03167); see `functional.batch_norm` for the equation.

    During training (`use_running_average=False`, or after `model.train()`), each call normalizes
    with the batch's statistics and moves the running averages `mean` and `var` toward them; after
    `model.eval()`, calls normalize with the averages and leave them fixed.

    Args:
      num_features: number of features; one for each of several axes, in ascending order of the
        axes.
      use_running_average: normalizes with the running averages instead of the batch's statistics;
        None if every call specifies it.
      axis: the feature axis, or several; the statistics are computed over all others.
      momentum: the weight of the old average in an update, within [0, 1].
      epsilon: added to the variance, so that it is never zero.
      dtype: dtype of the result, to which input, parameters and averages are also cast; None for
        their common type. Statistics are computed in float32 or wider, and stored in float32.
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
      promote_dtype: casts the tuple of input, mean, variance, scale and bias, before the statistics
        are computed.
      rngs: draws the parameters: scale, then bias.
      bias_metadata, scale_metadata: metadata of the parameters.

    Attributes:
      mean, var: `BatchStat`s of shape [num_features], float32, initially zeros and ones.
      scale, bias: `Param`s of shape [num_features], or None.

    >>> import jax.numpy as jnp
    >>> from linnet.module_core.nnx import Rngs
    >>> layer = BatchNorm(2, momentum=0.9, rngs=Rngs(0))
    >>> y = layer(jnp.array([[1.0, 30.0], [3.0, 50.0]]))
    >>> layer.mean[...]
    Array([0.2, 4. ], dtype=float32)
    >>> layer.eval()
    >>> y = layer(jnp.ones((1, 2)))
    """

    __torch_layout__ = BATCH_NORM

    def __init__(
        self,
        num_features: Sizes,
        *,
        use_running_average: bool | None = False,
        axis: Axes = -1,
        momentum: float = 0.99,
        epsilon: float = 1e-5,
        dtype: DTypeLike | None = None,
        param_dtype: DTypeLike = jnp.float32,
        use_bias: bool = True,
        use_scale: bool = True,
        bias_init: Initializer = default_bias_init,
        scale_init: Initializer = default_scale_init,
        axis_name: AxisName | None = None,
        axis_index_groups: AxisIndexGroups | None = None,
        use_fast_variance: bool = True,
        promote_dtype: PromoteDtype = promote_dtype,
        rngs: Rngs,
        bias_metadata: Metadata = NO_METADATA,
        scale_metadata: Metadata = NO_METADATA,
    ) -> None:
        shape = integers(num_features, "num_features")
        check_momentum(momentum)
        self.mean = BatchStat(jnp.zeros(shape, jnp.float32))
        self.var = BatchStat(jnp.ones(shape, jnp.float32))
        self.scale = affine_param(
            self, use_scale, scale_init, shape, param_dtype, rngs, scale_metadata
        )
        self.bias = affine_param(self, use_bias, bias_init, shape, param_dtype, rngs, bias_metadata)
        self.num_features = num_features
        self.use_running_average = use_running_average
        self.axis = axis
        self.momentum = momentum
        self.epsilon = epsilon
        self.dtype = dtype
        self.param_dtype = param_dtype
        self.use_bias = use_bias
        self.use_scale = use_scale
        self.axis_name = axis_name
        self.axis_index_groups = axis_index_groups
        self.use_fast_variance = use_fast_variance
        self.promote_dtype = promote_dtype

    def set_view(self, use_running_average: bool | None = None) -> None:
        """Sets the given attribute; `nnx.view` calls this method on the copy that it makes.

        Args:
          use_running_average: see the constructor.
        """
        if use_running_average is not None:
            self.use_running_average = use_running_average

    def __call__(
        self, x: Array, use_running_average: bool | None = None, *, mask: Array | None = None
    ) -> Array:
        """Normalizes `x`.

        Args:
          x: any shape and type.
          use_running_average: takes precedence over the layer's setting.
          mask: broadcastable to `x`; False positions are excluded from the statistics, but are
            normalized as well. Where everything is masked, the averages don't change.

        Returns:
          An array of the shape of `x`.

        Raises:
          ArgumentError: neither layer nor call specifies whether to use the running averages.
        """
        use_running_average = first_from(
            use_running_average,
            self.use_running_average,
            error_msg=(
                "use_running_average is None in both the layer and its call, so whether "
                "to normalize with the running averages is unknown. Call model.train() or "
                "model.eval(), or pass use_running_average=True or False here or to the "
                "constructor."
            ),
        )
        check_momentum(self.momentum)
        running = value_of(self.mean), value_of(self.var)
        x = as_array(x)
        check_statistics(x.shape, *running, self.axis)
        x, mean, variance, scale, bias = self.promote_dtype(
            (x, *running, value_of(self.scale), value_of(self.bias)), dtype=self.dtype
        )
        if not use_running_average:
            mean, variance, observed = functional.batch_moments(
                x,
                axis=self.axis,
                dtype=self.dtype,
                mask=mask,
                axis_name=self.axis_name,
                axis_index_groups=self.axis_index_groups,
                use_fast_variance=self.use_fast_variance,
            )
            for name, old, new in zip(("mean", "var"), running, (mean, variance), strict=True):
                updated = functional.running_average(old, new, self.momentum, observed=observed)
                # No gradient flows into the averages, and they keep their dtype: a program compiled
                # for the first step fits the next one.
                updated = lax.convert_element_type(lax.stop_gradient(updated), old.dtype)
                put_value(self, name, updated)
        return functional.batch_norm(
            x, mean, variance, scale, bias, axis=self.axis, epsilon=self.epsilon, dtype=self.dtype
        )
