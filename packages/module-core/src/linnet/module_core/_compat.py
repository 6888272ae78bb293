"""Differences between the supported jax and Python versions, and when each can be removed."""

from __future__ import annotations

import contextlib
import functools
import gc
import inspect
import sys
import threading
import weakref
from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeVar

import jax

if TYPE_CHECKING:
    from jax.experimental.layout import Format

T = TypeVar("T")


@functools.cache
def _trace_state_function() -> Callable[[], object]:
    # In jax.extend.core since 0.7. In 0.6, it is in jax.core, which warns about it from 0.7 on.
    # `import jax.extend` takes 35 ms, so it runs at first use. Can be removed with jax 0.6.
    try:
        from jax.extend.core import get_opaque_trace_state
    except ImportError:
        from jax.core import get_opaque_trace_state
    return functools.partial(get_opaque_trace_state, convention="flax")


def trace_state() -> object:
    """A value that identifies the current stack of jax traces, and can be compared."""
    return _trace_state_function()()


@functools.cache
def _state_without_traces() -> object:
    # A new thread has no traces; jax has no public name for that.
    found: list[object] = []
    thread = threading.Thread(target=lambda: found.append(trace_state()))
    thread.start()
    thread.join()
    return found[0]


def is_tracing() -> bool:
    """Whether any jax trace is running in this thread."""
    return trace_state() != _state_without_traces()


def is_alive(state: object) -> bool:
    """Whether anything still refers to the trace that `state` identifies, or to one of its values.

    `state` is a value of `trace_state`.
    """
    return None not in _traces(state)


def has_values(state: object) -> bool:
    """Whether a value of the trace that `state` identifies still exists.

    jax 0.10 keeps the trace in which a jitted function such as `jax.nn.relu6` was first called:
    what it caches for the function refers to the trace, but not to its values.
    The search takes less time than a full garbage collection, although it visits as many objects.
    """
    traces = _traces(state)
    return not traces or any(isinstance(x, jax.core.Tracer) for x in gc.get_referrers(*traces))


def _traces(state: object) -> list[object]:
    # `state` refers to the trace weakly in every version; otherwise the trace would stay alive.
    held = gc.get_referents(vars(state))
    return [ref() for ref in held if isinstance(ref, weakref.ref)]


def own_annotations(cls: type) -> dict[str, Any]:
    """A copy of the annotations in the body of a class."""
    if sys.version_info < (3, 14):
        return dict(vars(cls).get("__annotations__", {}))
    # Since 3.14, annotations are evaluated lazily and are not in the class's dict (PEP 649). As in
    # dataclasses, names that aren't defined yet stay forward references. Once support for Python
    # 3.13 ends, `annotationlib` is sufficient.
    library = import_module("annotationlib")
    return dict(library.get_annotations(cls, format=library.Format.FORWARDREF))


def reshard(x: T, sharding: object) -> T:
    """Moves an array to a sharding on a mesh whose axes are all explicit."""
    # In jax.sharding since 0.7. Can be removed with jax 0.6.
    move = getattr(jax.sharding, "reshard", None)
    if move is None:
        move = import_module("jax.experimental.shard").reshard
    moved: T = move(x, sharding)
    return moved


def mesh_that_is_set() -> jax.sharding.Mesh | None:
    """The mesh of devices set by `jax.set_mesh`; None inside a trace or if none is set."""
    # In jax.sharding since 0.7. Can be removed with jax 0.6.
    get = getattr(jax.sharding, "get_mesh", None)
    if get is None:
        return None
    try:
        mesh: jax.sharding.Mesh = get()
    except ValueError:  # inside a jit, where meshes are abstract
        return None
    return None if mesh.empty else mesh


def set_mesh(mesh: jax.sharding.Mesh) -> contextlib.AbstractContextManager[object]:
    """A context in which `mesh` is the one that the program has set."""
    # In jax since 0.7. Can be removed with jax 0.6.
    function = getattr(jax, "set_mesh", None) or jax.sharding.use_mesh  # type: ignore[attr-defined]
    context: contextlib.AbstractContextManager[object] = function(mesh)
    return context


def name_of_set_mesh() -> str:
    """The name of the function that sets a mesh, for messages."""
    # In jax since 0.7. Can be removed with jax 0.6.
    return "jax.set_mesh" if hasattr(jax, "set_mesh") else "jax.sharding.use_mesh"


def auto_axes(function: Callable[..., Any], sharding: object) -> Callable[..., Any]:
    """Traces `function` as if on a mesh without explicit axes; its result has `sharding`."""
    # In jax.sharding since 0.7. Can be removed with jax 0.6.
    automatic = getattr(jax.sharding, "auto_axes", None)
    if automatic is None:
        automatic = import_module("jax.experimental.shard").auto_axes
    traced: Callable[..., Any] = automatic(function, out_sharding=sharding)
    return traced


@functools.cache
def _tosses_split_coins() -> bool:
    return "out_sharding" in inspect.signature(jax.random.bernoulli).parameters


def bernoulli(
    key: jax.Array, p: float, shape: tuple[int, ...], sharding: jax.sharding.NamedSharding
) -> jax.Array:
    """`jax.random.bernoulli`, whose result has `sharding` on a mesh with explicit axes."""
    # It takes a sharding in versions later than 0.6; remove this when all supported ones do.
    if _tosses_split_coins():
        return jax.random.bernoulli(key, p, shape, out_sharding=sharding)
    return reshard(jax.random.bernoulli(key, p, shape), sharding)


# If shard_map splits only some axes of a mesh, jax accepts sharding constraints inside it from
# 0.8 on; older versions raise NotImplementedError for any. Can be removed with jax 0.7.
CONSTRAINS_BESIDE_MANUAL_AXES = jax.__version_info__ >= (0, 8)


def format_elsewhere(format: Format, sharding: object) -> Format:
    """A format with the same layout in memory, and a different sharding."""
    # The layout is `device_local_layout` before jax 0.7. Can be removed with jax 0.6.
    layout = getattr(format, "layout", None) or getattr(format, "device_local_layout", None)
    return type(format)(layout, sharding)  # type: ignore[arg-type]
