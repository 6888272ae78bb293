"""Parts shared by the layers' fields and calls."""

from __future__ import annotations

from typing import Any

from jax import lax

from linnet.initializers import Initializer
from linnet.layers_norm.functional._checks import is_bound
from linnet.module_core.layers import Array, AxisName, Shape
from linnet.module_core.linen import Module


def affine_param(
    norm: Any, name: str, shape: Shape, *, init: Initializer | None = None
) -> Array | None:
    """The parameter "scale" or "bias" of a norm in the computation dtype, or None.

    The norm's fields decide whether it has one (`use_scale`), its dtype, and its initializer
    (`scale_init`, unless `init` replaces it). A norm that doesn't require float32 computes in the
    declared dtype even if parameters of a wider dtype were loaded.
    """
    if not getattr(norm, f"use_{name}"):
        return None
    init = init or getattr(norm, f"{name}_init")
    param: Array = norm.param(name, init, shape, norm.param_dtype)
    if norm.force_float32_reductions:
        return param
    return lax.convert_element_type(param, norm.param_dtype)


def axis_for_statistics(module: Module, axis_name: AxisName | None) -> AxisName | None:
    """The named axis of the statistics; None if `init` runs outside the axis's mapping."""
    if axis_name is not None and module.is_initializing() and not is_bound(axis_name):
        return None
    return axis_name
