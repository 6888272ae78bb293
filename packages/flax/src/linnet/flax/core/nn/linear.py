"""Linear layers, convolutions and embeddings, as functions of a scope."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from linnet import linen
from linnet.linen import initializers as initializers
from linnet.linen.initializers import Initializer
from linnet.module_core import errors
from linnet.module_core.linen import Scope
from linnet.module_core.typing import PaddingLike, PrecisionLike
from linnet.struct import PyTreeNode

default_kernel_init = initializers.lecun_normal()
_bias_init = initializers.zeros
default_embed_init = initializers.variance_scaling(1.0, "fan_in", "normal", out_axis=0)


def dense(
    scope: Scope,
    inputs: jax.Array,
    features: int,
    bias: bool = True,
    dtype: DTypeLike = jnp.float32,
    precision: PrecisionLike = None,
    kernel_init: Initializer = default_kernel_init,
    bias_init: Initializer = _bias_init,
) -> jax.Array:
    """An affine map of the last dimension; see `linnet.linen.Dense`.

    Args:
      scope: gets "kernel" [D, features], and "bias" [features].
      inputs: [..., D].
      features: size of the output's last dimension.
      bias: adds a bias.
      dtype: the computation dtype.
      precision: see `jax.lax.Precision`.
      kernel_init, bias_init: initializers.

    Returns:
      [..., features].

    >>> from linnet.flax.core import init
    >>> y, variables = init(dense)(jax.random.key(0), jnp.ones((5, 2)), 3)
    >>> jax.tree.map(jnp.shape, variables)
    {'params': {'bias': (3,), 'kernel': (2, 3)}}
    """
    layer = linen.Dense(
        features,
        use_bias=bias,
        dtype=dtype,
        precision=precision,
        kernel_init=kernel_init,
        bias_init=bias_init,
        parent=scope,
    )
    return layer(inputs)


def dense_general(
    scope: Scope,
    inputs: jax.Array,
    features: int | Sequence[int],
    axis: int | Sequence[int] = -1,
    batch_dims: Sequence[int] = (),
    bias: bool = True,
    dtype: DTypeLike = jnp.float32,
    kernel_init: Initializer = default_kernel_init,
    bias_init: Initializer = _bias_init,
    precision: PrecisionLike = None,
) -> jax.Array:
    """An affine map of any dimensions; see `linnet.linen.DenseGeneral`.

    Along `batch_dims`, all initial kernels are identical.

    Args:
      scope: gets "kernel" [*batch, *contracted, *features], and "bias" [*batch, *features].
      inputs: [*batch, ..., contracted dimensions anywhere].
      features: sizes of the output's last dimensions.
      axis: the dimensions to contract.
      batch_dims: leading dimensions with a separate map for each index.
      bias: adds a bias.
      dtype: the computation dtype.
      kernel_init, bias_init: initializers; called with the shape of one map as a matrix.
      precision: see `jax.lax.Precision`.

    Returns:
      [*batch, ..., *features].

    Raises:
      ValueError: `batch_dims` are not the leading dimensions.
    """
    inputs = jnp.asarray(inputs)
    batch = (batch_dims,) if isinstance(batch_dims, int) else tuple(batch_dims)
    outer = inputs.shape[: len(batch)]
    copies = 1
    for size in outer:
        copies *= size

    def once(init: Initializer) -> Initializer:
        def repeated(key: jax.Array, shape: Sequence[int], dtype: DTypeLike) -> jax.Array:
            one = init(key, (shape[0] // copies, *shape[1:]), dtype)
            return jnp.concatenate([one] * copies)

        return repeated if copies > 1 else init

    layer = linen.DenseGeneral(
        features,
        axis=axis,
        batch_dims=batch,
        use_bias=bias,
        dtype=dtype,
        kernel_init=once(kernel_init),
        bias_init=once(bias_init),
        precision=precision,
        parent=scope,
    )
    return layer(inputs)


def conv(
    scope: Scope,
    inputs: jax.Array,
    features: int,
    kernel_size: int | Sequence[int],
    strides: int | Sequence[int] | None = None,
    padding: PaddingLike = "SAME",
    input_dilation: int | Sequence[int] | None = None,
    kernel_dilation: int | Sequence[int] | None = None,
    feature_group_count: int = 1,
    bias: bool = True,
    dtype: DTypeLike = jnp.float32,
    precision: PrecisionLike = None,
    kernel_init: Initializer = default_kernel_init,
    bias_init: Initializer = _bias_init,
) -> jax.Array:
    """A convolution, channels last; see `linnet.linen.Conv`.

    Args:
      scope: gets "kernel" [*kernel_size, D // feature_group_count, features], and "bias"
        [features].
      inputs: [*batch, *spatial, D].
      features: size of the output's last dimension.
      kernel_size: size of the window in each spatial dimension.
      strides, padding, input_dilation, kernel_dilation, feature_group_count: as in
        `linnet.linen.Conv`.
      bias: adds a bias.
      dtype: the computation dtype.
      precision: see `jax.lax.Precision`.
      kernel_init, bias_init: initializers.

    Returns:
      [*batch, *spatial, features].
    """
    layer = linen.Conv(
        features,
        kernel_size,
        strides=1 if strides is None else strides,
        padding=padding,
        input_dilation=1 if input_dilation is None else input_dilation,
        kernel_dilation=1 if kernel_dilation is None else kernel_dilation,
        feature_group_count=feature_group_count,
        use_bias=bias,
        dtype=dtype,
        precision=precision,
        kernel_init=kernel_init,
        bias_init=bias_init,
        parent=scope,
    )
    return layer(inputs)


def conv_transpose(
    scope: Scope,
    inputs: jax.Array,
    features: int,
    kernel_size: int | Sequence[int],
    strides: Sequence[int] | None = None,
    padding: PaddingLike = "SAME",
    kernel_dilation: Sequence[int] | None = None,
    bias: bool = True,
    dtype: DTypeLike = jnp.float32,
    precision: PrecisionLike = None,
    kernel_init: Initializer = default_kernel_init,
    bias_init: Initializer = _bias_init,
) -> jax.Array:
    """A transposed convolution, channels last; see `linnet.linen.ConvTranspose`.

    Args:
      scope: gets "kernel" [*kernel_size, D, features], and "bias" [features].
      inputs: [*batch, *spatial, D].
      features: size of the output's last dimension.
      kernel_size: size of the window in each spatial dimension.
      strides, padding, kernel_dilation: as in `linnet.linen.ConvTranspose`.
      bias: adds a bias.
      dtype: the computation dtype.
      precision: see `jax.lax.Precision`.
      kernel_init, bias_init: initializers.

    Returns:
      [*batch, *spatial, features].
    """
    layer = linen.ConvTranspose(
        features,
        kernel_size,
        strides=strides,
        padding=padding,
        kernel_dilation=kernel_dilation,
        use_bias=bias,
        dtype=dtype,
        precision=precision,
        kernel_init=kernel_init,
        bias_init=bias_init,
        parent=scope,
    )
    return layer(inputs)


class Embedding(PyTreeNode):
    """A table of embeddings.

    Args:
      table: [num_embeddings, features].
    """

    table: jax.Array

    def lookup(self, inputs: jax.Array) -> jax.Array:
        """The embeddings [..., features] of indices [...]; those past the end give the last one.

        Raises:
          DtypeError: `inputs` are not integers.
        """
        if not jnp.issubdtype(jnp.result_type(inputs), jnp.integer):
            raise errors.DtypeError(
                f"The indices of embeddings are integers, got {jnp.result_type(inputs)}.",
            )
        return jnp.asarray(self.table)[inputs]

    def attend(self, query: jax.Array) -> jax.Array:
        """The products [..., num_embeddings] of vectors [..., features] with each embedding."""
        return jnp.dot(query, jnp.asarray(self.table).T)


def embedding(
    scope: Scope, num_embeddings: int, features: int, init_fn: Initializer = default_embed_init
) -> Embedding:
    """A table of embeddings, the parameter "table" of a scope.

    Args:
      scope: gets "table" [num_embeddings, features].
      num_embeddings: the number of vectors.
      features: the size of each.
      init_fn: the initializer.

    >>> from linnet.flax.core import init
    >>> def embed(scope, ids):
    ...     return embedding(scope, 5, 3).lookup(ids)
    >>> init(embed)(jax.random.key(0), jnp.array([1, 4]))[0].shape
    (2, 3)
    """
    return Embedding(scope.param("table", init_fn, (num_embeddings, features)))
