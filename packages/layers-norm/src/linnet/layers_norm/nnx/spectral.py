"""`SpectralNorm`: a wrapper that divides a layer's kernels by their largest singular values."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from linnet.layers_norm import functional
from linnet.layers_norm._torch import SPECTRAL_NORM
from linnet.layers_norm.functional.spectral import check_matrix
from linnet.module_core.errors import ArgumentError
from linnet.module_core.layers import Array, DTypeLike, integer, not_negative
from linnet.module_core.layers.nnx import Layer, params_key
from linnet.module_core.nnx import BatchStat, Module, Param, Rngs, Variable
from linnet.module_core.typing import Output

from ._wrapping import replace, require_layer, require_weights, weights_of

# Small, but any scale would do, since power iteration normalizes its vector in its first step.
_first_u = jax.nn.initializers.normal(0.01)


class SpectralNorm(Layer):
    """Spectral normalization (arXiv:1802.05957); see `functional.spectral_norm` for the equation.

    Each call divides each `Param` of `layer_instance` with two dimensions or more by its largest
    singular value, in place, and then calls the layer; other parameters don't change.

    During training, each call also stores the result of the power iteration, so that the estimate
    improves from step to step; after `model.eval()`, the same input gives the same output.

    Args:
      layer_instance: the layer.
      n_steps: power iterations in each call; 0 leaves the layer unchanged.
      epsilon: added to squared lengths before the division.
      dtype: rounds the normalized parameters to this dtype before they are stored in their own
        dtype; None to round only once.
      param_dtype: dtype of `u` and `sigma`.
      error_on_non_matrix: raises an error for parameters of more than two dimensions, instead of
        merging all but the last dimension.
      update_stats: stores the result of the power iteration; a call may override it.
      rngs: draws the initial vectors, in the order of the parameters' paths.

    Attributes:
      use_running_average: whether `u` and `sigma` stay fixed: the opposite of `update_stats`, under
        the name that `train()` and `eval()` set.
      batch_stats: `BatchStat`s by path: the power iteration's vector `(..., "kernel", "u")`, and
        the singular value `(..., "kernel", "sigma")`.

    Raises:
      ShapeError: a parameter is not a matrix, and `error_on_non_matrix` is set.

    >>> import jax, jax.numpy as jnp
    >>> from linnet.module_core import nnx
    >>> class Linear(nnx.Module):
    ...     def __init__(self, rngs):
    ...         self.kernel = nnx.Param(rngs.params.normal((3, 4)))
    ...     def __call__(self, x):
    ...         return x @ self.kernel
    >>> layer = SpectralNorm(Linear(nnx.Rngs(0)), n_steps=50, rngs=nnx.Rngs(1))
    >>> y = layer(jnp.ones((1, 3)))
    >>> jnp.linalg.norm(layer.layer_instance.kernel[...], ord=2).round(3)
    Array(1., dtype=float32)
    """

    __torch_layout__ = SPECTRAL_NORM

    def __init__(
        self,
        layer_instance: Module,
        *,
        n_steps: int = 1,
        epsilon: float = 1e-12,
        dtype: DTypeLike | None = None,
        param_dtype: DTypeLike = jnp.float32,
        error_on_non_matrix: bool = False,
        update_stats: bool = True,
        rngs: Rngs,
    ) -> None:
        require_layer(layer_instance, "SpectralNorm")
        self.layer_instance = layer_instance
        self.n_steps = integer(n_steps, "n_steps", least=0)
        not_negative(epsilon, "epsilon")
        self.epsilon = epsilon
        self.dtype = dtype
        self.param_dtype = param_dtype
        self.error_on_non_matrix = error_on_non_matrix
        self.use_running_average = not update_stats
        self.batch_stats: dict[tuple[Any, ...], BatchStat[Array]] = {}
        for path, param in weights_of(layer_instance, Param) if n_steps else ():
            if param.ndim < 2:
                continue
            check_matrix(param.get_value(), error_on_non_matrix=error_on_non_matrix)
            key = params_key(rngs, self)
            u = _first_u(key, (1, param.shape[-1]), param_dtype)
            self.batch_stats[*path, "u"] = BatchStat(u)
            self.batch_stats[*path, "sigma"] = BatchStat(jnp.ones((), param_dtype))

    def __call__(self, x: object, update_stats: bool | None = None, **kwargs: object) -> Output:
        """Calls the layer with normalized parameters.

        Args:
          x: the layer's input.
          update_stats: stores the result of the power iteration; takes precedence over the layer's
            setting.
          **kwargs: keyword arguments of the layer's call.

        Returns:
          The layer's output.
        """
        if update_stats is None:
            update_stats = not self.use_running_average
        weights = weights_of(self.layer_instance, Param) if self.n_steps else []
        require_weights({p[:-1] for p in self.batch_stats}, dict(weights), type(self).__name__)
        for path, param in weights:
            if param.ndim >= 2:
                self._normalize(path, param, update_stats)
        return self.layer_instance(x, **kwargs)  # type: ignore[operator]

    def _normalize(self, path: tuple[Any, ...], param: Variable[Array], update_stats: bool) -> None:
        if (*path, "u") not in self.batch_stats:
            raise ArgumentError(
                f"The layer has a parameter {'/'.join(map(str, path))!r} that it didn't have "
                "when SpectralNorm was wrapped around it.",
                hint="Wrap the layer once it has all its parameters.",
            )
        u, sigma = (self.batch_stats[*path, name] for name in ("u", "sigma"))
        normed = functional.spectral_norm(
            param.get_value(),
            u.get_value(),
            n_steps=self.n_steps,
            epsilon=self.epsilon,
            dtype=self.dtype,
            error_on_non_matrix=self.error_on_non_matrix,
        )
        replace(param, normed.kernel)
        if update_stats:
            replace(u, normed.u)
            # Like running averages, the estimate is not differentiated.
            replace(sigma, jax.lax.stop_gradient(normed.sigma))
