"""The cost of a program as counted by XLA: the program is lowered, but not run."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

UNKNOWN = -1
"""The FLOPs of a call if they are not requested or the backend doesn't report them."""

Arrays = list[Any]


def pullback(run: Callable[[Arrays], Arrays]) -> Callable[[Arrays], Arrays]:
    """The pullback of a function of arrays to the arrays that have a gradient."""

    def pulled_back(arrays: Arrays) -> Arrays:
        chosen = [i for i, x in enumerate(arrays) if _is_inexact(x)]

        def of_chosen(primals: Arrays) -> Arrays:
            filled = list(arrays)
            for i, x in zip(chosen, primals, strict=True):
                filled[i] = x
            return [y for y in run(filled) if _is_inexact(y)]

        results, pull = jax.vjp(of_chosen, [arrays[i] for i in chosen])
        return pull(results)[0]  # type: ignore[no-any-return]

    return pulled_back


def count(fn: Callable[..., Any], originals: tuple[Any, ...]) -> int:
    """XLA's count of the FLOPs of `fn(*originals)`, using only their shapes, or -1 if unknown."""

    # Keys are passed as plain integers: XLA counts a typed key as minus one operation.
    def program(*arrays: object) -> object:
        return jax.tree.map(_key_data, fn(*jax.tree.map(_as_key, arrays, originals)))

    try:
        lowered = jax.jit(program).lower(*jax.tree.map(_abstract, originals))
    except Exception as error:
        error.add_note(
            "This happened while counting FLOPs, which repeats the call as apply would run it. "
            "Without compute_flops and compute_vjp_flops, the table is drawn."
        )
        raise
    try:
        cost = lowered.cost_analysis()
    except (NotImplementedError, RuntimeError):  # not every backend has a count
        return UNKNOWN
    return UNKNOWN if cost is None else max(UNKNOWN, int(cost.get("flops", 0)))


def separate(tree: object, wanted: Callable[[Any], bool]) -> tuple[Arrays, Callable[[Arrays], Any]]:
    """The `wanted` leaves of `tree`, and a function that replaces them with other values."""
    try:
        leaves, structure = jax.tree.flatten(tree)
    except (TypeError, ValueError):  # not a pytree, such as a dict with unsortable keys
        return [], lambda arrays: tree

    taken = [wanted(x) for x in leaves]
    left = [None if t else x for t, x in zip(taken, leaves, strict=True)]  # frees the taken leaves

    def rebuild(arrays: Arrays) -> object:
        rest = iter(arrays)
        filled = [next(rest) if t else x for t, x in zip(taken, left, strict=True)]
        return jax.tree.unflatten(structure, filled)

    return [x for x, t in zip(leaves, taken, strict=True) if t], rebuild


def traced_arrays(tree: object) -> Iterator[Any]:
    """The traced arrays in `tree`, including those in dicts whose keys jax can't sort."""
    for leaf in jax.tree.leaves(tree, is_leaf=lambda x: isinstance(x, dict)):
        if isinstance(leaf, dict):
            yield from itertools.chain.from_iterable(map(traced_arrays, leaf.values()))
        elif _is_traced(leaf):
            yield leaf


def _is_traced(value: object) -> bool:
    return isinstance(value, jax.core.Tracer)


def is_jax_array(value: object) -> bool:
    """Whether `value` is a jax array."""
    # Includes concrete arrays: XLA would use their values, and not count an addition of zeros.
    # Excludes NumPy arrays, since a model may read their values.
    return isinstance(value, jax.Array)


def is_array(value: object) -> bool:
    """Whether `value` has a shape and a dtype that jax supports."""
    if isinstance(value, np.ndarray | np.generic):
        return value.dtype.kind not in "OSUMm"
    return isinstance(value, jax.Array | jax.ShapeDtypeStruct)


def _is_inexact(value: Any) -> bool:
    return jnp.issubdtype(value.dtype, jnp.inexact)


def _is_key(value: Any) -> bool:
    return jnp.issubdtype(value.dtype, jax.dtypes.prng_key)


def _key_data(value: Any) -> object:
    return jax.random.key_data(value) if _is_key(value) else value


def _as_key(data: Any, original: Any) -> object:
    if not _is_key(original):
        return data
    return jax.random.wrap_key_data(data, impl=jax.random.key_impl(original))


def _abstract(array: Any) -> jax.ShapeDtypeStruct:
    if _is_key(array):
        array = jax.eval_shape(jax.random.key_data, array)
    weak = bool(getattr(array, "weak_type", False))
    return jax.ShapeDtypeStruct(array.shape, array.dtype, weak_type=weak)  # type: ignore[no-untyped-call]
