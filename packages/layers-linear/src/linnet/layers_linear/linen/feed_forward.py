"""`GLU` and `MLP`: the feed-forward layers of transformers, with and without a gate, as modules.

Their maps are separate `Dense` layers, which interceptors, quantizers and adapters can find.
"""

from __future__ import annotations

from collections.abc import Callable

import jax.numpy as jnp

from linnet.initializers import Initializer
from linnet.initializers.defaults import default_bias_init, default_kernel_init
from linnet.layers_linear import functional
from linnet.layers_linear._torch import GATED
from linnet.layers_linear.functional._options import given
from linnet.layers_linear.functional.feed_forward import activated
from linnet.module_core.dtypes import promote_dtype
from linnet.module_core.layers import (
    Activation,
    Array,
    DotGeneral,
    DTypeLike,
    OutSharding,
    PrecisionLike,
    PromoteDtype,
    Sizes,
    as_array,
    integer,
    integers,
    vector_features,
)
from linnet.module_core.linen import Module, compact, nowrap

from .dense import Dense


class _FeedForward(Module):
    hidden_features: Sizes
    features: int | None = None
    activation: Activation = functional.gelu
    use_bias: bool = True
    dtype: DTypeLike | None = None
    param_dtype: DTypeLike = jnp.float32
    precision: PrecisionLike = None
    kernel_init: Initializer = default_kernel_init
    out_kernel_init: Initializer | None = None
    bias_init: Initializer = default_bias_init
    dot_general: DotGeneral | None = None
    dot_general_cls: Callable[[], DotGeneral] | None = None
    promote_dtype: PromoteDtype = promote_dtype

    @nowrap
    def _dense(self, features: int, name: str, kernel_init: Initializer) -> Dense:
        return Dense(
            features,
            use_bias=self.use_bias,
            dtype=self.dtype,
            param_dtype=self.param_dtype,
            precision=self.precision,
            kernel_init=kernel_init,
            bias_init=self.bias_init,
            dot_general=self.dot_general,
            dot_general_cls=self.dot_general_cls,
            promote_dtype=self.promote_dtype,
            name=name,
        )

    @nowrap
    def _hidden(self, features: int, name: str) -> Dense:
        return self._dense(features, name, self.kernel_init)

    @nowrap
    def _out(self, inputs: Array, name: str) -> Dense:
        in_features = vector_features(inputs.shape)
        features = in_features if self.features is None else integer(self.features, "features")
        return self._dense(features, name, self.out_kernel_init or self.kernel_init)


class GLU(_FeedForward):
    """A gated feed-forward layer; see `functional.gated` for the equations.

    It is a SwiGLU by default; `activation=jax.nn.gelu` makes it a GeGLU.

    Args:
      hidden_features: size of the product of gate and `up`.
      features: size of the output's last dimension; None for that of the inputs.
      activation: activation function of the gate.
      use_bias: the maps add a bias.
      dtype: the computation dtype; None for the common type of input and parameters.
      param_dtype: dtype of the parameters.
      precision: see `jax.lax.Precision`.
      kernel_init: initializer of the kernels.
      out_kernel_init: initializer of the kernel of `down`; None for `kernel_init`.
      bias_init: initializer of the biases.
      dot_general: replaces `jax.lax.dot_general`.
      dot_general_cls: a factory for `dot_general`, called with the layer; takes precedence over
        `dot_general`.
      promote_dtype: casts input and parameters to the computation dtype.
      fused: computes gate and `up` in one product, with a single kernel `gate_up` of twice the
        width: the gate's columns come first. If kernels are sharded along their columns, separate
        kernels keep matching columns of both on the same device; a fused kernel does not.

    >>> import jax, jax.numpy as jnp
    >>> layer = GLU(8)
    >>> y, variables = layer.init_with_output(jax.random.key(0), jnp.ones((5, 2)))
    >>> jax.tree.map(jnp.shape, variables["params"])
    {'down': {'kernel': (8, 2)}, 'gate': {'kernel': (2, 8)}, 'up': {'kernel': (2, 8)}}
    """

    __torch_layout__ = GATED

    hidden_features: int
    activation: Activation = functional.silu
    use_bias: bool = False
    fused: bool = False

    @compact
    def __call__(self, inputs: Array, *, out_sharding: OutSharding | None = None) -> Array:
        """Applies the layer.

        Args:
          inputs: [..., D].
          out_sharding: the output's sharding, on a mesh with explicit axes.

        Returns:
          [..., features].
        """
        inputs = as_array(inputs)
        down = self._out(inputs, "down")
        width = integer(self.hidden_features, "hidden_features")
        if self.fused:
            both = self._hidden(2 * width, "gate_up")(inputs)  # [..., 2H]
            hidden = functional.gated_halves(both, activation=self.activation)
            return down(hidden, **given(out_sharding=out_sharding))
        gate, up = (self._hidden(width, name)(inputs) for name in ("gate", "up"))  # [..., H]
        hidden = functional.gated(gate, up, activation=self.activation)
        return down(hidden, **given(out_sharding=out_sharding))


class MLP(_FeedForward):
    """A multilayer perceptron: affine maps, with an activation function between them.

    Args:
      hidden_features: size of the hidden layer, or sizes of several.
      features: size of the output's last dimension; None for that of the inputs.
      activation: activation function of the hidden layers.
      use_bias: the maps add a bias.
      dtype: the computation dtype; None for the common type of input and parameters.
      param_dtype: dtype of the parameters.
      precision: see `jax.lax.Precision`.
      kernel_init: initializer of the kernels.
      out_kernel_init: initializer of the last map's kernel; None for `kernel_init`.
      bias_init: initializer of the biases.
      dot_general: replaces `jax.lax.dot_general`.
      dot_general_cls: a factory for `dot_general`, called with the layer; takes precedence over
        `dot_general`.
      promote_dtype: casts input and parameters to the computation dtype.

    >>> import jax, jax.numpy as jnp
    >>> layer = MLP((8, 8), features=3, use_bias=False)
    >>> y, variables = layer.init_with_output(jax.random.key(0), jnp.ones((5, 2)))
    >>> [(name, layer["kernel"].shape) for name, layer in variables["params"].items()]
    [('layers_0', (2, 8)), ('layers_1', (8, 8)), ('layers_2', (8, 3))]
    """

    @compact
    def __call__(self, inputs: Array, *, out_sharding: OutSharding | None = None) -> Array:
        """Applies the layers.

        Args:
          inputs: [..., D].
          out_sharding: the output's sharding, on a mesh with explicit axes.

        Returns:
          [..., features].
        """
        inputs = as_array(inputs)
        widths = integers(self.hidden_features, "hidden_features")
        out = self._out(inputs, f"layers_{len(widths)}")
        x = inputs
        for i, width in enumerate(widths):
            x = activated(self._hidden(width, f"layers_{i}")(x), self.activation)  # [..., H]
        return out(x, **given(out_sharding=out_sharding))
