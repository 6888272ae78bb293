"""The first state of a transformation, for variables that are spread over devices.

An optimizer's state is mostly zeros, one array for each variable. `tx.init` makes them one by one,
and each involves all devices, which takes seconds for thousands of variables. So `tx.init` is
traced instead. If everything in its result is filled with one number, or is one of the variables
itself, equal arrays are made many at a time, each laid out like its variable (or as the variable's
`optimizer_sharding` specifies, so that a moment is never whole anywhere). Any other result is left
to `tx.init`, as are variables on one device.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Sharding

from ...typing import PyTree
from ..variable.layout import is_eager, sharding_for
from ..variable.sharding_metadata import optimizer_metadata
from ..variable.variable import Variable
from ..variable.variable_types import OptVariable

_AT_ONCE = 128  # equal arrays that one program makes


class _Fill(NamedTuple):
    """An array filled with one number."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    number: bytes  # of that dtype; -0.0 differs from 0.0
    layout: Sharding | None


def initial_state(init: Callable[[PyTree], PyTree], params: PyTree) -> PyTree:
    """`init(params)`; if possible, arrays filled with one number are made many at a time.

    Args:
      init: the `init` function of a gradient transformation.
      params: the variables, which are in the result where `init` puts them.
    """
    values = jax.tree.leaves(params)
    if not is_eager() or not any(map(_is_spread, values)):
        return init(params)
    try:
        traced, shapes = jax.make_jaxpr(init, return_shape=True)(params)
    except Exception:
        return init(params)  # it reads values, returns objects that jax doesn't support, or fails
    found = _outputs(traced, values)
    if found is None:
        return init(params)
    layouts = _layouts(shapes, params)
    made: dict[int, Any] = {}
    fills: dict[_Fill, list[int]] = {}
    for i, (x, layout) in enumerate(zip(found, layouts, strict=True)):
        if isinstance(x, _Fill):
            fills.setdefault(x._replace(layout=layout), []).append(i)
        else:
            made[i] = x
    for fill, places in fills.items():
        made.update(zip(places, _filled(fill, len(places)), strict=True))
    return jax.tree.unflatten(jax.tree.structure(shapes), [made[i] for i in range(len(found))])


def _is_spread(value: object) -> bool:
    return isinstance(value, jax.Array) and len(value.sharding.device_set) > 1


def _outputs(traced: Any, values: list[Any]) -> list[Any] | None:
    """The traced function's result as existing arrays and `_Fill`s; None for any other result."""
    if traced.effects:
        return None
    program = traced.jaxpr
    given = dict(zip(map(id, program.invars), values, strict=True))
    given.update(zip(map(id, program.constvars), traced.consts, strict=True))
    fills = {
        id(e.outvars[0]): e.invars[0].val
        for e in program.eqns
        if e.primitive.name == "broadcast_in_dim" and hasattr(e.invars[0], "val")
    }
    found: list[Any] = []
    for out in program.outvars:
        literal = hasattr(out, "val")
        if out.aval.weak_type or not (literal or id(out) in given or id(out) in fills):
            return None
        if id(out) in given and not literal:
            found.append(given[id(out)])
            continue
        dtype = np.dtype(out.aval.dtype)
        number = np.asarray(out.val if literal else fills[id(out)]).astype(dtype)
        found.append(_Fill(tuple(out.aval.shape), dtype, number.tobytes(), None))
    return found


def _layouts(shapes: PyTree, params: PyTree) -> list[Sharding | None]:
    """The layout of each array of a state: that of the variable at the end of its path."""
    of_path = {
        _path(keys): x
        for keys, x in jax.tree_util.tree_flatten_with_path(params)[0]
        if _is_spread(x)
    }
    found: list[Sharding | None] = []
    variables = jax.tree_util.tree_flatten_with_path(
        shapes, is_leaf=lambda x: isinstance(x, Variable)
    )[0]
    for keys, leaf in variables:
        for inner, x in jax.tree_util.tree_flatten_with_path(leaf)[0]:
            found.append(_layout(_path((*keys, *inner)), leaf, x, of_path))
    return found


def _layout(
    path: tuple[str, ...], leaf: object, x: Any, of_path: Mapping[tuple[str, ...], jax.Array]
) -> Sharding | None:
    if isinstance(leaf, Variable) and leaf.get_metadata():
        alone = OptVariable.from_metadata(None, optimizer_metadata(leaf.get_metadata()))
        named = sharding_for(alone, x)
        if named is not None:
            return named
    of = next((of_path[path[i:]] for i in range(len(path)) if path[i:] in of_path), None)
    # A moment of a different shape, such as that of a factored matrix, is laid out by `init`.
    return None if of is None or of.shape != x.shape else of.sharding


def _path(keys: tuple[Any, ...]) -> tuple[str, ...]:
    return tuple(map(str, keys))


def _filled(fill: _Fill, count: int) -> list[jax.Array]:
    made: list[jax.Array] = []
    while count - len(made) >= _AT_ONCE:
        made += _program(fill, _AT_ONCE)()
    while len(made) < count:
        made += _program(fill, 1)()
    return made


@functools.lru_cache(maxsize=256)
def _program(fill: _Fill, count: int) -> Callable[[], list[jax.Array]]:
    def make() -> list[jax.Array]:
        number = np.frombuffer(fill.number, fill.dtype)[0]
        return [jnp.full(fill.shape, number, fill.dtype) for _ in range(count)]

    layout = fill.layout
    return jax.jit(make) if layout is None else jax.jit(make, out_shardings=[layout] * count)
