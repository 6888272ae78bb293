"""`Linear`: the affine map of the last dimension, as a module."""

from __future__ import annotations

import jax.numpy as jnp
from jax import lax

from linnet.initializers import Initializer
from linnet.initializers.defaults import default_bias_init, default_kernel_init
from linnet.layers_linear import functional
from linnet.layers_linear._torch import DENSE
from linnet.module_core.layers import (
    NO_METADATA,
    Array,
    DotGeneral,
    DTypeLike,
    Metadata,
    OutSharding,
    PrecisionLike,
    PromoteDtype,
    integer,
)
from linnet.module_core.layers.nnx import Layer, new_param, promote_dtype, spread, value_of
from linnet.module_core.nnx import Param, Rngs

from ._fields import require_features


class Linear(Layer):
    """A linear transformation of the last dimension; see `functional.dense` for the equation.

    Args:
      in_features: number of features of the inputs.
      out_features: number of features of the output.
      use_bias: adds a bias.
      dtype: the computation dtype; None for the common type of input and parameters.
      param_dtype: dtype of the parameters.
      precision: see `jax.lax.Precision`.
      kernel_init: initializer of the kernel.
      bias_init: initializer of the bias.
      dot_general: replaces `jax.lax.dot_general`.
      promote_dtype: casts the tuple of input, kernel and bias to the computation dtype.
      preferred_element_type: dtype of the accumulation and of the result.
      rngs: draws the parameters: kernel, then bias.
      kernel_metadata, bias_metadata: metadata of the parameters.

    Attributes:
      kernel: `Param` of shape [in_features, out_features].
      bias: `Param` of shape [out_features], or None.

    >>> import jax.numpy as jnp
    >>> from linnet.module_core.nnx import Rngs
    >>> layer = Linear(3, 4, rngs=Rngs(0))
    >>> layer.kernel.shape, layer.bias.shape
    ((3, 4), (4,))
    >>> layer(jnp.ones((2, 3))).shape
    (2, 4)
    """

    __torch_layout__ = DENSE

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        use_bias: bool = True,
        dtype: DTypeLike | None = None,
        param_dtype: DTypeLike = jnp.float32,
        precision: PrecisionLike = None,
        kernel_init: Initializer = default_kernel_init,
        bias_init: Initializer = default_bias_init,
        dot_general: DotGeneral = lax.dot_general,
        promote_dtype: PromoteDtype = promote_dtype,
        preferred_element_type: DTypeLike | None = None,
        rngs: Rngs,
        kernel_metadata: Metadata = NO_METADATA,
        bias_metadata: Metadata = NO_METADATA,
    ) -> None:
        self.in_features = integer(in_features, "in_features")
        self.out_features = integer(out_features, "out_features")
        shape = (self.in_features, self.out_features)
        self.kernel: Param[Array] = new_param(
            self, kernel_init, shape, param_dtype, rngs, kernel_metadata
        )
        self.bias: Param[Array] | None = None
        if use_bias:
            self.bias = new_param(self, bias_init, shape[1:], param_dtype, rngs, bias_metadata)
        self.use_bias = use_bias
        self.dtype = dtype
        self.param_dtype = param_dtype
        self.precision = precision
        self.dot_general = dot_general
        self.promote_dtype = promote_dtype
        self.preferred_element_type = preferred_element_type

    def __call__(self, inputs: Array, out_sharding: OutSharding | None = None) -> Array:
        """Applies the transformation.

        Args:
          inputs: [..., in_features].
          out_sharding: the output's sharding, on a mesh with explicit axes.

        Returns:
          [..., out_features].
        """
        kernel = value_of(self.kernel)
        require_features(inputs, kernel.shape[0])
        return functional.dense(
            inputs,
            kernel,
            value_of(self.bias),
            dtype=self.dtype,
            precision=self.precision,
            dot_general=None if self.dot_general is lax.dot_general else self.dot_general,
            preferred_element_type=self.preferred_element_type,
            out_sharding=out_sharding,
            promote_dtype=spread(self.promote_dtype),
        )
