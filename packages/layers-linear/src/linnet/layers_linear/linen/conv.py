"""`Conv`: convolution with one kernel for all positions, as a module."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import jax.numpy as jnp

from linnet.initializers import Initializer
from linnet.initializers.defaults import default_bias_init, default_kernel_init
from linnet.layers_linear import functional
from linnet.layers_linear._torch import CONV
from linnet.module_core.dtypes import promote_dtype
from linnet.module_core.layers import (
    Array,
    ConvGeneralDilated,
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


class Conv(Module):
    """A convolution, channels last; see `functional.conv` for the equation.

    Args:
      features: channels of the output.
      kernel_size: size of the window in each spatial dimension; an int means one dimension.
      strides: step between windows; an int, or one for each spatial dimension.
      padding: 'SAME', 'VALID', 'CIRCULAR' (periodic), 'REFLECT' (mirrored), 'REPLICATE' (with the
        value at the edge), an int for all sides, or an int or (low, high) pair for each spatial
        dimension. For one-dimensional convolutions, 'CAUSAL' pads on the left, so that the output
        has the input's size.
      input_dilation: spacing of the input's positions, with zeros between them; an int, or one for
        each spatial dimension.
      kernel_dilation: an int or one for each spatial dimension ("atrous" convolution).
      feature_group_count: the number of groups into which the input's features are split.
      use_bias: adds a bias.
      mask: multiplied by the kernel; has the kernel's shape.
      dtype: the computation dtype; None for the common type of input and parameters.
      param_dtype: dtype of the parameters.
      precision: see `jax.lax.Precision`.
      kernel_init: initializer of the kernel.
      bias_init: initializer of the bias.
      conv_general_dilated: replaces `jax.lax.conv_general_dilated`.
      conv_general_dilated_cls: a factory for that function, called with the layer; takes precedence
        over `conv_general_dilated`.
      promote_dtype: casts input and parameters to the computation dtype.

    >>> import jax, jax.numpy as jnp
    >>> conv = Conv(16, (5, 5), strides=2)
    >>> y, variables = conv.init_with_output(jax.random.key(0), jnp.ones((2, 12, 12, 3)))
    >>> jax.tree.map(jnp.shape, variables)
    {'params': {'bias': (16,), 'kernel': (5, 5, 3, 16)}}
    >>> y.shape
    (2, 6, 6, 16)
    """

    __torch_layout__ = CONV

    features: int
    kernel_size: int | Sequence[int]
    strides: int | Sequence[int] | None = 1
    padding: PaddingLike = "SAME"
    input_dilation: int | Sequence[int] | None = 1
    kernel_dilation: int | Sequence[int] | None = 1
    feature_group_count: int = 1
    use_bias: bool = True
    mask: Array | None = None
    dtype: DTypeLike | None = None
    param_dtype: DTypeLike = jnp.float32
    precision: PrecisionLike = None
    kernel_init: Initializer = default_kernel_init
    bias_init: Initializer = default_bias_init
    conv_general_dilated: ConvGeneralDilated | None = None
    conv_general_dilated_cls: Callable[[], ConvGeneralDilated] | None = None
    promote_dtype: PromoteDtype = promote_dtype

    @property
    def shared_weights(self) -> bool:
        """True: all positions share one kernel."""
        return True

    @compact
    def __call__(self, inputs: Array, *, out_sharding: OutSharding | None = None) -> Array:
        """Applies the convolution.

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
        shape = functional.conv_kernel_shape(
            shape_of(inputs), features, window, self.feature_group_count
        )
        kernel = kernel_of(
            self, self.kernel_init, shape, self.param_dtype, shape_of(inputs), len(window)
        )
        bias = None
        if self.use_bias:
            bias = self.param("bias", self.bias_init, (features,), self.param_dtype)
        convolve = self.conv_general_dilated
        if self.conv_general_dilated_cls is not None:
            convolve = self.conv_general_dilated_cls()
        return functional.conv(
            inputs,
            kernel,
            bias,
            strides=self.strides,
            padding=self.padding,
            input_dilation=self.input_dilation,
            kernel_dilation=self.kernel_dilation,
            feature_group_count=self.feature_group_count,
            mask=self.mask,
            dtype=self.dtype,
            precision=self.precision,
            conv_general_dilated=convolve,
            out_sharding=out_sharding,
            promote_dtype=self.promote_dtype,
        )
