"""Parts shared by the norms of weights, which write to the parameters of a wrapped layer.

The wrapped layer keeps its parameters and is called as usual; before that, each call replaces their
values with the normalized ones.
"""

from __future__ import annotations

from collections.abc import Iterable

import jax.numpy as jnp
from jax import lax

from linnet.module_core.errors import ArgumentError, ArgumentTypeError
from linnet.module_core.layers import Array
from linnet.module_core.nnx import Module, Variable, state, to_flat_state
from linnet.module_core.nnx.filters import Filter
from linnet.module_core.nnx.structure.states import Path


def require_layer(layer: object, wrapper: str) -> None:
    """Checks that the wrapped layer is a module.

    Raises:
      ArgumentTypeError: it is not a module.
    """
    if not isinstance(layer, Module):
        raise ArgumentTypeError(
            f"'layer_instance' must be a module, got {layer!r:.80}.",
            hint=f"Wrap an instance: {wrapper}(nnx.Linear(3, 4, rngs=rngs), rngs=rngs)."
            if isinstance(layer, type)
            else f"Only modules have parameters for {wrapper} to normalize.",
        )


def weights_of(layer: Module, chosen: Filter) -> list[tuple[Path, Variable[Array]]]:
    """The variables of a layer that pass a filter and hold real or complex numbers, by path."""
    return [
        (path, variable)
        for path, variable in to_flat_state(state(layer, chosen))
        if isinstance(variable, Variable) and jnp.issubdtype(variable.dtype, jnp.inexact)
    ]


def require_weights(wanted: Iterable[Path], found: Iterable[Path], wrapper: str) -> None:
    """Checks that a layer still has the same variables as when it was wrapped.

    Raises:
      ArgumentError: a parameter was replaced, say by an array, which can't be normalized in place.
    """
    missing = set(wanted) - set(found)
    if missing:
        names = ", ".join(sorted("/".join(map(str, path)) for path in missing))
        raise ArgumentError(
            f"The layer no longer has the parameter {names}, which {wrapper} normalizes in place.",
            hint=(
                "Assign the value to the parameter, layer.kernel[...] = array, or replace the "
                "parameter: layer.kernel = nnx.Param(array)."
            ),
        )


def replace(variable: Variable[Array], value: Array) -> None:
    """Gives a variable a new value, cast to its dtype."""
    variable.set_value(lax.convert_element_type(value, variable.dtype))
