"""What the fields and calls of the layers share."""

from __future__ import annotations

from typing import Any

from jax import lax

from linnet.layers_norm.functional._checks import is_bound
from linnet.module_core.layers import Array, AxisName, Shape
from linnet.module_core.linen import Module


def affine_param(norm: Any, name: str, shape: Shape) -> Array | None:
    """The parameter "scale" or "bias" of a norm in the dtype of the computation, or None.

    The norm's fields decide whether it has one (`use_scale`), its initializer (`scale_init`) and
    its dtype. A norm that doesn't insist on float32 computes in the declared dtype even if
    parameters of a wider one were loaded.
    """
    if not getattr(norm, f"use_{name}"):
        return None
    param: Array = norm.param(name, getattr(norm, f"{name}_init"), shape, norm.param_dtype)
    if norm.force_float32_reductions:
        return param
    return lax.convert_element_type(param, norm.param_dtype)


def axis_for_statistics(module: Module, axis_name: AxisName | None) -> AxisName | None:
    """The named axis that the statistics run over: none if `init` runs outside its mapping."""
    if axis_name is not None and module.is_initializing() and not is_bound(axis_name):
        return None
    return axis_name
