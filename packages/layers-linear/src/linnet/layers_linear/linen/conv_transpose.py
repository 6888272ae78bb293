"""`ConvTranspose`: transposed convolution, as a module."""

from __future__ import annotations

from collections.abc import Sequence

import jax.numpy as jnp

from linnet.initializers import Initializer
from linnet.initializers.defaults import default_bias_init, default_kernel_init
from linnet.layers_linear import functional
from linnet.layers_linear._torch import CONV_TRANSPOSE
from linnet.module_core.dtypes import promote_dtype
from linnet.module_core.layers import (
    Array,
    DTypeLike,
    OutSharding,
    PaddingLike,
    PrecisionLike,
    PromoteDtype,
    integer,
    integers,
    shape_of,
)
from linnet.module_core.linen import Module, compact

from ._kernels import kernel_of


class ConvTranspose(Module):
    """A transposed convolution, channels last; see `functional.conv_transpose` for the equation.

    Args:
      features: channels of the output.
      kernel_size: size of the window in each spatial dimension; an int means one dimension.
      strides: spacing of the input's positions; an int, or one for each spatial dimension.
      padding: 'SAME', 'VALID', 'CIRCULAR' (periodic), an int for all sides, or an int or
        (low, high) pair for each spatial dimension.
      kernel_dilation: an int or one for each spatial dimension ("atrous" convolution).
      use_bias: adds a bias.
      mask: multiplied by the kernel; has the kernel's shape.
      dtype: the computation dtype; None for the common type of input and parameters.
      param_dtype: dtype of the parameters.
      precision: see `jax.lax.Precision`.
      kernel_init: initializer of the kernel.
      bias_init: initializer of the bias.
      transpose_kernel: flips the kernel's spatial axes and swaps its input and output channels.
      promote_dtype: casts input and parameters to the computation dtype.
      preferred_element_type: dtype of the accumulation and of the result.
      feature_group_count: number of groups into which the features of input and output are split.

    >>> import jax, jax.numpy as jnp
    >>> upsample = ConvTranspose(16, (2, 2), strides=(2, 2))
    >>> y, variables = upsample.init_with_output(jax.random.key(0), jnp.ones((2, 6, 6, 3)))
    >>> jax.tree.map(jnp.shape, variables)
    {'params': {'bias': (16,), 'kernel': (2, 2, 3, 16)}}
    >>> y.shape
    (2, 12, 12, 16)
    """

    __torch_layout__ = CONV_TRANSPOSE

    features: int
    kernel_size: int | Sequence[int]
    strides: int | Sequence[int] | None = None
    padding: PaddingLike = "SAME"
    kernel_dilation: int | Sequence[int] | None = None
    use_bias: bool = True
    mask: Array | None = None
    dtype: DTypeLike | None = None
    param_dtype: DTypeLike = jnp.float32
    precision: PrecisionLike = None
    kernel_init: Initializer = default_kernel_init
    bias_init: Initializer = default_bias_init
    transpose_kernel: bool = False
    promote_dtype: PromoteDtype = promote_dtype
    preferred_element_type: DTypeLike | None = None
    feature_group_count: int = 1

    @compact
    def __call__(self, inputs: Array, *, out_sharding: OutSharding | None = None) -> Array:
        """Applies the transposed convolution; mirrors `jax.lax.conv_transpose`.

        Merges all batch dimensions for the computation and restores them afterwards; an input
        without a batch dimension works too. `jax.vmap` over the layer may be faster than
        several batch dimensions.

        Args:
          inputs: [*batch, *spatial, D], channels last.
          out_sharding: the output's sharding, on a mesh with explicit axes.

        Returns:
          [*batch, *spatial, features].
        """
        features = integer(self.features, "features")
        window = integers(self.kernel_size, "kernel_size", least=1)
        shape = functional.conv_transpose_kernel_shape(
            shape_of(inputs), features, window, self.transpose_kernel, self.feature_group_count
        )
        kernel = kernel_of(
            self, self.kernel_init, shape, self.param_dtype, shape_of(inputs), len(window)
        )
        bias = None
        if self.use_bias:
            bias = self.param("bias", self.bias_init, (features,), self.param_dtype)
        return functional.conv_transpose(
            inputs,
            kernel,
            bias,
            strides=self.strides,
            padding=self.padding,
            kernel_dilation=self.kernel_dilation,
            transpose_kernel=self.transpose_kernel,
            feature_group_count=self.feature_group_count,
            mask=self.mask,
            dtype=self.dtype,
            precision=self.precision,
            preferred_element_type=self.preferred_element_type,
            out_sharding=out_sharding,
            promote_dtype=self.promote_dtype,
        )
