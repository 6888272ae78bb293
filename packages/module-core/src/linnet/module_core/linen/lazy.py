"""Variables of a model whose inputs are known only by shape.

The method is traced, so that nothing of it is computed. Initial values are computed at once in the
midst of the trace, since their keys are concrete (`Frame.concrete`): nearly all variables come out
as arrays. What a module computes from its variables and stores (a count, a normalized kernel) comes
out as a tracer. Whether it depends on an input can be read off the traced program; if not, a second
run with zeros for inputs computes it, compiled, so that the rest of the model is dropped from it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp

from ..errors import LazyInitError
from . import calls
from .filters import CollectionFilter

if TYPE_CHECKING:
    from .module import Module


def lazy_init(
    module: Module,
    method: Any,
    mutable: CollectionFilter,
    rngs: Any,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> Any:
    """Makes the variables with abstract inputs; see `Module.lazy_init`.

    Raises:
      LazyInitError: a variable depends on the values of an input.
    """
    leaves, structure = jax.tree.flatten((args, kwargs), is_leaf=lambda x: x is None)
    is_input = [isinstance(x, jax.ShapeDtypeStruct | jax.Array) for x in leaves]
    shapes = [
        jax.ShapeDtypeStruct(x.shape, x.dtype) for x, a in zip(leaves, is_input, strict=True) if a
    ]

    def initialize(inputs: Sequence[Any]) -> tuple[list[Any], list[Any], Any]:
        rest = iter(inputs)
        filled = [next(rest) if a else x for x, a in zip(leaves, is_input, strict=True)]
        new_args, new_kwargs = jax.tree.unflatten(structure, filled)
        variables = calls.init_with_output(
            module, method, mutable, False, rngs, new_args, new_kwargs, concrete=True
        )[1]
        found, treedef = jax.tree_util.tree_flatten_with_path(variables)
        return [path for path, _ in found], [value for _, value in found], treedef

    first: list[Any] = []

    def traced_values(inputs: Sequence[Any]) -> list[Any]:
        first[:] = initialize(inputs)
        return [value for value in first[1] if isinstance(value, jax.core.Tracer)]

    program = jax.make_jaxpr(traced_values)(shapes)
    paths, values, treedef = first
    traced = [i for i, value in enumerate(values) if isinstance(value, jax.core.Tracer)]
    if traced:
        for i, depends in zip(traced, _depends_on_inputs(program.jaxpr), strict=True):
            if depends:
                raise LazyInitError(_describe(paths[i]), hint=_HINT)
        computed = jax.jit(lambda: traced_values([jnp.zeros(s.shape, s.dtype) for s in shapes]))()
        for i, value in zip(traced, computed, strict=True):
            values[i] = value
    return jax.tree.unflatten(treedef, values)


_HINT = "Initialize it from shapes alone, or use init with a real input."


def _describe(path: Sequence[Any]) -> str:
    collection, *modules, name = (str(getattr(key, "key", key)) for key in path)
    return (
        f'Variable "{name}" in collection "{collection}" of "/{"/".join(modules)}" depends on the '
        "values of an input that lazy_init knows only by shape."
    )


def _depends_on_inputs(jaxpr: Any) -> list[bool]:
    """For each output of a program, whether any input goes into it."""
    tainted = {id(v) for v in jaxpr.invars}
    for equation in jaxpr.eqns:
        if any(id(v) in tainted for v in equation.invars):
            tainted.update(id(v) for v in equation.outvars)
    return [id(v) in tainted for v in jaxpr.outvars]
