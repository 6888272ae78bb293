"""`DenseGeneral`: the affine map of several dimensions at once, as a module."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import jax.numpy as jnp

from linnet.initializers import Initializer
from linnet.initializers.defaults import default_bias_init, default_kernel_init
from linnet.layers_linear import functional
from linnet.layers_linear._torch import DENSE_GENERAL
from linnet.module_core.boxes import contents, replace_boxed
from linnet.module_core.draws import draws_of, fills_of
from linnet.module_core.dtypes import promote_dtype
from linnet.module_core.layers import (
    Array,
    DotGeneral,
    DTypeLike,
    OutSharding,
    PrecisionLike,
    PromoteDtype,
    Shape,
    shape_of,
)
from linnet.module_core.linen import Module, compact
from linnet.module_core.typing import Output


@dataclass(frozen=True)
class _Flattened:
    """Calls an initializer with a flat shape and reshapes the result.

    An initializer computes its fans from a matrix: one row for each contracted index, one column
    for each feature.
    """

    init: Initializer
    flat_shape: Shape

    @property
    def ignores_key(self) -> bool:
        """Whether the initializer fills with one value, whatever the key and shape."""
        return getattr(self.init, "ignores_key", False)

    @property
    def draws(self) -> _Flattened | None:
        """The initializer that draws without a box; None if unknown (`module_core.draws`)."""
        init = draws_of(self.init)
        return None if init is None else _Flattened(init, self.flat_shape)

    @property
    def fills(self) -> _Flattened | None:
        """The initializer that fills without a box; None if unknown (`module_core.draws`)."""
        init = fills_of(self.init)
        return None if init is None else _Flattened(init, self.flat_shape)

    def __call__(self, key: object, shape: Shape, dtype: object) -> Output:
        if self.ignores_key:
            return self.init(key, shape, dtype)
        value = self.init(key, self.flat_shape, dtype)
        # A box names the axes of the kernel, not those of the matrix.
        return replace_boxed(value, jnp.reshape(contents(value), shape))


class DenseGeneral(Module):
    """A linear transformation over any dimensions; see `functional.dense_general` for the equation.

    Args:
      features: int or tuple, the sizes of the output's last dimensions.
      axis: int or tuple, the dimensions to contract: (-2, -1) for the last two.
      batch_dims: leading dimensions with a separate transformation for each index.
      use_bias: adds a bias.
      dtype: the computation dtype; None for the common type of input and parameters.
      param_dtype: dtype of the parameters.
      kernel_init: initializer of the kernel; called with the kernel's shape as a matrix.
      bias_init: initializer of the bias; called with one dimension.
      precision: see `jax.lax.Precision`.
      dot_general: replaces `jax.lax.dot_general`.
      dot_general_cls: a factory for `dot_general`, called with the layer; takes precedence over
        `dot_general`.
      promote_dtype: casts input and parameters to the computation dtype.

    >>> import jax, jax.numpy as jnp
    >>> heads = DenseGeneral((8, 16), axis=-1)
    >>> y, variables = heads.init_with_output(jax.random.key(0), jnp.ones((2, 10, 32)))
    >>> jax.tree.map(jnp.shape, variables)
    {'params': {'bias': (8, 16), 'kernel': (32, 8, 16)}}
    """

    __torch_layout__ = DENSE_GENERAL

    features: int | Sequence[int]
    axis: int | Sequence[int] = -1
    batch_dims: Sequence[int] = ()
    use_bias: bool = True
    dtype: DTypeLike | None = None
    param_dtype: DTypeLike = jnp.float32
    kernel_init: Initializer = default_kernel_init
    bias_init: Initializer = default_bias_init
    precision: PrecisionLike = None
    dot_general: DotGeneral | None = None
    dot_general_cls: Callable[[], DotGeneral] | None = None
    promote_dtype: PromoteDtype = promote_dtype

    @compact
    def __call__(self, inputs: Array, *, out_sharding: OutSharding | None = None) -> Array:
        """Applies the transformation.

        Args:
          inputs: [*batch, ..., contracted dimensions anywhere].
          out_sharding: the output's sharding, on a mesh with explicit axes.

        Returns:
          [*batch, ..., *features].
        """
        axes, batch, kernel_shape, bias_shape = functional.dense_general_shapes(
            shape_of(inputs), self.features, self.axis, self.batch_dims
        )
        columns = math.prod(bias_shape[len(batch) :])
        rows = math.prod(kernel_shape[: len(batch) + len(axes)])
        kernel_init = _Flattened(self.kernel_init, (rows, columns))
        kernel = self.param("kernel", kernel_init, kernel_shape, self.param_dtype)
        bias = None
        if self.use_bias:
            bias_init = _Flattened(self.bias_init, (math.prod(bias_shape),))
            bias = self.param("bias", bias_init, bias_shape, self.param_dtype)
        dot_general = self.dot_general if self.dot_general_cls is None else self.dot_general_cls()
        return functional.dense_general(
            inputs,
            kernel,
            bias,
            axis=axes,
            batch_dims=batch,
            dtype=self.dtype,
            precision=self.precision,
            dot_general=dot_general,
            out_sharding=out_sharding,
            promote_dtype=self.promote_dtype,
        )
