"""What differs between supported versions of jax and Python; each entry says when it can go."""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any

import jax


@functools.cache
def _trace_state_function() -> Callable[[], Any]:
    # jax.extend.core has it from 0.7 on; jax.core, which has it in 0.6, warns from then on.
    # `import jax.extend` takes 35 ms, hence at first use. Can go with jax 0.6.
    try:
        from jax.extend.core import get_opaque_trace_state
    except ImportError:
        from jax.core import get_opaque_trace_state
    return functools.partial(get_opaque_trace_state, convention="flax")


def trace_state() -> Any:
    """A value that is equal for two moments under the same stack of jax traces."""
    return _trace_state_function()()


def own_annotations(cls: type) -> dict[str, Any]:
    """The annotations in the body of a class, a copy."""
    if sys.version_info < (3, 14):
        return dict(vars(cls).get("__annotations__", {}))
    # From 3.14 on they are worked out when they are asked for, and the class's dict has none
    # (PEP 649). As dataclasses does, names that aren't defined yet are left open. `annotationlib`
    # is all that is needed once Python 3.13 can go.
    library = import_module("annotationlib")
    return dict(library.get_annotations(cls, format=library.Format.FORWARDREF))


def reshard(x: object, sharding: object) -> Any:
    """Moves an array to a sharding on a mesh whose axes are all explicit."""
    # jax.sharding has it from 0.7 on. Can go with jax 0.6.
    move = getattr(jax.sharding, "reshard", None)
    if move is None:
        move = import_module("jax.experimental.shard").reshard
    return move(x, sharding)


def mesh_that_is_set() -> Any:
    """The mesh of devices that `jax.set_mesh` has set; None inside a trace, or without one."""
    # jax.sharding has it from 0.7 on. Can go with jax 0.6.
    get = getattr(jax.sharding, "get_mesh", None)
    if get is None:
        return None
    try:
        mesh = get()
    except ValueError:  # under jit, where meshes are abstract
        return None
    return None if mesh.empty else mesh


def auto_axes(function: Callable[..., Any], sharding: object) -> Callable[..., Any]:
    """`function`, traced as on a mesh whose axes are not explicit; its result is so laid out."""
    # jax.sharding has it from 0.7 on. Can go with jax 0.6.
    automatic = getattr(jax.sharding, "auto_axes", None)
    if automatic is None:
        automatic = import_module("jax.experimental.shard").auto_axes
    traced: Callable[..., Any] = automatic(function, out_sharding=sharding)
    return traced


@functools.cache
def _tosses_split_coins() -> bool:
    return "out_sharding" in inspect.signature(jax.random.bernoulli).parameters


def bernoulli(key: Any, p: float, shape: tuple[int, ...], sharding: Any) -> Any:
    """`jax.random.bernoulli`, laid out by `sharding` on a mesh whose axes are explicit."""
    # It takes the sharding from a version behind 0.6 on. Can go with the last one without.
    if _tosses_split_coins():
        return jax.random.bernoulli(key, p, shape, out_sharding=sharding)
    return reshard(jax.random.bernoulli(key, p, shape), sharding)


# Where shard_map has split some axes of a mesh and not others, jax takes a constraint of layout
# from 0.8 on; before, it raises NotImplementedError for any. Can go with jax 0.7.
CONSTRAINS_BESIDE_MANUAL_AXES = jax.__version_info__ >= (0, 8)
