"""Kernels of convolutions: their declaration, and an explanation if the stored one doesn't fit."""

from __future__ import annotations

import jax

from linnet.initializers import Initializer
from linnet.layers_linear.functional._batch import channels_first
from linnet.module_core.errors import ScopeParamShapeError
from linnet.module_core.layers import Array, Shape
from linnet.module_core.linen import Module


def kernel_of(
    module: Module, init: Initializer, shape: Shape, dtype: object, inputs: Shape, rank: int
) -> Array:
    """The parameter 'kernel' of a layer that moves a window of `rank` dimensions over its inputs.

    Raises:
      ScopeParamShapeError: the stored one has another shape. If the reason is that the channels of
        the inputs aren't in the last dimension, the error says so.
    """
    try:
        kernel: Array = module.param("kernel", init, shape, dtype)
    except ScopeParamShapeError as error:
        # Which of a kernel's last two dimensions is the inputs' is said by what was asked for.
        (stored,) = jax.tree.leaves(module.get_variable("params", "kernel"))  # out of its box
        axis = -2 if shape[-2] != stored.shape[-2] else -1
        features = stored.shape[axis] * (inputs[-1] // shape[axis] if shape[axis] else 1)
        error.hint = channels_first(inputs, rank, features) or error.hint
        raise
    return kernel
