"""`LinearGeneral`: the affine map of several dimensions at once, as a module."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp

from linnet.initializers import Initializer
from linnet.initializers.defaults import default_bias_init, default_kernel_init
from linnet.layers_linear import functional
from linnet.layers_linear._torch import DENSE_GENERAL
from linnet.module_core.draws import draws_of
from linnet.module_core.errors import ArgumentError, ShapeError, counted
from linnet.module_core.layers import (
    NO_METADATA,
    Array,
    DotGeneral,
    DTypeLike,
    Metadata,
    OutSharding,
    PrecisionLike,
    PromoteDtype,
    Shape,
    integer,
    integers,
    shape_of,
)
from linnet.module_core.layers.nnx import Layer, new_param, promote_dtype, spread, value_of
from linnet.module_core.nnx import Param, Rngs, VariableMetadata
from linnet.struct import FrozenDict


class LinearGeneral(Layer):
    """A linear transformation of any dimensions; see `functional.dense_general` for the equation.

    Args:
      in_features: int or tuple, the sizes of the input's dimensions `axis`, in ascending order of
        the dimensions.
      out_features: int or tuple, the sizes of the output's last dimensions.
      axis: int or tuple, the dimensions to contract: (-2, -1) for the last two.
      batch_axis: leading dimensions with a separate transformation for each index, with their
        sizes: {0: 8}.
      use_bias: adds a bias.
      dtype: the computation dtype; None for the common type of input and parameters.
      param_dtype: dtype of the parameters.
      kernel_init: initializer of the kernel; called with the kernel's shape as a matrix.
      bias_init: initializer of the bias; called with one dimension.
      precision: see `jax.lax.Precision`.
      promote_dtype: casts the tuple of input, kernel and bias to the computation dtype.
      dot_general: replaces `jax.lax.dot_general`.
      dot_general_cls: a factory for `dot_general`, called with the layer; takes precedence over
        `dot_general`.
      preferred_element_type: dtype of the accumulation and of the result.
      rngs: draws the parameters: kernel, then bias.
      kernel_metadata, bias_metadata: metadata of the parameters.

    Attributes:
      kernel: `Param` of shape [*batch, *in_features, *out_features].
      bias: `Param` of shape [*batch, *out_features], or None.

    >>> import jax.numpy as jnp
    >>> from linnet.module_core.nnx import Rngs
    >>> layer = LinearGeneral((3, 7), (4, 5), axis=(1, -1), rngs=Rngs(0))
    >>> layer.kernel.shape, layer.bias.shape
    ((3, 7, 4, 5), (4, 5))
    >>> layer(jnp.ones((1, 3, 6, 7))).shape
    (1, 6, 4, 5)
    """

    __torch_layout__ = DENSE_GENERAL

    def __init__(
        self,
        in_features: int | Sequence[int],
        out_features: int | Sequence[int],
        *,
        axis: int | Sequence[int] = -1,
        batch_axis: Mapping[int, int] = FrozenDict({}),
        use_bias: bool = True,
        dtype: DTypeLike | None = None,
        param_dtype: DTypeLike = jnp.float32,
        kernel_init: Initializer = default_kernel_init,
        bias_init: Initializer = default_bias_init,
        precision: PrecisionLike = None,
        promote_dtype: PromoteDtype = promote_dtype,
        dot_general: DotGeneral | None = None,
        dot_general_cls: Callable[[], DotGeneral] | None = None,
        preferred_element_type: DTypeLike | None = None,
        rngs: Rngs,
        kernel_metadata: Metadata = NO_METADATA,
        bias_metadata: Metadata = NO_METADATA,
    ) -> None:
        self.in_features = integers(in_features, "in_features")
        self.out_features = integers(out_features, "out_features")
        self.axis = integers(axis, "axis", least=None)
        self.batch_axis: Mapping[int, int] = FrozenDict(_leading(batch_axis))
        if len(self.in_features) != len(self.axis):
            raise ArgumentError(
                f"axis={self.axis} contracts {counted(len(self.axis), 'dimension')}, but"
                f" in_features={self.in_features} has {counted(len(self.in_features), 'size')}.",
                hint="Pass one size for each contracted dimension.",
            )
        batch = tuple(self.batch_axis.values())
        flat = (math.prod(batch) * math.prod(self.in_features), math.prod(self.out_features))
        self.kernel: Param[Array] = new_param(
            self,
            _OfFlat(kernel_init, flat),
            batch + self.in_features + self.out_features,
            param_dtype,
            rngs,
            kernel_metadata,
        )
        self.bias: Param[Array] | None = None
        if use_bias:
            shape = batch + self.out_features
            init = _OfFlat(bias_init, (math.prod(shape),))
            self.bias = new_param(self, init, shape, param_dtype, rngs, bias_metadata)
        self.use_bias = use_bias
        self.dtype = dtype
        self.param_dtype = param_dtype
        self.precision = precision
        self.promote_dtype = promote_dtype
        self.dot_general = dot_general
        self.dot_general_cls = dot_general_cls
        self.preferred_element_type = preferred_element_type

    def __call__(self, inputs: Array, out_sharding: OutSharding | None = None) -> Array:
        """Applies the transformation.

        Args:
          inputs: [*batch, ..., in_features anywhere].
          out_sharding: the output's sharding, on a mesh with explicit axes.

        Returns:
          [*batch, ..., *out_features].
        """
        kernel = value_of(self.kernel)
        batch = tuple(self.batch_axis)
        outer, inner = len(batch), len(batch) + len(self.axis)
        axes = functional.dense_general_shapes(shape_of(inputs), (), self.axis, batch).axes
        _require(inputs, (*batch, *axes), kernel.shape[:inner], outer)
        dot_general = self.dot_general if self.dot_general_cls is None else self.dot_general_cls()
        return functional.dense_general(
            inputs,
            kernel,
            value_of(self.bias),
            axis=axes,
            batch_dims=batch,
            dtype=self.dtype,
            precision=self.precision,
            dot_general=dot_general,
            preferred_element_type=self.preferred_element_type,
            out_sharding=out_sharding,
            promote_dtype=spread(self.promote_dtype),
        )


def _leading(batch_axis: Mapping[int, int]) -> dict[int, int]:
    """Batch dimensions and their sizes, in ascending order."""
    sizes = {
        integer(dim, "batch_axis", least=None): integer(size, f"batch_axis[{dim}]")
        for dim, size in sorted(batch_axis.items())
    }
    if tuple(sizes) != tuple(range(len(sizes))):
        raise ArgumentError(
            f"batch_axis={dict(batch_axis)!r} does not name the leading dimensions 0, 1, ...",
            hint="Transpose the inputs so that these dimensions come first.",
        )
    return sizes


def _require(inputs: object, dims: Shape, expected: Shape, outer: int) -> None:
    shape = shape_of(inputs)
    got = tuple(shape[d] for d in dims)
    if got != expected:
        raise ShapeError(
            f"inputs have shape {shape}, expected sizes {expected} in the dimensions {dims}, got"
            f" {got}.",
            hint=f"The layer was made with in_features={expected[outer:]}"
            + (f" and batch sizes {expected[:outer]}." if outer else "."),
        )


@dataclass(frozen=True)
class _OfFlat:
    """Calls an initializer with a flat shape and reshapes the result.

    An initializer computes its fans from a matrix: one row for each contracted index, one column
    for each feature.
    """

    init: Initializer
    flat: Shape

    @property
    def draws(self) -> _OfFlat | None:
        """Draws the array without metadata; None if that is unknown (`module_core.draws`)."""
        init = draws_of(self.init)
        return None if init is None else _OfFlat(init, self.flat)

    def __call__(self, key: object, shape: Shape, dtype: object) -> object:
        value: Any = self.init(key, self.flat, dtype)
        if isinstance(value, VariableMetadata):
            value.raw_value = _shaped(value.raw_value, shape)
            return value
        return _shaped(value, shape)


def _shaped(value: Array, shape: Shape) -> Array:
    return value if value.shape == shape else jnp.reshape(value, shape)
