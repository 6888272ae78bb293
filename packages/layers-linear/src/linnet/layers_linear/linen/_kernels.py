"""Declares kernels of convolutions, and explains errors if the stored kernel doesn't fit."""

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
      ScopeParamShapeError: the stored kernel has a different shape. If the reason is that the
        inputs' channels aren't in the last dimension, the error says so.
    """
    try:
        kernel: Array = module.param("kernel", init, shape, dtype)
    except ScopeParamShapeError as error:
        # The requested shape shows which of the kernel's last two dimensions belongs to the inputs.
        (stored,) = jax.tree.leaves(module.get_variable("params", "kernel"))  # out of its box
        axis = -2 if shape[-2] != stored.shape[-2] else -1
        features = stored.shape[axis] * (inputs[-1] // shape[axis] if shape[axis] else 1)
        error.hint = channels_first(inputs, rank, features) or error.hint
        raise
    return kernel
