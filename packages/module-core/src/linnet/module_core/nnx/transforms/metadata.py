"""`transform_metadata`: axis names of variables within functions that jax itself transforms."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from ...accepted import accepted
from ..structure.bundle import Bundle
from ..variable.sharding_metadata import PARTITION_NAME
from ..variable.variable import Variable
from .calling import decorator, given
from .lifting import AxisMetadata
from .prefixes import Occurrence, detach_with_specs, spec_of_each_leaf


@decorator
def transform_metadata(
    f: Callable[..., Any] | None = None,
    *,
    in_axes: object = 0,
    out_axes: object = 0,
    partition: str | None,
    graph: bool | None = None,
) -> Callable[..., Any]:
    """Keeps sharding metadata in step within a function that is passed to, say, `jax.vmap`.

    While the function runs, its variables lack the name of the axis that jax removes; the variables
    that it returns have the name.

    Args:
      f: the function; if omitted, a decorator is returned.
      in_axes: the same as for the transform; an int, None or `StateAxes` for each argument.
      out_axes: the same for the output.
      partition: the name of the axis.
      graph: accepted; sharing makes no difference here.
    """
    accepted(graph=graph)
    names = AxisMetadata({PARTITION_NAME: partition})

    function = given(f)

    @functools.wraps(function)
    def renamed(*args: object, **kwargs: object) -> object:
        prefix = in_axes if isinstance(in_axes, (tuple, list)) else (in_axes,) * len(args)
        inner = _each(tuple(prefix), args, "in_axes", names.remove)
        try:
            output = function(*args, **kwargs)
        finally:
            for variable, axis in inner:
                names.add(variable, axis)
        known = {id(v) for v, _ in inner}

        def add_to_new(variable: Variable[Any], axis: object) -> None:
            if id(variable) not in known:
                names.add(variable, axis)

        _each(out_axes, output, "out_axes", add_to_new)
        return output

    return renamed


def _each(
    prefix: object, tree: object, what: str, do: Callable[[Variable[Any], Any], None]
) -> list[tuple[Variable[Any], Any]]:
    roots: list[Any] = []
    occurrences: list[Occurrence]
    _, occurrences = detach_with_specs(prefix, tree, roots, what)
    bundle = Bundle(roots)
    specs = spec_of_each_leaf(bundle, occurrences)
    found = [(v, s) for v, s in zip(bundle.leaves(), specs, strict=True) if v is not None]
    for variable, axis in found:
        do(variable, axis)
    return found
