"""`PReLU`: a rectifier with a learned slope below zero, as a module."""

from __future__ import annotations

import jax.numpy as jnp

from linnet.initializers import constant
from linnet.layers_linear import functional
from linnet.layers_linear._torch import PRELU
from linnet.module_core.layers import Array, DTypeLike, shape_of, vector_features
from linnet.module_core.linen import Module, compact


class PReLU(Module):
    """Parametric ReLU; see `functional.prelu` for the equation.

    Args:
      param_dtype: dtype of the slope.
      negative_slope_init: the initial slope.
      per_feature: learns a slope for each feature of the inputs' last dimension.

    >>> import jax, jax.numpy as jnp
    >>> y, variables = PReLU().init_with_output(jax.random.key(0), jnp.array([-1.0, 1.0]))
    >>> y
    Array([-0.01,  1.  ], dtype=float32)
    >>> variables
    {'params': {'negative_slope': Array(0.01, dtype=float32)}}
    """

    __torch_layout__ = PRELU

    param_dtype: DTypeLike = jnp.float32
    negative_slope_init: float = 0.01
    per_feature: bool = False

    @compact
    def __call__(self, inputs: Array) -> Array:
        """Applies the activation.

        Args:
          inputs: any shape; with `per_feature`, [..., D].

        Returns:
          An array like the inputs.
        """
        shape = (vector_features(shape_of(inputs)),) if self.per_feature else ()
        slope_init = constant(self.negative_slope_init)
        slope = self.param("negative_slope", slope_init, shape, self.param_dtype)
        return functional.prelu(inputs, slope)
