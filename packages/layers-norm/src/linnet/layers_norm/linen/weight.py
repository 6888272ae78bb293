"""`WeightNorm`: a wrapper that splits a layer's weights into length and direction."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

import jax.numpy as jnp

from linnet.initializers import Initializer
from linnet.initializers.defaults import default_scale_init
from linnet.layers_norm import functional
from linnet.layers_norm._torch import WEIGHT_NORM
from linnet.module_core.errors import ArgumentTypeError
from linnet.module_core.layers import Array, Axes, DTypeLike, axes_of, not_negative
from linnet.module_core.linen import Module, compact
from linnet.module_core.typing import Output

from ._wrapping import call_with_params, require_layer


class WeightNorm(Module):
    """Weight normalization (arXiv:1602.07868); see `functional.weight_norm` for the equation.

    The chosen parameters of `layer_instance` are divided by their length, feature by feature, and
    multiplied by a learned scale before the layer computes.

    Args:
      layer_instance: the layer.
      epsilon: added to the squared length.
      dtype: dtype of the normalized parameters; None for the common type of parameter and scale.
      param_dtype: dtype of the scales.
      use_scale: multiplies by a learned scale, one for each feature.
      scale_init: initializer of the scales.
      feature_axes: the axes of a parameter along which each index has a separate length and scale;
        None for one length of all its weights.
      variable_filter: strings; a parameter is normalized if its path, such as
        "Bar_0/Dense_0/kernel", contains one of them. None or an empty collection selects all
        parameters.

    >>> import jax, jax.numpy as jnp
    >>> from linnet.module_core.linen import Module, compact
    >>> class Linear(Module):
    ...     @compact
    ...     def __call__(self, x):
    ...         return x @ self.param("kernel", jax.nn.initializers.normal(), (x.shape[-1], 4))
    >>> normed = WeightNorm(Linear())
    >>> y, variables = normed.init_with_output(jax.random.key(0), jnp.ones((2, 3)))
    >>> jax.tree.map(jnp.shape, variables)
    {'params': {'layer_instance': {'kernel': (3, 4)}, 'layer_instance/kernel/scale': (4,)}}
    >>> jnp.linalg.norm(variables["params"]["layer_instance"]["kernel"], axis=0).round(3)
    Array([1., 1., 1., 1.], dtype=float32)
    """

    __torch_layout__ = WEIGHT_NORM

    layer_instance: Module
    epsilon: float = 1e-12
    dtype: DTypeLike | None = None
    param_dtype: DTypeLike = jnp.float32
    use_scale: bool = True
    scale_init: Initializer = default_scale_init
    feature_axes: Axes | None = -1
    variable_filter: Iterable[str] | None = dataclasses.field(
        default_factory=lambda: frozenset({"kernel"})
    )

    @compact
    def __call__(self, *args: object, **kwargs: object) -> Output:
        """Calls the layer with normalized parameters.

        Args:
          *args, **kwargs: arguments of the layer's call.

        Returns:
          The layer's output.
        """
        require_layer(self.layer_instance, "WeightNorm")
        not_negative(self.epsilon, "epsilon")
        if isinstance(self.variable_filter, str):
            raise ArgumentTypeError(
                "'variable_filter' must be a collection of strings, got "
                f"{self.variable_filter!r}, each letter of which would count as a name.",
                hint=f"Write {{{self.variable_filter!r}}}.",
            )
        return call_with_params(
            self.layer_instance,
            self._normalize,
            args,
            kwargs,
            init=self.is_initializing(),
            keep=False,
        )

    def _normalize(self, path: str, value: Array) -> Array:
        chosen = not self.variable_filter or any(part in path for part in self.variable_filter)
        if not chosen or not jnp.issubdtype(value.dtype, jnp.inexact):
            return value
        scale = None
        if self.use_scale:
            axes = () if self.feature_axes is None else self.feature_axes
            features = axes_of(axes, value.ndim, "feature_axes", f"the weights {path!r}")
            shape = tuple(value.shape[i] for i in features)
            scale = self.param(f"{path}/scale", self.scale_init, shape, self.param_dtype)
        return functional.weight_norm(
            value, scale, feature_axes=self.feature_axes, epsilon=self.epsilon, dtype=self.dtype
        )
