"""`Einsum`: an einsum of the inputs with a kernel, as a module."""

from __future__ import annotations

from collections.abc import Sequence

import jax.numpy as jnp

from linnet.initializers import Initializer
from linnet.initializers.defaults import default_bias_init, default_kernel_init
from linnet.layers_linear import functional
from linnet.module_core.layers import (
    NO_METADATA,
    Array,
    DTypeLike,
    EinsumOp,
    Metadata,
    OutSharding,
    PrecisionLike,
    PromoteDtype,
    as_array,
    integers,
)
from linnet.module_core.layers.nnx import Layer, new_param, promote_dtype, spread, value_of
from linnet.module_core.nnx import Param, Rngs, first_from


class Einsum(Layer):
    """An einsum of the inputs with a learned kernel, plus a bias; see `functional.einsum`.

    Args:
      einsum_str: an equation with two operands, the inputs and the kernel; None if each call gives
        one.
      kernel_shape: the kernel's shape.
      bias_shape: the bias's shape: the sizes of the result's dimensions that the kernel has; None
        for no bias.
      dtype: the computation dtype; None for the common type of input and parameters.
      param_dtype: dtype of the parameters.
      precision: see `jax.lax.Precision`.
      kernel_init: initializer of the kernel.
      bias_init: initializer of the bias.
      promote_dtype: casts the tuple of input, kernel and bias to the computation dtype.
      einsum_op: replaces `jax.numpy.einsum`.
      preferred_element_type: dtype of the accumulation and of the result.
      rngs: draws the parameters: kernel, then bias.
      kernel_metadata, bias_metadata: metadata of the parameters.

    Attributes:
      kernel: `Param` of shape `kernel_shape`.
      bias: `Param` of shape `bias_shape`, or None.

    >>> import jax.numpy as jnp
    >>> from linnet.module_core.nnx import Rngs
    >>> layer = Einsum("nta,hab->nthb", (8, 2, 4), (8, 4), rngs=Rngs(0))
    >>> layer.kernel.shape, layer.bias.shape
    ((8, 2, 4), (8, 4))
    >>> layer(jnp.ones((16, 11, 2))).shape
    (16, 11, 8, 4)
    """

    def __init__(
        self,
        einsum_str: str,
        kernel_shape: Sequence[int],
        bias_shape: Sequence[int] | None = None,
        *,
        dtype: DTypeLike | None = None,
        param_dtype: DTypeLike = jnp.float32,
        precision: PrecisionLike = None,
        kernel_init: Initializer = default_kernel_init,
        bias_init: Initializer = default_bias_init,
        promote_dtype: PromoteDtype = promote_dtype,
        einsum_op: EinsumOp = jnp.einsum,
        preferred_element_type: DTypeLike | None = None,
        rngs: Rngs,
        kernel_metadata: Metadata = NO_METADATA,
        bias_metadata: Metadata = NO_METADATA,
    ) -> None:
        if einsum_str is not None:
            first, second, result = functional.einsum_terms(einsum_str)
            einsum_str = f"{first},{second}->{result}"
        self.einsum_str = einsum_str
        self.kernel_shape = integers(kernel_shape, "kernel_shape")
        self.bias_shape = None if bias_shape is None else integers(bias_shape, "bias_shape")
        self.kernel: Param[Array] = new_param(
            self, kernel_init, self.kernel_shape, param_dtype, rngs, kernel_metadata
        )
        self.bias: Param[Array] | None = None
        if self.bias_shape is not None:
            self.bias = new_param(
                self, bias_init, self.bias_shape, param_dtype, rngs, bias_metadata
            )
        self.dtype = dtype
        self.param_dtype = param_dtype
        self.precision = precision
        self.promote_dtype = promote_dtype
        self.einsum_op = einsum_op
        self.preferred_element_type = preferred_element_type

    def __call__(
        self,
        inputs: Array,
        einsum_str: str | None = None,
        out_sharding: OutSharding | None = None,
    ) -> Array:
        """Applies the transformation.

        Args:
          inputs: the equation's first operand.
          einsum_str: the equation; takes precedence over the constructor's.
          out_sharding: the output's sharding, on a mesh with explicit axes.

        Returns:
          An array with the dimensions of the equation's result.
        """
        equation = first_from(
            einsum_str,
            self.einsum_str,
            error_msg="einsum_str was passed neither to the constructor nor to the call.",
        )
        return functional.einsum(
            equation,
            as_array(inputs),
            value_of(self.kernel),
            value_of(self.bias),
            dtype=self.dtype,
            precision=self.precision,
            preferred_element_type=self.preferred_element_type,
            out_sharding=out_sharding,
            einsum_op=self.einsum_op,
            promote_dtype=spread(self.promote_dtype),
        )
