"""Initializes a model whose inputs are known only by shape.

The method is only traced, and nothing is computed except initial values: their keys are concrete,
so they are computed during the trace (`Frame.concrete`), and nearly all variables are arrays. A
value that a module computes from its variables and stores (a count, a normalized kernel) is a
tracer. The traced program shows whether it depends on an input; if not, only the part of the
program that computes it is run (`tracing`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import jax

from ..errors import LazyInitError
from ..typing import Output
from . import calls
from .filters import CollectionFilter
from .tracing import (
    COMPUTED,
    CONSTANT,
    DEPENDENT,
    classify_outputs,
    compute_outputs,
    constant_output,
)

if TYPE_CHECKING:
    from .module import Module


def lazy_init(
    module: Module,
    method: object,
    mutable: CollectionFilter,
    rngs: object,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> dict[str, Any]:
    """Makes the variables with abstract inputs; see `Module.lazy_init`.

    Raises:
      LazyInitError: a variable depends on the values of an input.
    """

    def initialize(args: tuple[Any, ...], kwargs: dict[str, Any]) -> object:
        return calls.init_with_output(
            module, method, mutable, False, rngs, args, kwargs, concrete=True
        )[1]

    variables: dict[str, Any] = lazily(initialize, args, kwargs)
    return variables


def lazily(
    run: Callable[[tuple[Any, ...], dict[str, Any]], object],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    unknown: tuple[type, ...] = (jax.ShapeDtypeStruct, jax.Array),
) -> Output:
    """The variables that `run` returns for arguments known only by shape.

    Args:
      run: (args, kwargs) -> variables.
      args, kwargs: the arguments.
      unknown: the types of arguments of which only the shape is used.

    Raises:
      LazyInitError: a variable depends on the values of an input.
    """
    leaves, structure = jax.tree.flatten((args, kwargs), is_leaf=lambda x: x is None)
    is_input = [isinstance(x, unknown) for x in leaves]
    shapes = [
        jax.ShapeDtypeStruct(x.shape, x.dtype)  # type: ignore[no-untyped-call]
        for x, a in zip(leaves, is_input, strict=True)
        if a
    ]

    def initialize(inputs: Sequence[Any]) -> tuple[list[Any], list[Any], Any]:
        rest = iter(inputs)
        filled = [next(rest) if a else x for x, a in zip(leaves, is_input, strict=True)]
        new_args, new_kwargs = jax.tree.unflatten(structure, filled)
        variables = run(new_args, new_kwargs)
        found, treedef = jax.tree_util.tree_flatten_with_path(variables)
        return [path for path, _ in found], [value for _, value in found], treedef

    first: list[Any] = []

    def traced_values(inputs: Sequence[Any]) -> list[Any]:
        paths, values, treedef = initialize(inputs)
        traced = [i for i, value in enumerate(values) if isinstance(value, jax.core.Tracer)]
        returned = [values[i] for i in traced]
        for i in traced:
            values[i] = None  # tracers end with the trace
        first[:] = paths, values, treedef, traced
        return returned

    program = jax.make_jaxpr(traced_values)(shapes)
    paths, values, treedef, traced = first
    kinds = classify_outputs(program)
    for n, (i, kind) in enumerate(zip(traced, kinds, strict=True)):
        if kind == DEPENDENT:
            raise LazyInitError(_describe(paths[i]), hint=_HINT)
        if kind == CONSTANT:
            values[i] = constant_output(program, n)
    wanted = [n for n, kind in enumerate(kinds) if kind == COMPUTED]
    if wanted:
        for n, value in zip(wanted, compute_outputs(program, wanted, shapes), strict=True):
            values[traced[n]] = value
    return jax.tree.unflatten(treedef, values)


_HINT = "Initialize it from shapes alone, or use init with a real input."


def _describe(path: Sequence[Any]) -> str:
    if len(path) < 2:
        return "A result depends on the values of an input that is known only by shape."
    collection, *modules, name = (str(getattr(key, "key", key)) for key in path)
    return (
        f'Variable "{name}" in collection "{collection}" of "/{"/".join(modules)}" depends on the '
        "values of an input that lazy_init knows only by shape."
    )
