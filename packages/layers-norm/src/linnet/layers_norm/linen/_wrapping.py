"""Calls a layer with other parameters than the stored ones.

A norm of weights is a module around another: the layer declares and keeps its parameters as ever,
and sees what `change` makes of them. `init` stores the changed ones, so that a layer's first
parameters are normalized already.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax

from linnet.module_core.errors import ArgumentTypeError
from linnet.module_core.linen import Module, map_variables

from ._fields import Array


def call_with_params(
    layer: Module,
    change: Callable[[str, Array], Any],
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    *,
    init: bool,
    keep: bool,
) -> Any:
    """`layer(*args, **kwargs)`, with `change(path, value)` in the place of each parameter.

    Args:
      layer: the module to call.
      change: given a parameter and its path, such as "Dense_0/kernel" for that of a `Dense_0`.
      args, kwargs: of the call.
      init: whether the parameters are to be made; the changed ones are then stored.
      keep: store the changed ones also where "params" is mutable in `apply`.
    """

    def see(collections: Any) -> Any:
        return {
            name: jax.tree_util.tree_map_with_path(
                lambda keys, value: change("/".join([str(layer.name), *map(_name, keys)]), value),
                params,
            )
            for name, params in collections.items()
        }

    def call(layer: Module) -> Any:
        return layer(*args, **kwargs)  # type: ignore[operator]

    return map_variables(call, "params", see, init=init, mutable=init or keep)(layer)


def require_layer(layer: Any, wrapper: str) -> None:
    """Refuses to wrap what is no module.

    Raises:
      ArgumentTypeError: it is none.
    """
    if not isinstance(layer, Module):
        raise ArgumentTypeError(
            f"'layer_instance' must be a module, got {layer!r:.80}.",
            hint=f"Wrap an instance: {wrapper}(nn.Dense(4))."
            if isinstance(layer, type)
            else f"Only modules have parameters for {wrapper} to normalize.",
        )


def _name(key: Any) -> str:
    for attribute in ("key", "name", "idx"):  # of a dict's, an object's and a sequence's key
        if hasattr(key, attribute):
            return str(getattr(key, attribute))
    return str(key)
