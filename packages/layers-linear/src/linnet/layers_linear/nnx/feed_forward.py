"""`GLU` and `MLP`: the feed-forward layers of transformers, with and without a gate, as modules.

Their maps are separate `Linear` layers, which can be replaced or wrapped in adapters.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import jax.numpy as jnp
from jax import lax

from linnet.initializers import Initializer
from linnet.initializers.defaults import default_bias_init, default_kernel_init
from linnet.layers_linear import functional
from linnet.layers_linear._torch import GATED
from linnet.layers_linear.functional.feed_forward import activated
from linnet.module_core.layers import (
    NO_METADATA,
    Activation,
    Array,
    DotGeneral,
    DTypeLike,
    Metadata,
    OutSharding,
    PrecisionLike,
    PromoteDtype,
    Sizes,
    integer,
    integers,
)
from linnet.module_core.layers.nnx import Layer, promote_dtype
from linnet.module_core.nnx import List, Rngs

from ._fields import require_features
from .dense import Linear


class GLU(Layer):
    """A gated feed-forward layer; see `functional.gated` for the equations.

    It is a SwiGLU by default; `activation=jax.nn.gelu` makes it a GeGLU.

    Args:
      in_features: number of features of the inputs.
      hidden_features: size of the product of gate and `up`.
      out_features: number of features of the output; None for `in_features`.
      activation: activation function of the gate.
      fused: computes gate and `up` in one product, with a single kernel `gate_up` of twice the
        width: the gate's columns come first. If kernels are sharded along their columns, separate
        kernels keep matching columns of both on the same device; a fused kernel does not.
      use_bias: the maps add a bias.
      dtype: the computation dtype; None for the common type of input and parameters.
      param_dtype: dtype of the parameters.
      precision: see `jax.lax.Precision`.
      kernel_init: initializer of the kernels.
      out_kernel_init: initializer of the kernel of `down`; None for `kernel_init`.
      bias_init: initializer of the biases.
      dot_general: replaces `jax.lax.dot_general`.
      promote_dtype: casts the tuples of input, kernel and bias to the computation dtype.
      preferred_element_type: dtype of the accumulations and of their results.
      rngs: draws the parameters: gate, up, down.
      kernel_metadata, bias_metadata: metadata of the parameters.
      out_kernel_metadata: metadata of the kernel of `down`; None for `kernel_metadata`.

    Attributes:
      gate, up: `Linear`s, [in_features] to [hidden_features]; only if not fused.
      gate_up: a `Linear`, [in_features] to [2 · hidden_features]; only if fused.
      down: a `Linear`, [hidden_features] to [out_features].

    >>> import jax.numpy as jnp
    >>> from linnet.module_core.nnx import Rngs
    >>> layer = GLU(2, 8, rngs=Rngs(0))
    >>> layer.gate.kernel.shape, layer.down.kernel.shape, layer(jnp.ones((5, 2))).shape
    ((2, 8), (8, 2), (5, 2))
    """

    __torch_layout__ = GATED

    def __init__(
        self,
        in_features: int,
        hidden_features: int,
        out_features: int | None = None,
        *,
        activation: Activation = functional.silu,
        fused: bool = False,
        use_bias: bool = False,
        dtype: DTypeLike | None = None,
        param_dtype: DTypeLike = jnp.float32,
        precision: PrecisionLike = None,
        kernel_init: Initializer = default_kernel_init,
        out_kernel_init: Initializer | None = None,
        bias_init: Initializer = default_bias_init,
        dot_general: DotGeneral = lax.dot_general,
        promote_dtype: PromoteDtype = promote_dtype,
        preferred_element_type: DTypeLike | None = None,
        rngs: Rngs,
        kernel_metadata: Metadata = NO_METADATA,
        out_kernel_metadata: Metadata | None = None,
        bias_metadata: Metadata = NO_METADATA,
    ) -> None:
        width = integer(hidden_features, "hidden_features")
        self.in_features, self.out_features = _ends(in_features, out_features)
        self.hidden_features = width
        self.activation = activation
        self.fused = fused
        linear: Callable[..., Linear] = partial(
            Linear,
            use_bias=use_bias,
            dtype=dtype,
            param_dtype=param_dtype,
            precision=precision,
            kernel_init=kernel_init,
            bias_init=bias_init,
            dot_general=dot_general,
            promote_dtype=promote_dtype,
            preferred_element_type=preferred_element_type,
            rngs=rngs,
            kernel_metadata=kernel_metadata,
            bias_metadata=bias_metadata,
        )
        if fused:
            self.gate_up = linear(self.in_features, 2 * width)
        else:
            self.gate = linear(self.in_features, width)
            self.up = linear(self.in_features, width)
        self.down = linear(
            width, self.out_features, **_of_last(out_kernel_init, out_kernel_metadata)
        )

    def __call__(self, inputs: Array, out_sharding: OutSharding | None = None) -> Array:
        """Applies the layer.

        Args:
          inputs: [..., in_features].
          out_sharding: the output's sharding, on a mesh with explicit axes.

        Returns:
          [..., out_features].
        """
        require_features(inputs, self.in_features)
        if self.fused:
            both = self.gate_up(inputs)  # [..., 2H]
            hidden = functional.gated_halves(both, activation=self.activation)
        else:
            gate, up = self.gate(inputs), self.up(inputs)  # [..., H]
            hidden = functional.gated(gate, up, activation=self.activation)
        return self.down(hidden, out_sharding=out_sharding)


class MLP(Layer):
    """A multilayer perceptron: affine maps, with an activation function between them.

    Args:
      in_features: number of features of the inputs.
      hidden_features: size of the hidden layer, or sizes of several.
      out_features: number of features of the output; None for `in_features`.
      activation: activation function of the hidden layers.
      use_bias: the maps add a bias.
      dtype: the computation dtype; None for the common type of input and parameters.
      param_dtype: dtype of the parameters.
      precision: see `jax.lax.Precision`.
      kernel_init: initializer of the kernels.
      out_kernel_init: initializer of the last map's kernel; None for `kernel_init`.
      bias_init: initializer of the biases.
      dot_general: replaces `jax.lax.dot_general`.
      promote_dtype: casts the tuples of input, kernel and bias to the computation dtype.
      preferred_element_type: dtype of the accumulations and of their results.
      rngs: draws the parameters, layer by layer.
      kernel_metadata, bias_metadata: metadata of the parameters.
      out_kernel_metadata: metadata of the last map's kernel; None for `kernel_metadata`.

    Attributes:
      layers: a `List` of `Linear`s.

    >>> import jax.numpy as jnp
    >>> from linnet.module_core.nnx import Rngs
    >>> layer = MLP(2, (8, 8), 3, rngs=Rngs(0))
    >>> [linear.kernel.shape for linear in layer.layers]
    [(2, 8), (8, 8), (8, 3)]
    >>> layer(jnp.ones((5, 2))).shape
    (5, 3)
    """

    def __init__(
        self,
        in_features: int,
        hidden_features: Sizes,
        out_features: int | None = None,
        *,
        activation: Activation = functional.gelu,
        use_bias: bool = True,
        dtype: DTypeLike | None = None,
        param_dtype: DTypeLike = jnp.float32,
        precision: PrecisionLike = None,
        kernel_init: Initializer = default_kernel_init,
        out_kernel_init: Initializer | None = None,
        bias_init: Initializer = default_bias_init,
        dot_general: DotGeneral = lax.dot_general,
        promote_dtype: PromoteDtype = promote_dtype,
        preferred_element_type: DTypeLike | None = None,
        rngs: Rngs,
        kernel_metadata: Metadata = NO_METADATA,
        out_kernel_metadata: Metadata | None = None,
        bias_metadata: Metadata = NO_METADATA,
    ) -> None:
        widths = integers(hidden_features, "hidden_features")
        self.in_features, self.out_features = _ends(in_features, out_features)
        self.hidden_features = hidden_features if isinstance(hidden_features, int) else widths
        self.activation = activation
        linear: Callable[..., Linear] = partial(
            Linear,
            use_bias=use_bias,
            dtype=dtype,
            param_dtype=param_dtype,
            precision=precision,
            kernel_init=kernel_init,
            bias_init=bias_init,
            dot_general=dot_general,
            promote_dtype=promote_dtype,
            preferred_element_type=preferred_element_type,
            rngs=rngs,
            kernel_metadata=kernel_metadata,
            bias_metadata=bias_metadata,
        )
        sizes = (self.in_features, *widths)
        layers = [linear(*pair) for pair in zip(sizes, widths, strict=False)]
        last = _of_last(out_kernel_init, out_kernel_metadata)
        layers.append(linear(sizes[-1], self.out_features, **last))
        self.layers = List(layers)

    def __call__(self, inputs: Array, out_sharding: OutSharding | None = None) -> Array:
        """Applies the layers.

        Args:
          inputs: [..., in_features].
          out_sharding: the output's sharding, on a mesh with explicit axes.

        Returns:
          [..., out_features].
        """
        require_features(inputs, self.in_features)
        *hidden, last = self.layers
        x = inputs
        for layer in hidden:
            x = activated(layer(x), self.activation)  # [..., H]
        return last(x, out_sharding=out_sharding)


def _ends(in_features: int, out_features: int | None) -> tuple[int, int]:
    size = integer(in_features, "in_features")
    return size, size if out_features is None else integer(out_features, "out_features")


def _of_last(
    kernel_init: Initializer | None, kernel_metadata: Metadata | None
) -> dict[str, Initializer | Metadata]:
    """The options in which the last map differs from the others."""
    given = {"kernel_init": kernel_init, "kernel_metadata": kernel_metadata}
    return {name: value for name, value in given.items() if value is not None}
