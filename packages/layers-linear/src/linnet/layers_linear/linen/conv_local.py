"""`ConvLocal`: convolution with a separate kernel at each position, as a module."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import jax.numpy as jnp

from linnet.initializers import Initializer
from linnet.initializers.defaults import default_bias_init, default_kernel_init
from linnet.layers_linear import functional
from linnet.module_core.dtypes import promote_dtype
from linnet.module_core.errors import ArgumentError
from linnet.module_core.layers import (
    Array,
    ConvGeneralDilated,
    DTypeLike,
    OutSharding,
    PaddingLike,
    PrecisionLike,
    PromoteDtype,
    integer,
    shape_of,
)
from linnet.module_core.linen import Module, compact


class ConvLocal(Module):
    """A convolution without shared weights; see `functional.conv_local` for the equation.

    Args:
      features: channels of the output.
      kernel_size: size of the window in each spatial dimension; an int means one dimension.
      strides: step between windows; an int, or one for each spatial dimension.
      padding: as for `Conv`.
      input_dilation: an int or one for each spatial dimension.
      kernel_dilation: an int or one for each spatial dimension.
      feature_group_count: must be 1; exists so that the arguments match those of `Conv`.
      use_bias: adds a bias, one for each position and feature.
      mask: multiplied by the kernel; has the kernel's shape.
      dtype: the computation dtype; None for the common type of input and parameters.
      param_dtype: dtype of the parameters.
      precision: see `jax.lax.Precision`.
      kernel_init: initializer of the kernel.
      bias_init: initializer of the bias.
      conv_general_dilated: must be None: a local convolution is a different operation.
      conv_general_dilated_cls: must be None.
      promote_dtype: casts input and parameters to the computation dtype.

    >>> import jax, jax.numpy as jnp
    >>> local = ConvLocal(2, 5, padding="VALID")
    >>> y, variables = local.init_with_output(jax.random.key(0), jnp.ones((6, 12, 4)))
    >>> jax.tree.map(jnp.shape, variables)
    {'params': {'bias': (8, 2), 'kernel': (8, 20, 2)}}
    """

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
        """False: each position has its own kernel."""
        return False

    @compact
    def __call__(self, inputs: Array, *, out_sharding: OutSharding | None = None) -> Array:
        """Applies the convolution.

        Merges all batch dimensions for the computation and restores them afterwards; an input
        without a batch dimension works too.

        Args:
          inputs: [*batch, *spatial, D], channels last.
          out_sharding: the output's sharding, on a mesh with explicit axes.

        Returns:
          [*batch, *spatial, features].
        """
        features = integer(self.features, "features")
        self._refuse_what_is_not_local()
        shapes = functional.conv_local_shapes(
            shape_of(inputs),
            features,
            self.kernel_size,
            strides=self.strides,
            padding=self.padding,
            input_dilation=self.input_dilation,
            kernel_dilation=self.kernel_dilation,
        )
        kernel = self.param("kernel", self.kernel_init, shapes.kernel, self.param_dtype)
        bias = None
        if self.use_bias:
            bias = self.param("bias", self.bias_init, shapes.bias, self.param_dtype)
        return functional.conv_local(
            inputs,
            kernel,
            bias,
            kernel_size=self.kernel_size,
            strides=self.strides,
            padding=self.padding,
            input_dilation=self.input_dilation,
            kernel_dilation=self.kernel_dilation,
            mask=self.mask,
            dtype=self.dtype,
            precision=self.precision,
            out_sharding=out_sharding,
            promote_dtype=self.promote_dtype,
        )

    def _refuse_what_is_not_local(self) -> None:
        groups = integer(self.feature_group_count, "feature_group_count", least=1)
        if groups != 1:
            raise ArgumentError(
                f"A local convolution has no feature groups, got feature_group_count={groups}.",
                hint="Split the inputs' features and apply one ConvLocal to each part.",
            )
        if self.conv_general_dilated is not None or self.conv_general_dilated_cls is not None:
            raise ArgumentError(
                "A local convolution doesn't use conv_general_dilated: the given function would "
                "have no effect.",
                hint="Leave conv_general_dilated and conv_general_dilated_cls out.",
            )
