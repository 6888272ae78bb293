"""`ConvTranspose`: transposed convolution, as a module."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jax.numpy as jnp

from linnet.initializers import Initializer
from linnet.initializers.defaults import default_bias_init, default_kernel_init
from linnet.layers_linear import functional
from linnet.layers_linear._torch import CONV_TRANSPOSE
from linnet.module_core.layers import (
    NO_METADATA,
    Array,
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


class ConvTranspose(Layer):
    """A transposed convolution, channels last; see `functional.conv_transpose`.

    Args:
      in_features: number of features of the inputs.
      out_features: channels of the output.
      kernel_size: size of the window in each spatial dimension; an int means one dimension.
      strides: spacing of the input's positions; an int, or one for each spatial dimension; None for
        1.
      padding: 'SAME', 'VALID', 'CIRCULAR' (periodic), or the padding of the dilated input: an int
        for all sides, or an int or (low, high) pair for each spatial dimension.
      kernel_dilation: an int or one for each spatial dimension ("atrous" convolution).
      use_bias: adds a bias.
      mask: multiplied by the kernel; has the kernel's shape.
      dtype: the computation dtype; None for the common type of input and parameters.
      param_dtype: dtype of the parameters.
      precision: see `jax.lax.Precision`.
      kernel_init: initializer of the kernel.
      bias_init: initializer of the bias.
      transpose_kernel: flips the kernel's spatial dimensions and swaps its features, which makes
        this the transpose of `Conv` with the same kernel.
      promote_dtype: casts the tuple of input, kernel and bias to the computation dtype.
      preferred_element_type: dtype of the accumulation and of the result.
      rngs: draws the parameters: kernel, then bias.
      kernel_metadata, bias_metadata: metadata of the parameters.
      feature_group_count: G, the number of groups into which the features of input and output are
        split.

    Attributes:
      kernel: `Param` of shape [*kernel_size, in_features // G, out_features], or, if
        `transpose_kernel`, [*kernel_size, out_features // G, in_features].
      bias: `Param` of shape [out_features], or None.

    >>> import jax.numpy as jnp
    >>> from linnet.module_core.nnx import Rngs
    >>> layer = ConvTranspose(3, 4, kernel_size=(3,), strides=2, rngs=Rngs(0))
    >>> layer.kernel.shape, layer.bias.shape
    ((3, 3, 4), (4,))
    >>> layer(jnp.ones((1, 8, 3))).shape
    (1, 16, 4)
    """

    __torch_layout__ = CONV_TRANSPOSE

    @classmethod
    def _beyond_flax(cls, attributes: Mapping[str, Any]) -> Mapping[str, Any]:
        return {"feature_group_count": 1}

    def __init__(
        self,
        in_features: int,
        out_features: int,
        kernel_size: int | Sequence[int],
        strides: int | Sequence[int] | None = None,
        *,
        padding: PaddingLike = "SAME",
        kernel_dilation: int | Sequence[int] | None = None,
        use_bias: bool = True,
        mask: Array | None = None,
        dtype: DTypeLike | None = None,
        param_dtype: DTypeLike = jnp.float32,
        precision: PrecisionLike = None,
        kernel_init: Initializer = default_kernel_init,
        bias_init: Initializer = default_bias_init,
        transpose_kernel: bool = False,
        promote_dtype: PromoteDtype = promote_dtype,
        preferred_element_type: DTypeLike | None = None,
        rngs: Rngs,
        kernel_metadata: Metadata = NO_METADATA,
        bias_metadata: Metadata = NO_METADATA,
        feature_group_count: int = 1,
    ) -> None:
        self.in_features = integer(in_features, "in_features")
        self.out_features = integer(out_features, "out_features")
        self.kernel_size = integers(kernel_size, "kernel_size", least=1)
        functional.canonicalize_padding(
            padding, len(self.kernel_size), functional.TRANSPOSE_PADDINGS
        )
        window = (1,) * len(self.kernel_size)
        self.kernel_shape = functional.conv_transpose_kernel_shape(
            (*window, self.in_features),
            self.out_features,
            self.kernel_size,
            transpose_kernel,
            feature_group_count,
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
        self.kernel_dilation = as_tuple(kernel_dilation)
        self.use_bias = use_bias
        self.mask = mask
        self.dtype = dtype
        self.param_dtype = param_dtype
        self.precision = precision
        self.transpose_kernel = transpose_kernel
        self.feature_group_count = feature_group_count
        self.promote_dtype = promote_dtype
        self.preferred_element_type = preferred_element_type

    def __call__(self, inputs: Array, out_sharding: OutSharding | None = None) -> Array:
        """Applies the transposed convolution.

        Merges all batch dimensions for the computation and restores them afterwards; an input
        without a batch dimension works too.

        Args:
          inputs: [*batch, *spatial, in_features], channels last.
          out_sharding: the output's sharding, on a mesh with explicit axes.

        Returns:
          [*batch, *spatial, out_features].
        """
        kernel = value_of(self.kernel)
        groups = self.feature_group_count
        features = kernel.shape[-1] if self.transpose_kernel else kernel.shape[-2] * groups
        require_features(inputs, features, rank=kernel.ndim - 2)
        return functional.conv_transpose(
            inputs,
            kernel,
            value_of(self.bias),
            strides=self.strides,
            padding=self.padding,
            kernel_dilation=self.kernel_dilation,
            transpose_kernel=self.transpose_kernel,
            feature_group_count=groups,
            mask=self.mask,
            dtype=self.dtype,
            precision=self.precision,
            preferred_element_type=self.preferred_element_type,
            out_sharding=out_sharding,
            promote_dtype=spread(self.promote_dtype),
        )
