"""`WeightNorm`: a wrapper that splits a layer's weights into length and direction."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp

from linnet.initializers import Initializer
from linnet.initializers.defaults import default_scale_init
from linnet.layers_norm import functional
from linnet.layers_norm._torch import WEIGHT_NORM
from linnet.layers_norm.functional._checks import feature_shape
from linnet.module_core.errors import ArgumentError
from linnet.module_core.layers import Array, Axes, DTypeLike, PromoteDtype, not_negative
from linnet.module_core.layers.nnx import Layer, params_key, promote_dtype
from linnet.module_core.nnx import Module, PathContains, Rngs, Variable
from linnet.module_core.nnx.filters import Filter
from linnet.module_core.typing import Output

from ._wrapping import replace, require_layer, require_weights, weights_of


class WeightNorm(Layer):
    """Weight normalization (arXiv:1602.07868); see `functional.weight_norm` for the equation.

    Each call divides the chosen variables of `layer_instance` by their length, feature by feature,
    and multiplies them by a scale, in place; then it calls the layer.

    Args:
      layer_instance: the layer.
      feature_axes: the axes of a weight along which each index has a separate length and scale;
        None for one length of all its weights.
      use_scale: multiplies by a scale, one for each feature.
      scale_init: initializer of the scales.
      epsilon: added to the squared length.
      dtype: rounds the normalized weights to this dtype before they are stored in their own dtype;
        None to round only once.
      param_dtype: dtype of the scales.
      variable_filter: the variables to normalize; those with 'kernel' in their path by default.
      promote_dtype: only stored as an attribute; lengths are computed in float32 or wider.
      rngs: draws the scales if `scale_init` is given, in the order of the paths.

    Attributes:
      scales: the scales by path, or None. They are plain arrays, which optimizers of `Param`
        ignore; to train them, put each in a `Param`: `layer.scales[path] =
        nnx.Param(layer.scales[path])`.

    >>> import jax.numpy as jnp
    >>> from linnet.module_core import nnx
    >>> class Linear(nnx.Module):
    ...     def __init__(self, rngs):
    ...         self.kernel = nnx.Param(rngs.params.normal((3, 4)))
    ...     def __call__(self, x):
    ...         return x @ self.kernel
    >>> layer = WeightNorm(Linear(nnx.Rngs(0)), rngs=nnx.Rngs(1))
    >>> y = layer(jnp.ones((1, 3)))
    >>> jnp.linalg.norm(layer.layer_instance.kernel[...], axis=0).round(3)
    Array([1., 1., 1., 1.], dtype=float32)
    """

    __torch_layout__ = WEIGHT_NORM

    def __init__(
        self,
        layer_instance: Module,
        *,
        feature_axes: Axes | None = -1,
        use_scale: bool = True,
        scale_init: Initializer = default_scale_init,
        epsilon: float = 1e-12,
        dtype: DTypeLike | None = None,
        param_dtype: DTypeLike = jnp.float32,
        variable_filter: Filter = PathContains("kernel"),  # noqa: B008  (immutable)
        promote_dtype: PromoteDtype = promote_dtype,
        rngs: Rngs,
    ) -> None:
        require_layer(layer_instance, "WeightNorm")
        not_negative(epsilon, "epsilon")
        self.layer_instance = layer_instance
        self.feature_axes = feature_axes
        self.use_scale = use_scale
        self.scale_init = scale_init
        self.epsilon = epsilon
        self.dtype = dtype
        self.param_dtype = param_dtype
        self.variable_filter = variable_filter
        self.promote_dtype = promote_dtype
        self.scales: dict[tuple[Any, ...], Array | Variable[Array]] | None = None
        if not use_scale:
            return
        self.scales = {}
        axes = () if feature_axes is None else feature_axes
        for path, weight in weights_of(layer_instance, variable_filter):
            # Ones need no key, and drawing none keeps the stream in step with Flax.
            key: Any = None if scale_init is default_scale_init else params_key(rngs, self)
            shape = feature_shape(weight.shape, axes)
            self.scales[path] = (
                jnp.ones(shape, param_dtype) if key is None else scale_init(key, shape, param_dtype)
            )

    def __call__(self, x: object, *args: object, **kwargs: object) -> Output:
        """Calls the layer with normalized weights.

        Args:
          x, *args, **kwargs: arguments of the layer's call.

        Returns:
          The layer's output.
        """
        weights = weights_of(self.layer_instance, self.variable_filter)
        require_weights(self.scales or (), dict(weights), type(self).__name__)
        for path, weight in weights:
            scale: Any = None
            if self.scales is not None:
                if path not in self.scales:
                    raise ArgumentError(
                        f"The layer has a variable {'/'.join(map(str, path))!r} that it didn't "
                        "have when WeightNorm was wrapped around it.",
                        hint="Wrap the layer once it has all its parameters.",
                    )
                scale = self.scales[path]
                scale = scale.get_value() if isinstance(scale, Variable) else scale
            normed = functional.weight_norm(
                weight.get_value(),
                scale,
                feature_axes=self.feature_axes,
                epsilon=self.epsilon,
                dtype=self.dtype,
            )
            replace(weight, normed)
        return self.layer_instance(x, *args, **kwargs)  # type: ignore[operator]
