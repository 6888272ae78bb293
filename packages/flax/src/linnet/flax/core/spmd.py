"""`flax.core.spmd`: rules that map logical axes to mesh axes, for any form of sharding.

A sharding is a `PartitionSpec`, a tuple of names, a `NamedSharding`, or a `Format` that has one.
Each function takes all of them, and leaves None unchanged. A rule replaces one entry with another;
`linen.logical_to_mesh_axes` also ensures that an array uses an axis of the mesh only once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from jax.experimental.layout import Format as Format
from jax.sharding import AbstractMesh as _AbstractMesh
from jax.sharding import Mesh as _Mesh
from jax.sharding import NamedSharding as NamedSharding
from jax.sharding import PartitionSpec as PartitionSpec
from jax.sharding import get_abstract_mesh as _get_abstract_mesh

from linnet.linen.spmd import get_logical_axis_rules as get_logical_axis_rules
from linnet.linen.spmd import logical_axis_rules as logical_axis_rules
from linnet.linen.spmd import set_logical_axis_rules as set_logical_axis_rules
from linnet.module_core._compat import format_elsewhere as _format_elsewhere
from linnet.module_core.errors import ArgumentError as _ArgumentError
from linnet.module_core.nnx.variable.layout import put as _put
from linnet.module_core.typing import LogicalRules as LogicalRules
from linnet.module_core.typing import Sharding as Sharding

_T = TypeVar("_T")
_Layout = PartitionSpec | NamedSharding | Format
Axes = str | tuple[str, ...] | None
"""One entry of a sharding."""


def composite_rules(rule1: LogicalRules | None, rule2: LogicalRules | None) -> LogicalRules:
    """The rules of both, the first ones first.

    Raises:
      ArgumentError: both have a rule for the same name, and they differ.

    >>> composite_rules([("embed", "x")], [("mlp", "y"), ("embed", "x")])
    (('embed', 'x'), ('mlp', 'y'))
    """
    first, second = dict(rule1 or ()), dict(rule2 or ())
    for name in first.keys() & second.keys():
        if first[name] != second[name]:
            raise _ArgumentError(
                f"Two rules for the axis {name!r}: one says {first[name]!r}, the other"
                f" {second[name]!r}.",
                hint="Leave out one of them: the variable's own rules, or those of"
                " logical_axis_rules.",
            )
    return tuple({**first, **second}.items())


def from_sharding_rules(sharding: Sequence[Axes], sharding_rules: LogicalRules) -> tuple[Axes, ...]:
    """The entries of a sharding, with names replaced according to the rules.

    >>> from_sharding_rules(("embed", None, "mlp"), [("embed", "x")])
    ('x', None, 'mlp')
    """
    rules = dict(sharding_rules)
    return tuple(axis if axis is None else rules.get(axis, axis) for axis in sharding)  # type: ignore[arg-type]


def apply_rules(sharding: object, sharding_rules: LogicalRules | None) -> _Layout | None:
    """A sharding with names replaced according to these rules and those that are set.

    >>> from jax.sharding import PartitionSpec
    >>> tuple(apply_rules(PartitionSpec("embed", "mlp"), [("embed", "x"), ("mlp", None)]))
    ('x', None)
    """
    rules = dict(composite_rules(get_logical_axis_rules(), sharding_rules))
    return map_sharding(lambda axis: axis if axis is None else rules.get(axis, axis), sharding)  # type: ignore[arg-type]


def get_pspec(sharding: object, sharding_rules: LogicalRules | None = None) -> _Layout | None:
    """The sharding in terms of the mesh's axes: a `PartitionSpec`, if given one or a tuple."""
    return apply_rules(sharding, sharding_rules)


def map_sharding(f: Callable[[Axes], Axes], sharding: object) -> _Layout | None:
    """A sharding with `f` applied to each of its entries.

    >>> from jax.sharding import PartitionSpec
    >>> tuple(map_sharding(str.upper, PartitionSpec("x", "y")))
    ('X', 'Y')

    Returns:
      The same kind of sharding, a `PartitionSpec` for a tuple; None for anything else.
    """
    if isinstance(sharding, (PartitionSpec, tuple, list)):
        return PartitionSpec(*map(f, sharding))  # type: ignore[no-untyped-call]
    if isinstance(sharding, NamedSharding):
        return NamedSharding(sharding.mesh, PartitionSpec(*map(f, sharding.spec)))  # type: ignore[no-untyped-call]
    if isinstance(sharding, Format):
        return _format_elsewhere(sharding, map_sharding(f, sharding.sharding))
    return None


def get_mesh(sharding: object) -> _Mesh | _AbstractMesh | None:
    """The mesh of a `NamedSharding`, or of a `Format` that has one; None for anything else."""
    found: _Mesh | _AbstractMesh | None
    found = getattr(getattr(sharding, "sharding", sharding), "mesh", None)
    return found


def shard_value(
    value: _T,
    out_sharding: object,
    sharding_rules: LogicalRules | None,
    mesh: _Mesh | _AbstractMesh | None,
) -> _T:
    """A value laid out as a sharding specifies, on any kind of mesh.

    Args:
      value: an array, or a tree of them.
      out_sharding: its sharding; None leaves the value as it is.
      sharding_rules: rules from logical axes to mesh axes; the rules that are set apply as well.
      mesh: the mesh; None for that of the sharding, or the one that is set.

    Raises:
      ArgumentError: no mesh is set, or it lacks an axis.
    """
    if out_sharding is None:
        return value
    layout = get_pspec(out_sharding, sharding_rules)
    given = get_mesh(layout) if mesh is None else mesh
    here = _get_abstract_mesh() if given is None else given
    if isinstance(layout, PartitionSpec):
        lacking = [
            name
            for entry in layout
            for name in (entry if isinstance(entry, tuple) else (entry,))
            if isinstance(name, str) and name not in here.axis_names
        ]
        if not here.axis_names or lacking:
            raise _ArgumentError(
                f"{tuple(layout)} needs a mesh with the axes {', '.join(map(repr, lacking))};"
                f" this one has {tuple(here.axis_names)}."
                if here.axis_names
                else f"A value can't be laid out as {tuple(layout)} without a mesh.",
                hint="Pass the mesh, or set one with jax.set_mesh(mesh).",
            )
        if given is not None:
            layout = NamedSharding(given, layout)
    import jax

    laid_out: _T = jax.tree.map(lambda x: _put(jax.numpy.asarray(x), layout, here), value)
    return laid_out
