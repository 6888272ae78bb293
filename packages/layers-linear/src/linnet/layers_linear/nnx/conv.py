"""`Conv`: convolution with one kernel for all positions, as a module."""

from __future__ import annotations

from collections.abc import Sequence

import jax.numpy as jnp
from jax import lax

from linnet.initializers import Initializer
from linnet.initializers.defaults import default_bias_init, default_kernel_init
from linnet.layers_linear import functional
from linnet.layers_linear._torch import CONV
from linnet.module_core.layers import (
    NO_METADATA,
    Array,
    ConvGeneralDilated,
    DTypeLike,
    Metadata,
    OutSharding,
    PaddingLike,
    PrecisionLike,
    PromoteDtype,
    integer,
    integers,
)
from linnet.module_core.layers.nnx import Layer, new_param, promote_dtype, spread, value_of
from linnet.module_core.nnx import Param, Rngs

from ._fields import as_tuple, require_features


class Conv(Layer):
    """A convolution, channels last; see `functional.conv` for the equation.

    Args:
      in_features: number of features of the inputs.
      out_features: channels of the output.
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
      promote_dtype: casts the tuple of input, kernel and bias to the computation dtype.
      preferred_element_type: dtype of the accumulation and of the result.
      rngs: draws the parameters: kernel, then bias.
      kernel_metadata, bias_metadata: metadata of the parameters.

    Attributes:
      kernel: `Param` of shape [*kernel_size, in_features // feature_group_count, out_features].
      bias: `Param` of shape [out_features], or None.

    >>> import jax.numpy as jnp
    >>> from linnet.module_core.nnx import Rngs
    >>> layer = Conv(3, 4, kernel_size=(3,), padding="VALID", rngs=Rngs(0))
    >>> layer.kernel.shape, layer.bias.shape
    ((3, 3, 4), (4,))
    >>> layer(jnp.ones((1, 8, 3))).shape
    (1, 6, 4)
    """

    __torch_layout__ = CONV

    def __init__(
        self,
        in_features: int,
        out_features: int,
        kernel_size: int | Sequence[int],
        strides: int | Sequence[int] | None = 1,
        *,
        padding: PaddingLike = "SAME",
        input_dilation: int | Sequence[int] | None = 1,
        kernel_dilation: int | Sequence[int] | None = 1,
        feature_group_count: int = 1,
        use_bias: bool = True,
        mask: Array | None = None,
        dtype: DTypeLike | None = None,
        param_dtype: DTypeLike = jnp.float32,
        precision: PrecisionLike = None,
        kernel_init: Initializer = default_kernel_init,
        bias_init: Initializer = default_bias_init,
        conv_general_dilated: ConvGeneralDilated = lax.conv_general_dilated,
        promote_dtype: PromoteDtype = promote_dtype,
        preferred_element_type: DTypeLike | None = None,
        rngs: Rngs,
        kernel_metadata: Metadata = NO_METADATA,
        bias_metadata: Metadata = NO_METADATA,
    ) -> None:
        self.in_features = integer(in_features, "in_features")
        self.out_features = integer(out_features, "out_features")
        self.kernel_size = integers(kernel_size, "kernel_size", least=1)
        functional.canonicalize_padding(padding, len(self.kernel_size))
        window = (1,) * len(self.kernel_size)
        self.kernel_shape = functional.conv_kernel_shape(
            (*window, self.in_features), self.out_features, self.kernel_size, feature_group_count
        )
        self.kernel: Param[Array] = new_param(
            self, kernel_init, self.kernel_shape, param_dtype, rngs, kernel_metadata
        )
        self.bias: Param[Array] | None = None
        if use_bias:
            shape = (self.out_features,)
            self.bias = new_param(self, bias_init, shape, param_dtype, rngs, bias_metadata)
        self.strides = as_tuple(strides)
        self.padding = as_tuple(padding)
        self.input_dilation = as_tuple(input_dilation)
        self.kernel_dilation = as_tuple(kernel_dilation)
        self.feature_group_count = feature_group_count
        self.use_bias = use_bias
        self.mask = mask
        self.dtype = dtype
        self.param_dtype = param_dtype
        self.precision = precision
        self.conv_general_dilated = conv_general_dilated
        self.promote_dtype = promote_dtype
        self.preferred_element_type = preferred_element_type

    def __call__(self, inputs: Array, out_sharding: OutSharding | None = None) -> Array:
        """Applies the convolution.

        Merges all batch dimensions for the computation and restores them afterwards; an input
        without a batch dimension works too. `nnx.vmap` over the layer may be faster than
        several batch dimensions.

        Args:
          inputs: [*batch, *spatial, in_features], channels last.
          out_sharding: the output's sharding, on a mesh with explicit axes.

        Returns:
          [*batch, *spatial, out_features].
        """
        kernel = value_of(self.kernel)
        require_features(inputs, kernel.shape[-2] * self.feature_group_count, rank=kernel.ndim - 2)
        convolve = self.conv_general_dilated
        return functional.conv(
            inputs,
            kernel,
            value_of(self.bias),
            strides=self.strides,
            padding=self.padding,
            input_dilation=self.input_dilation,
            kernel_dilation=self.kernel_dilation,
            feature_group_count=self.feature_group_count,
            mask=self.mask,
            dtype=self.dtype,
            precision=self.precision,
            conv_general_dilated=None if convolve is lax.conv_general_dilated else convolve,
            preferred_element_type=self.preferred_element_type,
            out_sharding=out_sharding,
            promote_dtype=spread(self.promote_dtype),
        )
