"""Calls a layer with parameters other than the stored ones.

A norm of weights is a module that wraps another: the layer declares and stores its parameters as
usual, but reads the values that `change` returns. `init` stores the changed values, so that a
layer's initial parameters are already normalized.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax

from linnet.module_core.errors import ArgumentTypeError
from linnet.module_core.layers import Array
from linnet.module_core.linen import Module, map_variables


def call_with_params(
    layer: Module,
    change: Callable[[str, Array], Any],
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    *,
    init: bool,
    keep: bool,
) -> Any:
    """`layer(*args, **kwargs)`, with `change(path, value)` in place of each parameter.

    Args:
      layer: the module to call.
      change: maps a path, such as "Dense_0/kernel", and the parameter's value to a new value.
      args, kwargs: arguments of the call.
      init: whether the call creates the parameters; it then stores the changed values.
      keep: also stores the changed values if "params" is mutable in `apply`.
    """

    def see(collections: Mapping[str, Any]) -> dict[str, Any]:
        return {
            name: jax.tree_util.tree_map_with_path(
                lambda keys, value: change("/".join([str(layer.name), *map(_name, keys)]), value),
                params,
            )
            for name, params in collections.items()
        }

    def call(layer: Module) -> object:
        return layer(*args, **kwargs)  # type: ignore[operator]

    return map_variables(call, "params", see, init=init, mutable=init or keep)(layer)


def require_layer(layer: object, wrapper: str) -> None:
    """Checks that the wrapped layer is a module.

    Raises:
      ArgumentTypeError: it is not.
    """
    if not isinstance(layer, Module):
        raise ArgumentTypeError(
            f"'layer_instance' must be a module, got {layer!r:.80}.",
            hint=f"Wrap an instance: {wrapper}(nn.Dense(4))."
            if isinstance(layer, type)
            else f"Only modules have parameters for {wrapper} to normalize.",
        )


def _name(key: object) -> str:
    for attribute in ("key", "name", "idx"):  # the keys of a dict, an object and a sequence
        if hasattr(key, attribute):
            return str(getattr(key, attribute))
    return str(key)
