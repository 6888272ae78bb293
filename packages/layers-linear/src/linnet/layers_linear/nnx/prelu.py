"""`PReLU`: a rectifier with a learned slope below zero, as a module."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp

from linnet.layers_linear import functional
from linnet.layers_linear._torch import PRELU
from linnet.module_core.layers import (
    NO_METADATA,
    Array,
    DTypeLike,
    Metadata,
    PromoteDtype,
    integer,
)
from linnet.module_core.layers.nnx import Layer, promote_dtype, value_of
from linnet.module_core.nnx import Param

from ._fields import require_features


class PReLU(Layer):
    """Parametric ReLU; see `functional.prelu` for the equation.

    Args:
      negative_slope_init: the initial slope.
      dtype: the computation dtype; None for the type of the inputs.
      param_dtype: dtype of the slope.
      promote_dtype: casts the tuple of input and slope, if `dtype` is given.
      negative_slope_metadata: metadata of the parameter.
      num_features: learns a slope for each of that many features of the inputs' last dimension;
        None for a single slope.

    Attributes:
      negative_slope: `Param`, a scalar or of shape [num_features].

    >>> import jax.numpy as jnp
    >>> PReLU()(jnp.array([-1.0, 1.0]))
    Array([-0.01,  1.  ], dtype=float32)
    """

    __torch_layout__ = PRELU

    @classmethod
    def _beyond_flax(cls, attributes: Mapping[str, Any]) -> Mapping[str, Any]:
        return {"num_features": None}

    def __init__(
        self,
        negative_slope_init: float = 0.01,
        *,
        dtype: DTypeLike | None = None,
        param_dtype: DTypeLike = jnp.float32,
        promote_dtype: PromoteDtype = promote_dtype,
        negative_slope_metadata: Metadata = NO_METADATA,
        num_features: int | None = None,
    ) -> None:
        self.num_features = (
            None if num_features is None else integer(num_features, "num_features", least=1)
        )
        slope = jnp.asarray(negative_slope_init, param_dtype)
        if self.num_features is not None:
            slope = jnp.full(self.num_features, slope)
        self.negative_slope: Param[Array] = Param(slope, **negative_slope_metadata)
        self.dtype = dtype
        self.param_dtype = param_dtype
        self.promote_dtype = promote_dtype

    def __call__(self, inputs: Array) -> Array:
        """Applies the activation.

        Args:
          inputs: any shape; with `num_features`, [..., num_features].

        Returns:
          An array like the inputs.
        """
        if self.num_features is not None:
            require_features(inputs, self.num_features, "num_features")
        slope = value_of(self.negative_slope)
        if self.dtype is not None:
            inputs, slope = self.promote_dtype((inputs, slope), dtype=self.dtype)
        return functional.prelu(inputs, slope)
