"""The older partitioning interface: axis names are stored next to the variables, not around them.

The names of a variable `kernel` in "params" are stored as `kernel_axes` in a collection
"params_axes", which has the same structure but contains no arrays. Transforms must treat both
collections alike: `scan_with_axes` and `vmap_with_axes` do. For new models, `LogicallyPartitioned`
is simpler.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import jax

from linnet.struct import FrozenDict, PyTreeNode, field

from ...errors import ArgumentError, ArgumentTypeError
from ..axes import Axes, In, Out
from ..context import context
from ..filters import CollectionFilter, in_filter
from ..lift_targets import Methods, Target, lift_target
from ..module import Module
from ..scope import Scope
from ..transforms.map_variables import map_variables
from ..transforms.remat import refuse_concrete, run_checkpoint
from ..transforms.scan import scan
from ..transforms.static_arguments import StaticArguments
from ..transforms.vmap import vmap
from ..variable import Variable
from .logical_axes import (
    check_names,
    get_logical_axis_rules,
    logical_axis_rules,
    set_logical_axis_rules,
)
from .logical_constraint import RulesFallback, is_names, with_logical_constraint
from .mesh import spec_of

T = TypeVar("T")

axis_rules = logical_axis_rules
set_axis_rules = set_logical_axis_rules
get_axis_rules = get_logical_axis_rules
with_sharding_constraint = with_logical_constraint
ScanIn = In
ScanOut = Out

_SUFFIX = "_axes"


class AxisMetadata(PyTreeNode):
    """The logical names of a variable's axes: a pytree without leaves.

    Attributes:
      names: the name of each axis, or None; for a variable that is a tree, a tree of these.
    """

    names: Any = field(pytree_node=False)


class PartitionedVariable(Variable[T]):
    """A variable that is laid out by its logical names whenever it is read or written.

    Args:
      scope, collection, name: where it is stored.
      axes: the logical names of its axes; None for a plain variable.
      fallback: how to handle names without a rule.
    """

    __slots__ = ("axes", "fallback")

    def __init__(
        self,
        scope: Scope,
        collection: str,
        name: str,
        axes: object = None,
        fallback: RulesFallback = RulesFallback.AXIS_IS_UNSHARDED,
    ) -> None:
        super().__init__(scope, collection, name)
        self.axes = axes
        self.fallback = fallback

    @property
    def value(self) -> T:
        """The value, laid out by its logical names; set it to change the variable."""
        return _constrained(super().value, self.axes, self.fallback)

    @value.setter
    def value(self, value: T) -> None:
        Variable.value.fset(self, _constrained(value, self.axes, self.fallback))  # type: ignore[attr-defined]


def param_with_axes(
    name: str,
    init_fn: Callable[..., T],
    *init_args: object,
    axes: object = None,
    module: Module | None = None,
    **init_kwargs: Any,
) -> T:
    """A parameter whose logical names are stored in "params_axes".

    Args:
      name, init_fn, *init_args, **init_kwargs: as in `Module.param`.
      axes: the logical names of its axes; for a parameter that is a tree, a tree of these, in which
        None means an array without names. A None by itself means a plain parameter.
      module: the module that it belongs to; default: the one whose method is running.

    Returns:
      Its value, laid out by rules and names if there is a mesh.

    Raises:
      ArgumentError: there is no module; or the parameter was stored with different names, or
        its structure differs from that of `axes`.
      ArgumentTypeError: `axes` is not a sequence of strings and None, or a tree of these.
    """
    module = _module(module, "param_with_axes")
    value: T = module.param(name, init_fn, *init_args, **init_kwargs)
    if axes is not None:
        value = _constrained(value, axes)
        _keep(module, "params", name, axes)
    return value


def variable_with_axes(
    collection: str,
    name: str,
    init_fn: Callable[..., T],
    *init_args: object,
    axes: object = None,
    module: Module | None = None,
    fallback: RulesFallback = RulesFallback.AXIS_IS_UNSHARDED,
    **init_kwargs: Any,
) -> PartitionedVariable[T]:
    """A variable whose logical names are stored in the collection `<collection>_axes`.

    Args:
      collection, name, init_fn, *init_args, **init_kwargs: as in `Module.variable`.
      axes: the logical names of its axes, or a tree of these; None for a plain variable.
      module: the module that it belongs to; default: the one whose method is running.
      fallback: how to handle names without a rule.

    Returns:
      A handle to the variable.

    Raises:
      ArgumentError: there is no module; or the variable was stored with different names, or
        its structure differs from that of `axes`.
      ArgumentTypeError: `axes` is not a sequence of strings and None, or a tree of these.
    """
    module = _module(module, "variable_with_axes")

    def first(*args: object, **kwargs: object) -> object:
        return _constrained(init_fn(*args, **kwargs), axes, fallback)

    plain = module.variable(collection, name, first, *init_args, **init_kwargs)
    if axes is not None:
        _keep(module, collection, name, axes)
    return PartitionedVariable(plain.scope, collection, name, axes, fallback)


def _module(module: Module | None, function: str) -> Module:
    if module is not None:
        return module
    if not context.stack:
        raise ArgumentError(
            f"{function} was called outside a module's methods.",
            hint="Call it in a compact method or in setup, or pass module=self.",
        )
    return context.stack[-1]


def _constrained(
    value: T, axes: object, fallback: RulesFallback = RulesFallback.AXIS_IS_UNSHARDED
) -> T:
    if axes is None:
        return value
    axes = _names(axes)
    if not is_names(axes):
        _check_structure(value, axes)
    return with_logical_constraint(value, axes, fallback=fallback)


def _names(axes: object) -> object:
    """The names of an array's axes as a tuple; for a tree of names, the tree of these, checked."""
    if isinstance(axes, list) and all(n is None or isinstance(n, str) for n in axes):
        axes = tuple(axes)
    _map_each(check_names, axes)
    return axes


def _map_each(fn: Callable[[Any], Any], axes: object) -> object:
    """Applies `fn` to the names of each array in `axes`: those of one array, or a tree of them."""
    return jax.tree.map(lambda n: None if n is None else fn(n), axes, is_leaf=is_names)


def _check_structure(value: object, axes: object) -> None:
    try:
        jax.tree.map(lambda *_: None, axes, value, is_leaf=is_names)
    except ValueError as error:
        raise ArgumentError(
            f"The tree of axis names and the value have different structures: {error}",
            hint="axes holds a tuple of names, or None, where the value holds an array.",
        ) from None


def _keep(module: Module, collection: str, name: str, axes: object) -> None:
    names = AxisMetadata(_names(axes))

    def same(stored: object, new: object) -> object:
        if stored is not None and stored != new:
            raise ArgumentError(
                f"{collection} {name!r} has two different tuples of axis names: {stored} and "
                f"{new}.",
                hint=(
                    "The names belong to the variables that were passed in: create both again, "
                    f'or drop the collection "{collection}{_SUFFIX}".'
                ),
            )
        return new

    module.sow(collection + _SUFFIX, name + _SUFFIX, names, reduce_fn=same, init_fn=lambda: None)


def get_axis_names(axes_metadata: object) -> FrozenDict[str, Any]:
    """The names in a collection such as "params_axes", in the structure of "params".

    >>> names = get_axis_names({"kernel_axes": AxisMetadata(("embed", "mlp"))})
    >>> tuple(names["kernel"])
    ('embed', 'mlp')

    Args:
      axes_metadata: nested dicts of `AxisMetadata`.

    Returns:
      Nested dicts with a `PartitionSpec` for each array.

    Raises:
      ArgumentTypeError: it contains something else.
    """
    names: FrozenDict[str, Any] = FrozenDict(_axis_names(axes_metadata))
    return names


def _axis_names(tree: object) -> Any:
    if isinstance(tree, Mapping):
        return {k.removesuffix(_SUFFIX): _axis_names(v) for k, v in tree.items()}
    if not isinstance(tree, AxisMetadata):
        raise ArgumentTypeError(
            f"Expected AxisMetadata, got {tree!r:.60}.",
            hint='Pass the collection of names: get_axis_names(variables["params_axes"]).',
        )
    return _map_each(spec_of, tree.names)


def scan_with_axes(
    target: Target,
    variable_axes: Axes = FrozenDict({}),
    variable_broadcast: CollectionFilter = False,
    variable_carry: CollectionFilter = False,
    split_rngs: Mapping[Any, bool] = FrozenDict({}),
    in_axes: object = 0,
    out_axes: object = 0,
    length: int | None = None,
    reverse: bool = False,
    unroll: int = 1,
    axis_name: str = "layers",
    axes_collections: tuple[str, ...] = ("params",),
    data_transform: Callable[..., Any] | None = None,
    methods: Methods = None,
) -> Target:
    """`scan` that also names the step axis.

    Args:
      target, variable_axes, variable_broadcast, variable_carry, split_rngs, in_axes, out_axes,
      length, reverse, unroll, data_transform, methods: as in `scan`.
      axis_name: the logical name of the step axis.
      axes_collections: the collections of variables whose names are stored.
    """
    scanned = scan(
        target,
        variable_axes={**variable_axes, **{c + _SUFFIX: 0 for c in axes_collections}},
        variable_broadcast=variable_broadcast,
        variable_carry=variable_carry,
        split_rngs=split_rngs,
        in_axes=in_axes,
        out_axes=out_axes,
        length=length,
        reverse=reverse,
        unroll=unroll,
        data_transform=data_transform,
        methods=methods,
    )
    names = dict.fromkeys(axes_collections, axis_name)
    return _with_axis_names(scanned, variable_axes, names, methods)


def vmap_with_axes(
    target: Target,
    variable_axes: Axes,
    split_rngs: Mapping[Any, bool] = FrozenDict({}),
    in_axes: object = 0,
    out_axes: object = 0,
    axis_size: int | None = None,
    axis_name: str | None = None,
    partitioning_axis_names: Mapping[Any, str] = FrozenDict({}),
    spmd_axis_name: str | None = None,
    methods: Methods = None,
) -> Target:
    """`vmap` that also names the example axis.

    Args:
      target, variable_axes, split_rngs, in_axes, out_axes, axis_size, axis_name, spmd_axis_name,
      methods: as in `vmap`.
      partitioning_axis_names: the logical name of the example axis for each collection of variables
        whose names are stored.
    """
    mapped = vmap(
        target,
        variable_axes={**variable_axes, **{c + _SUFFIX: 0 for c in partitioning_axis_names}},
        split_rngs=split_rngs,
        in_axes=in_axes,
        out_axes=out_axes,
        axis_size=axis_size,
        axis_name=axis_name,
        spmd_axis_name=spmd_axis_name,
        methods=methods,
    )
    return _with_axis_names(mapped, variable_axes, partitioning_axis_names, methods)


def _with_axis_names(
    transformed: Target, variable_axes: Axes, names: Mapping[str, str], methods: Methods
) -> Target:
    """Adds `names` to the stored axis names of the collections that are mapped along an axis."""
    for collection, name in names.items():
        axis = next((a for f, a in variable_axes.items() if in_filter(f, collection)), None)
        axis = axis.axis if isinstance(axis, In | Out) else axis
        if isinstance(axis, int):
            kept = collection + _SUFFIX
            change = _AxisName(name, axis)
            transformed = map_variables(
                transformed,
                kept,
                change.remove,
                change.add,
                mutable=True,
                methods=list(methods) if isinstance(methods, Mapping) else methods,
            )
    return transformed


class _AxisName:
    """Inserts the name of an axis into each array's names in a tree, or removes it again."""

    def __init__(self, name: str, axis: int) -> None:
        self.name = name
        self.axis = axis

    def add(self, tree: object) -> object:
        def change(names: list[Any]) -> list[Any]:
            axis = self.axis if self.axis >= 0 else self.axis + len(names) + 1
            names += [None] * (axis - len(names))
            return [*names[:axis], self.name, *names[axis:]]

        return _map_names(change, tree)

    def remove(self, tree: object) -> object:
        def change(names: list[Any]) -> list[Any]:
            if not -len(names) <= self.axis < len(names) or names[self.axis] != self.name:
                raise ArgumentError(
                    f"Expected the axis {self.name!r} at {self.axis} of {tuple(names)}.",
                    hint=(
                        "Are variable_axes and the axis's name the ones that the variables "
                        "were created with?"
                    ),
                )
            del names[self.axis]
            return names

        return _map_names(change, tree)


def _map_names(change: Callable[[list[Any]], list[Any]], tree: object) -> object:
    def apply(leaf: object) -> object:
        if not isinstance(leaf, AxisMetadata):
            return leaf
        return AxisMetadata(_map_each(lambda names: tuple(change(list(names))), leaf.names))

    return jax.tree.map(apply, tree, is_leaf=lambda x: isinstance(x, AxisMetadata))


def remat(
    target: Target,
    variables: CollectionFilter = True,
    rngs: CollectionFilter = True,
    concrete: bool = False,
    prevent_cse: bool = True,
    static_argnums: int | Sequence[int] = (),
    policy: Callable[..., bool] | None = None,
    methods: Methods = None,
) -> Target:
    """The older `remat`, whose argument numbers do not count the module.

    Args:
      target, variables, rngs, concrete, prevent_cse, policy, methods: as in
        `linnet.module_core.linen.remat`.
      static_argnums: arguments (0 is the first one after the module) that are not traced.
    """
    refuse_concrete(concrete)
    options = {
        "variables": variables,
        "rngs": rngs,
        "prevent_cse": prevent_cse,
        "static": StaticArguments.of(static_argnums, first=0),
        "policy": policy,
    }
    return lift_target(run_checkpoint, target, "Core_remat_static", methods, options)
