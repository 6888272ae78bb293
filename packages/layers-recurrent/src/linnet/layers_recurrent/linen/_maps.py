"""The affine maps of cells, as modules.

Each map is a child of the cell. A step calls it; a whole sequence uses its parameters, which are
declared the same way.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax.numpy as jnp

from linnet.initializers import Initializer
from linnet.initializers.defaults import default_bias_init, default_kernel_init
from linnet.layers_linear import linen as linear
from linnet.layers_recurrent.functional import Affine
from linnet.module_core.layers import Array, DTypeLike, shape_of, vector_features
from linnet.module_core.linen import Module, compact


class Dense(linear.Dense):
    """A `Dense` whose parameters are available without computing its product."""

    @compact
    def affine(self, in_features: int) -> Affine:
        """Declares the parameters for inputs of `in_features`."""
        return _declared(self, in_features)


class DenseParams(Module):
    """The parameters of a `Dense`, without its product."""

    features: int
    use_bias: bool = True
    dtype: DTypeLike | None = None
    param_dtype: DTypeLike = jnp.float32
    kernel_init: Initializer = default_kernel_init
    bias_init: Initializer = default_bias_init

    @compact
    def __call__(self, inputs: Array) -> Affine:
        """Declares the parameters for `inputs` [..., D]."""
        return _declared(self, vector_features(shape_of(inputs)))

    @compact
    def affine(self, in_features: int) -> Affine:
        """Declares the parameters for inputs of `in_features`."""
        return _declared(self, in_features)


def shared_fields(cell: Module, cls: type[Dense] | type[DenseParams]) -> dict[str, Any]:
    """The values, by name, of the cell's fields that its maps have as well.

    A field of `Dense` therefore reaches the maps as soon as a cell declares it.
    """
    names = {field.name for field in dataclasses.fields(cls)} - {"features", "name", "parent"}
    return {f.name: getattr(cell, f.name) for f in dataclasses.fields(cell) if f.name in names}


def _declared(self: Dense | DenseParams, in_features: int) -> Affine:
    shape = (in_features, self.features)
    kernel = self.param("kernel", self.kernel_init, shape, self.param_dtype)
    bias = None
    if self.use_bias:
        bias = self.param("bias", self.bias_init, (self.features,), self.param_dtype)
    return Affine(kernel, bias, self.dtype)


def arrays(maps: Any, in_features: int, features: int) -> Any:
    """The maps of a cell as arrays: those named i* for the input, those named h* for its state."""
    sizes = (in_features if name.startswith("i") else features for name in maps._fields)
    return type(maps)(*(m.affine(size) for m, size in zip(maps, sizes, strict=True)))


def called(maps: Any, x: Array, h: Array) -> Any:
    """The outputs of the maps: those named i* for the input, those named h* for the state."""
    arguments = (x if name.startswith("i") else h for name in maps._fields)
    return type(maps)(*(m(argument) for m, argument in zip(maps, arguments, strict=True)))
