"""The names of `flax.linen.recurrent`."""

from __future__ import annotations

from typing import Any, Protocol

import jax
import jax.numpy as jnp

from linnet.linen.recurrent import *  # noqa: F403
from linnet.linen.recurrent import (
    Dtype,
    Initializer,
    Module,
    PrecisionLike,
    compact,
    default_kernel_init,
    initializers,
)


class DenseParams(Module):
    """The parameters of a dense layer, without the layer: a cell may apply them itself.

    Args:
      features: how many columns the kernel has.
      use_bias: False leaves the bias out.
      param_dtype: dtype of the parameters.
      precision: not used here.
      kernel_init, bias_init: initializers.

    >>> import jax, jax.numpy as jnp
    >>> (kernel, bias), _ = DenseParams(3).init_with_output(jax.random.key(0), jnp.ones((1, 2)))
    >>> kernel.shape, bias.shape
    ((2, 3), (3,))
    """

    features: int
    use_bias: bool = True
    param_dtype: Dtype = jnp.float32
    precision: PrecisionLike = None
    kernel_init: Initializer = default_kernel_init
    bias_init: Initializer = initializers.zeros_init()

    @compact
    def __call__(self, inputs: jax.Array) -> tuple[jax.Array, jax.Array | None]:
        """The kernel and the bias (or None) for [..., D] inputs."""
        shape = (inputs.shape[-1], self.features)
        kernel = self.param("kernel", self.kernel_init, shape, self.param_dtype)
        if not self.use_bias:
            return kernel, None
        return kernel, self.param("bias", self.bias_init, (self.features,), self.param_dtype)


class RNNBase(Protocol):
    """The interface of `RNN` and `Bidirectional`."""

    def __call__(
        self,
        inputs: jax.Array,
        *,
        initial_carry: Any | None = None,
        init_key: jax.Array | None = None,
        seq_lengths: Any | None = None,
        return_carry: bool | None = None,
        time_major: bool | None = None,
        reverse: bool | None = None,
        keep_order: bool | None = None,
    ) -> Any | tuple[Any, Any]:
        """Runs over a sequence."""
