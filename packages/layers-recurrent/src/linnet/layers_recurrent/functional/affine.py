"""An affine map as a value, from which the gates of a cell are built.

    y = x · kernel + bias

A cell consists of a few of these maps and a formula. The formula calls them, so it works with
arrays (an `Affine`) and with modules that declare their arrays when called; a whole sequence needs
the arrays themselves.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias, TypeVar

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from linnet.layers_linear import functional as linear
from linnet.module_core.layers import Array

Map: TypeAlias = Callable[[Any], Array]
"""An affine map of the last dimension: an `Affine`, or a module that is one."""

M = TypeVar("M", bound=Map)


@partial(jax.tree_util.register_dataclass, data_fields=["kernel", "bias"], meta_fields=["dtype"])
@dataclass(frozen=True)
class Affine:
    """An affine map of the last dimension, callable; a pytree of its arrays.

    Attributes:
      kernel: [D, F].
      bias: [F], or None.
      dtype: the computation dtype; None for the common type of input, kernel and bias.

    >>> import jax.numpy as jnp
    >>> Affine(jnp.ones((3, 2)))(jnp.ones((4, 3)))[0]
    Array([3., 3.], dtype=float32)
    """

    kernel: Array
    bias: Array | None = None
    dtype: DTypeLike | None = None

    def __call__(self, x: Array) -> Array:
        return linear.dense(x, self.kernel, self.bias, dtype=self.dtype)


def joined(*maps: Affine) -> Affine:
    """A single map with the features of all `maps`, in order.

    If some have a bias, the others get a bias of zeros.

    >>> import jax.numpy as jnp
    >>> joined(Affine(jnp.ones((3, 2))), Affine(jnp.ones((3, 4)))).kernel.shape
    (3, 6)
    """
    kernel = jnp.concatenate([m.kernel for m in maps], axis=-1)
    if all(m.bias is None for m in maps):
        return Affine(kernel, None, maps[0].dtype)
    zeros = (jnp.zeros(m.kernel.shape[-1:], kernel.dtype) for m in maps)
    biases = [z if m.bias is None else m.bias for z, m in zip(zeros, maps, strict=True)]
    return Affine(kernel, jnp.concatenate(biases), maps[0].dtype)


def halved(affine: Affine) -> Affine:
    """The map whose output is half that of `affine`; exact except for subnormal numbers.

    >>> import jax.numpy as jnp
    >>> halved(Affine(jnp.ones((3, 2)))).kernel[0]
    Array([0.5, 0.5], dtype=float32)
    """
    kernel, bias = affine.kernel, affine.bias
    return Affine(0.5 * kernel, None if bias is None else 0.5 * bias, affine.dtype)
