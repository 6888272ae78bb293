"""Abstract objects, with shapes and dtypes in place of arrays.

`eval_shape` traces a function on new objects with abstract values (as every transform does; see
`effect`), and builds its result with `jax.ShapeDtypeStruct`s. It takes one traversal and one trace,
so the cost grows only with the number of variables. The caller's objects don't change.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import jax
import numpy as np
from jax.sharding import AbstractMesh, Mesh

from ..accepted import accepted
from .structure.bundle import Bundle, detach_nodes, put_back
from .structure.effect import Inside, Outcome
from .structure.graph import split, with_leaves
from .structure.graphdef import GraphDef
from .structure.iteration import refuse_tree_mode
from .structure.states import State
from .structure.structure import build
from .transforms.calling import resolve
from .variable.sharding_metadata import axis_names_of, mesh_of, spec_of
from .variable.variable import Variable

A = TypeVar("A")


def eval_shape(
    f: Callable[..., A],
    *args: object,
    graph: bool | None = None,
    graph_updates: bool | None = None,
    **kwargs: object,
) -> A:
    """The result of `f`, with a `jax.ShapeDtypeStruct` in place of each array.

    Args:
      f: a function, method or module.
      *args: arrays, `jax.ShapeDtypeStruct`s and objects that hold them; anything else (flags,
        numbers, strings, functions) is passed on unchanged.
      graph: False raises an error for shared references among the arguments.
      graph_updates: accepted for Flax programs: the arguments are never changed.
      **kwargs: keyword arguments, treated in the same way.

    Returns:
      The output; all objects in it are new.

    >>> import jax.numpy as jnp
    >>> from linnet.module_core import nnx
    >>> class Model(nnx.Module):
    ...     def __init__(self, rngs):
    ...         self.kernel = nnx.Param(rngs.params.normal((1_000_000, 1_000_000)))
    >>> nnx.eval_shape(lambda: Model(nnx.Rngs(0))).kernel.value
    ShapeDtypeStruct(shape=(1000000, 1000000), dtype=float32)
    """
    accepted(graph_updates=graph_updates)
    function, bound = resolve(f)
    refuse_tree_mode((*bound, *args, kwargs), graph)
    roots: list[Any] = []
    tree = detach_nodes(((*bound, *args), kwargs), roots, {})
    bundle = Bundle(roots)
    leaves, structure = jax.tree.flatten(tree)
    abstract = [isinstance(x, _ARRAYS) for x in leaves]

    def run(values: list[Any], arrays: list[Any]) -> Outcome:
        rest = iter(arrays)
        filled = [next(rest) if a else x for x, a in zip(leaves, abstract, strict=True)]
        inside = Inside(bundle.graphdef, values)
        inside_args, inside_kwargs = jax.tree.unflatten(structure, filled)
        return inside.leave(inside.call(function, inside_args, inside_kwargs), everything=True)

    outcome = jax.eval_shape(
        run, bundle.values(), [x for x, a in zip(leaves, abstract, strict=True) if a]
    )
    made, _ = build(outcome.effect.graphdef, outcome.values)
    output: A = put_back(outcome.output, made)
    return output


_ARRAYS = (jax.Array, np.ndarray, np.generic, jax.ShapeDtypeStruct)


def as_abstract(tree: A, graph: bool | None = None) -> A:
    """A copy of an object or state with a `jax.ShapeDtypeStruct` in place of each array.

    Each has the sharding of its array, or the sharding that the variable's metadata specifies on
    the mesh that is set.

    Args:
      tree: an object, a state, or a tree of these.
      graph: accepted for Flax programs.
    """
    accepted(graph=graph)
    return _with_arrays(tree, lambda leaf, x: _struct(x, _sharding_of(leaf, x, None)))


def abstract_with_sharding(tree: A, graph: bool | None = None) -> A:
    """A copy of an abstract object or state that includes shardings; see `as_abstract`.

    Args:
      tree: an object, a state, or a tree of these; existing arrays are kept.
      graph: accepted for Flax programs.
    """
    accepted(graph=graph)

    def with_sharding(leaf: object, x: object) -> object:
        if not isinstance(x, jax.ShapeDtypeStruct):
            return x
        return _struct(x, _sharding_of(leaf, x, None))

    return _with_arrays(tree, with_sharding)


def get_abstract_model(
    init_fn: Callable[[], A], mesh: Mesh | AbstractMesh | None, *, graph: bool | None = None
) -> tuple[GraphDef[A], State]:
    """The structure and abstract state of a model, each leaf with its sharding on a mesh.

    Args:
      init_fn: creates the model.
      mesh: the mesh whose axes the variables' `out_sharding` names; variables without names are
        replicated.
      graph: accepted for Flax programs.

    Returns:
      `(graphdef, state)`; `state` tells `jax.jit` or a checkpoint library the sharding of each
      array.
    """
    accepted(graph=graph)
    model = eval_shape(init_fn)
    placed = _with_arrays(model, lambda leaf, x: _struct(x, _sharding_of(leaf, x, mesh)))
    graphdef, state = split(placed)
    return graphdef, state


def _with_arrays(tree: A, f: Callable[[Any, Any], Any]) -> A:
    """A copy with `f(variable or array, array)` in place of each array."""

    def new(leaf: Any) -> object:
        if isinstance(leaf, Variable):
            return jax.tree.map(lambda x: f(leaf, x), leaf.raw_value)
        return f(leaf, leaf)

    return with_leaves(tree, new)


def _struct(x: object, sharding: object) -> object:
    if not hasattr(x, "shape") or not hasattr(x, "dtype"):
        return x
    made: Any = jax.ShapeDtypeStruct
    return made(x.shape, x.dtype, sharding=sharding)


def _sharding_of(leaf: object, x: object, mesh: Mesh | AbstractMesh | None) -> object:
    from jax.sharding import NamedSharding, PartitionSpec

    names = axis_names_of(leaf) if isinstance(leaf, Variable) else None
    context = jax.sharding.get_abstract_mesh()
    where = mesh
    if where is None and isinstance(leaf, Variable):
        where = mesh_of(leaf)
    if where is None and context.axis_names:
        where = context
    if where is None or (names is None and mesh is None and isinstance(x, jax.Array)):
        return getattr(x, "sharding", None)
    whole: Any = PartitionSpec()  # type: ignore[no-untyped-call]
    return NamedSharding(where, spec_of(leaf) if isinstance(leaf, Variable) else whole)
