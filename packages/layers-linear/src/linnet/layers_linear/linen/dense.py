"""`Dense`: the affine map of the last dimension, as a module."""

from __future__ import annotations

from collections.abc import Callable

import jax.numpy as jnp

from linnet.initializers import Initializer
from linnet.initializers.defaults import default_bias_init, default_kernel_init
from linnet.layers_linear import functional
from linnet.layers_linear._torch import DENSE
from linnet.module_core.dtypes import promote_dtype
from linnet.module_core.layers import (
    Array,
    DotGeneral,
    DTypeLike,
    OutSharding,
    PrecisionLike,
    PromoteDtype,
    integer,
    shape_of,
    vector_features,
)
from linnet.module_core.linen import Module, compact


class Dense(Module):
    """A linear transformation of the last dimension; see `functional.dense` for the equation.

    Args:
      features: size of the output's last dimension.
      use_bias: adds a bias.
      dtype: the computation dtype; None for the common type of input and parameters.
      param_dtype: dtype of the parameters.
      precision: see `jax.lax.Precision`.
      kernel_init: initializer of the kernel.
      bias_init: initializer of the bias.
      dot_general: replaces `jax.lax.dot_general`.
      dot_general_cls: a factory for `dot_general`, called with the layer; takes precedence over
        `dot_general`.
      promote_dtype: casts input and parameters to the computation dtype.

    >>> import jax, jax.numpy as jnp
    >>> dense = Dense(8)
    >>> y, variables = dense.init_with_output(jax.random.key(0), jnp.ones((5, 2)))
    >>> jax.tree.map(jnp.shape, variables)
    {'params': {'bias': (8,), 'kernel': (2, 8)}}
    """

    __torch_layout__ = DENSE

    features: int
    use_bias: bool = True
    dtype: DTypeLike | None = None
    param_dtype: DTypeLike = jnp.float32
    precision: PrecisionLike = None
    kernel_init: Initializer = default_kernel_init
    bias_init: Initializer = default_bias_init
    dot_general: DotGeneral | None = None
    dot_general_cls: Callable[[], DotGeneral] | None = None
    promote_dtype: PromoteDtype = promote_dtype

    @compact
    def __call__(self, inputs: Array, *, out_sharding: OutSharding | None = None) -> Array:
        """Applies the transformation.

        Args:
          inputs: [..., D].
          out_sharding: the output's sharding, on a mesh with explicit axes.

        Returns:
          [..., features].
        """
        in_features = vector_features(shape_of(inputs))
        features = integer(self.features, "features")
        kernel = self.param("kernel", self.kernel_init, (in_features, features), self.param_dtype)
        bias = None
        if self.use_bias:
            bias = self.param("bias", self.bias_init, (features,), self.param_dtype)
        dot_general = self.dot_general if self.dot_general_cls is None else self.dot_general_cls()
        return functional.dense(
            inputs,
            kernel,
            bias,
            dtype=self.dtype,
            precision=self.precision,
            dot_general=dot_general,
            out_sharding=out_sharding,
            promote_dtype=self.promote_dtype,
        )
