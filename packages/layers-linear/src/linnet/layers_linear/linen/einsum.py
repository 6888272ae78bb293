"""`Einsum`: an einsum of the inputs with a kernel, as a module."""

from __future__ import annotations

from collections.abc import Sequence

import jax.numpy as jnp

from linnet.initializers import Initializer
from linnet.initializers.defaults import default_bias_init, default_kernel_init
from linnet.layers_linear import functional
from linnet.module_core.dtypes import promote_dtype
from linnet.module_core.layers import (
    Array,
    DTypeLike,
    OutSharding,
    PrecisionLike,
    PromoteDtype,
    integers,
    shape_of,
)
from linnet.module_core.linen import Module, compact, merge_param


class Einsum(Module):
    """An einsum of the inputs with a learned kernel, plus a bias; see `functional.einsum`.

    Args:
      shape: the kernel's shape.
      einsum_str: an equation with two operands, the inputs and the kernel; given either here or in
        the call.
      use_bias: adds a bias along the output's dimensions that come from the kernel.
      dtype: the computation dtype; None for the common type of input and parameters.
      param_dtype: dtype of the parameters.
      precision: see `jax.lax.Precision`.
      kernel_init: initializer of the kernel.
      bias_init: initializer of the bias.
      promote_dtype: casts input and parameters to the computation dtype.
      preferred_element_type: dtype of the accumulation and of the result.

    >>> import jax, jax.numpy as jnp
    >>> heads = Einsum((32, 8, 4), "btd,dhf->bthf")
    >>> y, variables = heads.init_with_output(jax.random.key(0), jnp.ones((2, 10, 32)))
    >>> jax.tree.map(jnp.shape, variables)
    {'params': {'bias': (8, 4), 'kernel': (32, 8, 4)}}
    """

    shape: Sequence[int]
    einsum_str: str | None = None
    use_bias: bool = True
    dtype: DTypeLike | None = None
    param_dtype: DTypeLike = jnp.float32
    precision: PrecisionLike = None
    kernel_init: Initializer = default_kernel_init
    bias_init: Initializer = default_bias_init
    promote_dtype: PromoteDtype = promote_dtype
    preferred_element_type: DTypeLike | None = None

    @compact
    def __call__(
        self,
        inputs: Array,
        einsum_str: str | None = None,
        *,
        out_sharding: OutSharding | None = None,
    ) -> Array:
        """Applies the transformation.

        Args:
          inputs: the equation's first operand.
          einsum_str: the equation; required if the constructor wasn't given one.
          out_sharding: the output's sharding, on a mesh with explicit axes.

        Returns:
          An array with the dimensions of the equation's result.
        """
        equation = merge_param("einsum_str", self.einsum_str, einsum_str)
        shape = integers(self.shape, "shape")
        bias_shape, _ = functional.einsum_shapes(equation, shape_of(inputs), shape)
        kernel = self.param("kernel", self.kernel_init, shape, self.param_dtype)
        bias = None
        if self.use_bias:
            bias = self.param("bias", self.bias_init, bias_shape, self.param_dtype)
        return functional.einsum(
            equation,
            inputs,
            kernel,
            bias,
            dtype=self.dtype,
            precision=self.precision,
            preferred_element_type=self.preferred_element_type,
            out_sharding=out_sharding,
            promote_dtype=self.promote_dtype,
        )
