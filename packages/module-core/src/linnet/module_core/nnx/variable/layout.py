"""Lays out values on the devices of a mesh, as the metadata of their variables specifies.

Every value of a variable passes through one of two functions if its metadata names axes:

- `laid_out`, when a variable is created: in a constructor, from metadata, in an optimizer or an
  average, traced or not. The value is laid out as the metadata specifies.
- `loaded`, when an existing variable gets a new value. A NumPy array, an array on one device or a
  fully replicated array is laid out as the metadata specifies: files and functions without a mesh
  return these. An array that is already sharded is kept as it is: either the user placed it there,
  or it was computed from correctly sharded values. In a trace, XLA decides.

The mesh is the one in the metadata, or else the one that is set; without a mesh, nothing moves.

Regardless of the metadata, a new value that the program has not placed is first laid out like the
value that it replaces (`in_place_of`), if that is spread over devices. Loading into a model thus
keeps the layout that rules or `out_shardings` gave it.
"""

from __future__ import annotations

import functools
import math
import sys
from typing import TYPE_CHECKING, Any, TypeVar

import jax
import numpy as np
from jax.sharding import (
    AbstractMesh,
    AxisType,
    Mesh,
    NamedSharding,
    PartitionSpec,
    Sharding,
    get_abstract_mesh,
)

from ..._compat import CONSTRAINS_BESIDE_MANUAL_AXES, is_tracing, mesh_that_is_set, reshard
from ...axis_rules import check_known, get_logical_axis_rules
from ...draws import current
from ...errors import ArgumentError, counted
from ...forgotten_mesh import may_be_forgotten, notice
from ...placing import laid_out as put_on
from ...placing import target_layout
from ..nodes.kinds import OBJECT, kind_of
from .sharding_metadata import axis_names_of, lies_as, spec_for, using_eager_sharding

if TYPE_CHECKING:
    from .variable import Variable

    _Array = jax.Array | np.ndarray[Any, Any] | jax.ShapeDtypeStruct
    _Mesh = Mesh | AbstractMesh

T = TypeVar("T")

_OWN: Any = object()


def laid_out(variable: Variable[Any], value: T, *, names: object = _OWN, strict: bool = False) -> T:
    """The value of a new variable, laid out as its metadata specifies.

    Args:
      variable: the variable, whose metadata names the axes.
      value: the variable's value.
      names: names of the axes that replace those in the metadata.
      strict: whether metadata that doesn't match the value is an error; otherwise such a value, for
        example a factored moment, is returned unchanged.

    Raises:
      ArgumentError: the metadata names more axes than the value has, or axes that the mesh lacks.
    """
    names = axis_names_of(variable) if names is _OWN else names
    if names is None or not isinstance(value, (jax.Array, np.ndarray)):
        return value
    found = _layout_for(variable, value, names, strict)
    if found is not None:
        return put(value, *found)
    if may_be_forgotten() and not _has_mesh(variable, names):
        notice(
            value,
            lambda: f"A {type(variable).__name__}{_place(value)}",
            lambda: spec_for(names, variable._metadata),
        )
    return value


def _has_mesh(variable: Variable[Any], names: object) -> bool:
    """Whether names have a mesh, or are not to be applied immediately."""
    metadata = variable._metadata
    return (
        lies_as(names) is not None
        or metadata.get("mesh") is not None
        or bool(get_abstract_mesh().axis_names)
        or not metadata.get("eager_sharding", using_eager_sharding())
    )


def sharding_for(variable: Variable[Any], value: jax.ShapeDtypeStruct) -> Sharding | None:
    """The sharding that `loaded` gives to such a value, or None if the value stays as it is.

    Also None for a memory order (`Format`), and for a mesh that isn't known to have devices.
    """
    names = axis_names_of(variable)
    found = None if names is None else _layout_for(variable, value, names, strict=False)
    if found is None:
        return None
    layout, _ = found
    if isinstance(layout, PartitionSpec):
        mesh = mesh_that_is_set()
        return None if mesh is None else NamedSharding(mesh, layout)
    return layout if isinstance(layout, Sharding) else None


def loaded(variable: Variable[Any], value: T) -> T:
    """The new value of an existing variable, laid out as its metadata specifies unless sharded."""
    if isinstance(value, jax.core.Tracer):
        return value
    if (
        variable._metadata.get("mesh") is None
        and lies_as(axis_names_of(variable)) is None
        and not get_abstract_mesh().axis_names
    ):
        return value  # a write without a mesh costs nothing more
    if isinstance(value, jax.Array) and not value.sharding.is_fully_replicated:
        return value
    return laid_out(variable, value)


def in_place_of(old: object, new: T) -> T:
    """The value that replaces `old`, laid out like it if the program hasn't placed `new`.

    See `target_layout` for when. On one device, nothing changes: a NumPy array remains one.
    """
    if new is old:
        return new
    layout = target_layout(old, new)
    if layout is not None:
        # In a trace, a concrete value would become a tracer.
        placed: Any = put_on(new, layout) if is_eager() else new
        return placed  # type: ignore[no-any-return]
    if hasattr(new, "shape") or isinstance(new, _SINGLE):
        return new
    structure = jax.tree.structure(new)
    same: bool = jax.tree.structure(old) == structure  # type: ignore[operator]
    if not same or jax.tree_util.treedef_is_leaf(structure):
        return new
    parts = map(in_place_of, jax.tree.leaves(old), jax.tree.leaves(new))
    placed_tree: T = jax.tree.unflatten(structure, parts)
    return placed_tree


_SINGLE = (int, float, complex, str, bytes, type(None))


def _layout_for(
    variable: Variable[Any], value: _Array, names: Any, strict: bool
) -> tuple[Any, Any] | None:
    """The layout of a value and its mesh, or None if it has no layout."""
    if not variable._metadata.get("eager_sharding", using_eager_sharding()):
        return None
    whole = lies_as(names)
    if whole is not None:
        mesh = getattr(getattr(whole, "sharding", whole), "mesh", None)
    else:
        mesh = variable._metadata.get("mesh")
        check_known(names, variable._metadata.get("sharding_rules") or get_logical_axis_rules())
    here: Any = mesh if mesh is not None else get_abstract_mesh()
    if whole is None and not here.axis_names:
        return None
    spec = spec_for(names, variable._metadata)
    problem = _misfit(spec, value, here, variable) if here is not None else None
    if problem is not None:
        if strict:
            raise problem
        return None
    if whole is not None:
        return whole, here
    return (spec if mesh is None else NamedSharding(mesh, spec)), here


def _misfit(
    spec: PartitionSpec, value: _Array, mesh: _Mesh, variable: object
) -> ArgumentError | None:
    what = f"A {type(variable).__name__}"
    if len(spec) > value.ndim:
        return ArgumentError(
            f"{what}{_place(value)} has {counted(value.ndim, 'axis', 'axes')}, but got"
            f" {counted(len(spec), 'name')}: {tuple(spec)}.",
            hint="Pass one name, or None, for each axis.",
        )
    manual = _manual_axes(mesh, get_abstract_mesh())  # already split by shard_map
    sizes = {name: 1 if name in manual else size for name, size in mesh.shape.items()}
    for axis, entry in enumerate(spec):
        used = [n for n in (entry if isinstance(entry, tuple) else (entry,)) if isinstance(n, str)]
        unknown = [n for n in used if n not in sizes]
        if unknown:
            return ArgumentError(
                f"Resource axis: {', '.join(unknown)} of {tuple(spec)} is not found in mesh:"
                f" {tuple(mesh.axis_names)}.",
                hint="Name axes of the mesh, or add a rule that maps the name:"
                f" nnx.logical_axis_rules([({unknown[0]!r}, mesh axis)]).",
            )
        parts = math.prod(sizes[n] for n in used)
        if value.shape[axis] % parts:
            return ArgumentError(
                f"{what}{_place(value)} can't be split as {tuple(spec)} on the mesh {sizes}: the"
                f" {parts} devices of {entry!r} don't divide its axis {axis}, of size"
                f" {value.shape[axis]}.",
                hint=(
                    "Choose a size that they divide, or None for that axis, which leaves it "
                    "unsplit."
                ),
            )
    return None


def _place(value: _Array) -> str:
    """The shape of a value and the objects under construction, outermost last."""
    making: list[str] = []
    frame = sys._getframe(1)
    while frame.f_back is not None:
        frame = frame.f_back
        made = frame.f_locals.get("self") if frame.f_code.co_name == "__init__" else None
        if kind_of(made) == OBJECT:
            making.append(type(made).__name__)
    maker = f" of {' in '.join(making)}" if making else ""
    return f"{maker}, of shape {tuple(value.shape)},"


def put(value: T, layout: object, mesh: object) -> T:
    """A value laid out on a mesh: placed, or constrained in a trace."""
    if isinstance(value, jax.core.Tracer):
        return lay_out(value, layout)
    if is_eager():
        if _lies_there(value, layout, mesh):
            return value
        placed: T = jax.device_put(value, layout)
        return placed
    # A constant of the traced function. Inside a jit, jax accepts any array.
    constant: T = _constant_laid_out(value, getattr(layout, "sharding", layout))
    return constant


def _lies_there(value: object, layout: object, mesh: object) -> bool:
    """Whether an array already has its layout; False if the check would be expensive."""
    if not isinstance(value, jax.Array):
        return False
    if isinstance(layout, Sharding):
        return value.sharding.is_equivalent_to(layout, value.ndim)
    there: Any = value.sharding
    return (
        isinstance(there, NamedSharding)
        and isinstance(layout, PartitionSpec)
        and there.spec == layout
        and there.mesh.abstract_mesh == mesh
    )


@functools.partial(jax.jit, static_argnums=1)
def _constant_laid_out(value: T, layout: object) -> T:
    return lay_out(value, layout)


def is_eager() -> bool:
    """Whether the code runs outside any trace."""
    return not is_tracing()


def lay_out(value: T, layout: object) -> T:
    """Lays out a traced value over devices; with `layout` None, XLA decides."""
    # For a Format, only the sharding is used: XLA chooses the memory layout.
    sharding: Any = getattr(layout, "sharding", layout)
    if sharding is None:
        return value
    context = get_abstract_mesh()
    mesh: Any = sharding.mesh if isinstance(sharding, NamedSharding) else context
    types = getattr(mesh, "axis_types", None) or ()
    manual = _manual_axes(mesh, context)
    if manual:
        if manual >= set(mesh.axis_names) or not CONSTRAINS_BESIDE_MANUAL_AXES:
            return value
        sharding = _without(sharding, manual)
    if types and all(t == AxisType.Explicit for t in types):
        # Sharding is part of the type on explicit axes; a constraint can't change it.
        if isinstance(mesh, Mesh) and not context.axis_names:
            # No mesh is set, so jax learns the devices from a program within the traced one.
            inner: T = jax.jit(lambda x: x, out_shardings=sharding)(value)
            return inner
        return reshard(value, sharding)
    constrain: Any = jax.lax.with_sharding_constraint
    laid: T = constrain(value, sharding)
    recorder = current()
    if recorder is not None:
        recorder.laid_out(value, laid, sharding)
    return laid


def _manual_axes(*meshes: _Mesh) -> set[Any]:
    # Inside shard_map, the axes that it splits are manual; only the mesh that is set shows this.
    return {
        name
        for mesh in meshes
        for name, kind in zip(mesh.axis_names, mesh.axis_types or (), strict=False)
        if kind == AxisType.Manual
    }


def _without(sharding: NamedSharding | PartitionSpec, axes: set[Any]) -> object:
    def entry(e: object) -> object:
        if isinstance(e, tuple):
            return tuple(a for a in e if a not in axes) or None
        return None if e in axes else e

    make: Any = PartitionSpec
    spec = make(*map(entry, sharding.spec if isinstance(sharding, NamedSharding) else sharding))
    return NamedSharding(sharding.mesh, spec) if isinstance(sharding, NamedSharding) else spec
