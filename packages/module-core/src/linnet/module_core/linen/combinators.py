"""Modules composed of other modules or functions, without additional parameters."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.typing import ArrayLike

from ..errors import ArgumentError, ArgumentTypeError, ShapeError, counted
from ..typing import Output
from .methods import compact
from .module import Module


class Sequential(Module):
    """Applies a sequence of functions and modules, each to the output of the previous one.

    A tuple is passed on as positional arguments, a dict as keyword arguments.

    >>> import jax, jax.numpy as jnp
    >>> from linnet.module_core.linen import Sequential
    >>> Sequential([jnp.sin, lambda x: (x, 2 * x), jnp.add]).apply({}, jnp.zeros(2))
    Array([0., 0.], dtype=float32)

    Attributes:
      layers: modules and functions; a function may make modules (`lambda x:
        Dense(x.shape[-1])(x)`).

    Raises:
      ArgumentError: `layers` is not a sequence, or is empty when called.
      ArgumentTypeError: one of them is a class.
    """

    layers: Sequence[Callable[..., Any]]

    def __post_init__(self) -> None:
        if not isinstance(self.layers, Sequence):
            raise ArgumentError(
                f"'layers' must be a sequence, got '{type(self.layers).__name__}'.",
                hint="Write Sequential([layer, ...]), with brackets.",
            )
        for i, layer in enumerate(self.layers):
            if layer is None:
                raise ArgumentTypeError(
                    f"'layers[{i}]' is None, expected a module or a function.",
                    hint="Leave unused layers out: Sequential([layer for layer in layers if layer"
                    " is not None]).",
                )
            if isinstance(layer, type) and issubclass(layer, Module):
                raise ArgumentTypeError(
                    f"'layers[{i}]' is the class {layer.__name__}, expected a module or "
                    "a function.",
                    hint=f"Make an instance: {layer.__name__}(...).",
                )
        super().__post_init__()

    @compact
    def __call__(self, *args: Any, **kwargs: Any) -> Output:
        """Applies the layers in order; the arguments go to the first one."""
        if not self.layers:
            raise ArgumentError(f"Empty Sequential module {self.name}.")
        outputs = self.layers[0](*args, **kwargs)
        for layer in self.layers[1:]:
            if isinstance(outputs, tuple):
                outputs = layer(*outputs)
            elif isinstance(outputs, dict):
                outputs = layer(**outputs)
            else:
                outputs = layer(outputs)
        return outputs


class BatchApply:
    """Merges the leading dimensions of arrays, calls a function, and splits them again.

    The function gets [d1, ..., dn, ...] as [d1 · … · dn, ...], and its outputs are split back.
    An array of lower rank is passed unchanged.

    >>> import jax.numpy as jnp
    >>> from linnet.module_core.linen import BatchApply
    >>> def flat(a, b):
    ...     return jnp.dot(a, b)
    >>> BatchApply(flat)(jnp.ones((2, 3, 4)), jnp.ones(4)).shape
    (2, 3)

    Args:
      f: function of arrays (or trees of them).
      num_dims: the number of leading dimensions to merge.
    """

    def __init__(self, f: Callable[..., Any], num_dims: int = 2) -> None:
        self._f = f
        self.num_dims = num_dims

    def __call__(self, *args: Any, **kwargs: Any) -> Output:
        """Calls the function on the merged arguments."""
        leaves = [x for x in jax.tree.leaves((args, kwargs)) if np.ndim(x) >= self.num_dims]
        if not leaves:
            raise ShapeError(
                f"BatchApply merges {counted(self.num_dims, 'leading dimension')}, but no "
                "argument has that many.",
            )
        shapes = {np.shape(x)[: self.num_dims] for x in leaves}
        if len(shapes) > 1:
            raise ShapeError(
                f"BatchApply got arguments with different leading dimensions: {sorted(shapes)}.",
            )
        (leading,) = shapes
        merged_args, merged_kwargs = jax.tree.map(self._merge, (args, kwargs))
        outputs = self._f(*merged_args, **merged_kwargs)
        return jax.tree.map(lambda y: _split(y, leading), outputs)

    def _merge(self, x: ArrayLike) -> ArrayLike:
        if np.ndim(x) < self.num_dims:
            return x
        shape = np.shape(x)
        size = int(np.prod(shape[: self.num_dims]))
        return jax.numpy.reshape(x, (size, *shape[self.num_dims :]))  # [d1 … dn, ...]


def _split(y: ArrayLike, leading: tuple[int, ...]) -> jax.Array:
    return jax.numpy.reshape(y, (*leading, *np.shape(y)[1:]))  # [d1, ..., dn, ...]
