"""`create`: a model whose arrays are computed where they will be stored.

A constructor that runs eagerly draws each array on one device, and moves it to its sharding. Here
it is traced twice, which computes nothing: `eval_shape` finds the variables and their shardings,
and `jit` compiles a program in which each device computes its part of the initial values. Equal
draws are grouped where possible (see `draws`).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any, TypeVar

import jax
import numpy as np
from jax.sharding import Mesh

from .._compat import mesh_that_is_set, set_mesh
from ..errors import ArgumentError, ArgumentTypeError, describe
from .abstract import eval_shape
from .nodes.pytree import Pytree
from .spmd import get_named_sharding
from .structure.graph import state
from .transforms.jit import StateSharding, jit
from .variable.variable import Variable

M = TypeVar("M")

_MOVING = (Pytree, Variable, jax.Array, np.ndarray)


def create(
    make: Callable[..., M],
    *args: object,
    mesh: Mesh | None = None,
    shardings: object = None,
    **kwargs: object,
) -> M:
    """The model that `make(*args, **kwargs)` returns, its arrays computed by one compiled program.

    The program computes only initial values, each on the devices that store it: no array is made on
    one device and then moved. The values are those of `make(*args, **kwargs)`.

    Args:
      make: a class, or a function that returns a model; it is traced, as by `nnx.jit`, so it must
        not look at values.
      *args: its arguments. Random streams, variables, modules and arrays among them are traced;
        streams are advanced. Numbers, strings and everything else are passed as they are.
      mesh: the mesh whose axes the variables' `out_sharding` names; variables without names are
        replicated. None for the mesh that is set, or for one device.
      shardings: instead of a mesh, as in `out_shardings` of `nnx.jit`: one sharding for all arrays,
        `nnx.StateSharding`, or a state or model with a sharding in place of each array.
      **kwargs: its keyword arguments.

    Raises:
      ArgumentTypeError: `make` is not a class or a function, but a model, for example.
      ArgumentError: both `mesh` and `shardings` are given; or a variable's `out_sharding` does not
        fit its shape or the mesh.

    >>> import jax
    >>> from linnet.module_core import nnx
    >>> class Model(nnx.Module):
    ...     def __init__(self, features: int, *, rngs: nnx.Rngs):
    ...         init = nnx.with_partitioning(jax.nn.initializers.normal(), (None, "model"))
    ...         self.kernel = nnx.Param(init(rngs.params(), (8, features)))
    >>> model = nnx.create(Model, 4, rngs=nnx.Rngs(0), mesh=jax.make_mesh((1,), ("model",)))
    >>> model.kernel.value.sharding.mesh.axis_names
    ('model',)
    """
    if not callable(make) or isinstance(make, Pytree):
        raise ArgumentTypeError(
            f"create takes a class, or a function that returns a model; got {describe(make)}.",
            hint="Pass the class and its arguments: nnx.create(Model, 64, rngs=nnx.Rngs(0)).",
        )
    if mesh is not None and shardings is not None:
        raise ArgumentError(
            "create got both mesh and shardings.",
            hint="A sharding already has a mesh: leave `mesh` out.",
        )
    leaves, structure = jax.tree.flatten((args, kwargs), is_leaf=_moves)
    moving = [leaf for leaf in leaves if _moves(leaf)]

    def made(moving: list[Any]) -> M:
        rest = iter(moving)
        filled = [next(rest) if _moves(leaf) else leaf for leaf in leaves]
        all_args, all_kwargs = jax.tree.unflatten(structure, filled)
        return make(*all_args, **all_kwargs)

    if shardings is None and mesh is None:
        mesh = mesh_that_is_set()
    where = _mesh_of(shardings) if mesh is None else mesh
    with contextlib.nullcontext() if where is None else set_mesh(where):
        if mesh is not None:
            named = get_named_sharding(state(eval_shape(made, moving)), mesh)
            shardings = StateSharding(named)
        model: M = jit(made, out_shardings=shardings)(moving)
    return model


def _mesh_of(shardings: object) -> Mesh | None:
    given = shardings.shardings if isinstance(shardings, StateSharding) else shardings
    meshes = [getattr(x, "mesh", None) for x in jax.tree.leaves(given)]
    return next((m for m in meshes if isinstance(m, Mesh)), None)


def _moves(value: object) -> bool:
    """Whether an argument is traced."""
    return isinstance(value, _MOVING)
