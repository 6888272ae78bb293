"""`SpectralNorm`: a wrapper that divides a layer's kernels by their largest singular values."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from linnet.layers_norm import functional
from linnet.layers_norm._torch import SPECTRAL_NORM
from linnet.layers_norm.functional.spectral import check_matrix
from linnet.module_core.layers import Array, DTypeLike, integer, not_negative
from linnet.module_core.linen import Module, compact
from linnet.module_core.typing import Output

from ._wrapping import call_with_params, require_layer


class SpectralNorm(Module):
    """Spectral normalization (arXiv:1802.05957); see `functional.spectral_norm` for the equation.

    Each parameter of `layer_instance` with two dimensions or more is divided by its largest
    singular value before the layer computes; the others don't change. For each, `collection_name`
    holds the power iteration's vector `u` and the singular value `sigma`.

    During training, pass `update_stats=True`, make the collection mutable in `apply` and keep the
    result, so that the estimate improves from step to step; afterwards, `update_stats=False` gives
    the same output for the same input.

    Args:
      layer_instance: the layer.
      n_steps: power iterations in each call; 0 leaves the layer unchanged.
      epsilon: added to squared lengths before the division.
      dtype: dtype of the normalized parameters; None for the common type of parameter and `u`.
      param_dtype: dtype of `u` and `sigma`.
      error_on_non_matrix: raises an error for parameters of more than two dimensions, instead of
        merging all but the last dimension.
      collection_name: the collection that holds `u` and `sigma`.

    >>> import jax, jax.numpy as jnp
    >>> from linnet.module_core.linen import Module, compact
    >>> class Linear(Module):
    ...     @compact
    ...     def __call__(self, x):
    ...         return x @ self.param("kernel", jax.nn.initializers.normal(), (x.shape[-1], 4))
    >>> layer = SpectralNorm(Linear(), n_steps=50)
    >>> variables = layer.init(jax.random.key(0), jnp.ones((1, 3)), update_stats=True)
    >>> jax.tree.map(jnp.shape, variables["batch_stats"])
    {'layer_instance/kernel/sigma': (), 'layer_instance/kernel/u': (1, 4)}
    >>> kernel = variables["params"]["layer_instance"]["kernel"]
    >>> jnp.linalg.norm(kernel, ord=2).round(3)
    Array(1., dtype=float32)
    """

    __torch_layout__ = SPECTRAL_NORM

    layer_instance: Module
    n_steps: int = 1
    epsilon: float = 1e-12
    dtype: DTypeLike | None = None
    param_dtype: DTypeLike = jnp.float32
    error_on_non_matrix: bool = False
    collection_name: str = "batch_stats"

    @compact
    def __call__(self, *args: object, update_stats: bool, **kwargs: object) -> Output:
        """Calls the layer with normalized parameters.

        Args:
          *args, **kwargs: arguments of the layer's call.
          update_stats: stores the result of the power iteration.

        Returns:
          The layer's output.
        """
        require_layer(self.layer_instance, "SpectralNorm")
        integer(self.n_steps, "n_steps", least=0)
        not_negative(self.epsilon, "epsilon")

        def normalized(path: str, value: Array) -> Array:
            return self._normalize(path, value, update_stats)

        return call_with_params(
            self.layer_instance, normalized, args, kwargs, init=self.is_initializing(), keep=True
        )

    def _normalize(self, path: str, value: Array, update_stats: bool) -> Array:
        if value.ndim < 2 or self.n_steps == 0 or not jnp.issubdtype(value.dtype, jnp.inexact):
            return value
        check_matrix(value, error_on_non_matrix=self.error_on_non_matrix)

        def first_u() -> Array:
            return jax.random.normal(
                self.make_rng("params"), (1, value.shape[-1]), self.param_dtype
            )

        u = self.variable(self.collection_name, f"{path}/u", first_u)
        sigma = self.variable(self.collection_name, f"{path}/sigma", jnp.ones, (), self.param_dtype)
        normed = functional.spectral_norm(
            value, u.value, n_steps=self.n_steps, epsilon=self.epsilon, dtype=self.dtype
        )
        if update_stats:
            u.value, sigma.value = normed.u, normed.sigma
        return normed.kernel
