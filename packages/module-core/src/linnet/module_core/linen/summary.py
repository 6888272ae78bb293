"""A model as a table: `tabulate`, and `module_paths`.

The steps are in separate files. `recording` runs the model's `init` without computing anything and
records the calls; `flops` determines the cost of a call; this file makes rows from the calls, each
with the variables that belong to it; `drawing` renders the rows as text.

A variable belongs to the nearest module above it that has a row, and is counted there once, so the
totals are correct whichever rows are left out.
"""

from __future__ import annotations

import dataclasses
import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, SupportsIndex, TypeVar

from ..errors import ArgumentError, ArgumentTypeError
from ..tables import drawing
from ..tables.cells import amount, lines_of, size_and_bytes
from ..tables.drawing import Column
from ..typing import PRNGKey, RNGSequences
from .filters import CollectionFilter, DenyList
from .recording import Call, Costs, Path, record

if TYPE_CHECKING:
    from .module import Module

T = TypeVar("T")

_NOTHING: Mapping[str, Any] = MappingProxyType({})


@dataclasses.dataclass
class Row:
    """One line of the table: a call to a module's method.

    Attributes:
      path: names from the outermost module to this one.
      module_copy: the module, unbound.
      method: the method's name.
      inputs, outputs: a `jax.ShapeDtypeStruct` for each array and text for everything else, in
        lists and dicts.
      module_variables: shapes of the module's own variables, by collection; empty if a row above
        has the same path.
      counted_variables: `module_variables` and those of submodules that have no row.
      flops: FLOPs of the call; -1 if not requested, or not known.
      vjp_flops: FLOPs of the call and its vector-Jacobian product; -1 as for `flops`.
    """

    path: tuple[str, ...]
    module_copy: Module
    method: str
    inputs: Any
    outputs: Any
    module_variables: dict[str, dict[str, Any]]
    counted_variables: dict[str, dict[str, Any]]
    flops: int
    vjp_flops: int

    def size_and_bytes(self, collections: Iterable[str]) -> dict[str, tuple[int, int]]:
        """Elements and bytes of `counted_variables` in each of the collections."""
        return {c: size_and_bytes(self.counted_variables.get(c, {})) for c in collections}


class Table(list[Row]):
    """The rows, in the order in which the calls begin.

    Attributes:
      module: the module that the table describes.
      collections: names of the collections that have variables, sorted.
    """

    def __init__(self, module: Module, collections: Sequence[str], rows: Iterable[Row]) -> None:
        super().__init__(rows)
        self.module = module
        self.collections = collections


def tabulate(
    module: Module,
    rngs: PRNGKey | RNGSequences,
    depth: int | None = None,
    show_repeated: bool = False,
    mutable: CollectionFilter = DenyList("intermediates"),
    console_kwargs: Mapping[str, Any] | None = None,
    table_kwargs: Mapping[str, Any] = _NOTHING,
    column_kwargs: Mapping[str, Any] = _NOTHING,
    compute_flops: bool = False,
    compute_vjp_flops: bool = False,
    **kwargs: object,
) -> Callable[..., str]:
    """A function (*args, **kwargs) that returns a table of the call `module(*args, **kwargs)`.

    The table has one row per module, in the order of calls: path, class, shapes of inputs and
    outputs, and for each collection the shapes of the module's variables with their elements and
    bytes. Nothing is computed and no array is made: `init` is traced with abstract inputs.

    If rich is installed (`linnet-module-core[rich]`), it draws the table; otherwise the table is
    plain text. It is as wide as the terminal, or 120 columns without one; if that is too narrow,
    dtypes are shortened (`f32[2,3]`) and lines wrapped.

    >>> import jax, jax.numpy as jnp
    >>> from linnet.module_core import linen as nn
    >>> class Affine(nn.Module):
    ...     features: int
    ...
    ...     @nn.compact
    ...     def __call__(self, x):
    ...         w = self.param("w", jax.nn.initializers.normal(), (x.shape[-1], self.features))
    ...         return x @ w
    >>> table = nn.tabulate(Affine(3), jax.random.key(0))(jnp.ones((8, 2)))
    >>> "float32[8,2]" in table and "w: float32[2,3]" in table and "6 (24 B)" in table
    True

    Args:
      module: the model.
      rngs: one key, for the stream "params", or keys by stream.
      depth: length of the longest path that gets a row; None for all. Deeper variables are counted.
      show_repeated: show every call to every method, instead of the first one at each path.
      mutable: the collections that `init` may make.
      console_kwargs, table_kwargs, column_kwargs: for rich's `Console`, `Table` and every column.
      compute_flops: add a column of XLA's FLOP count for each call, as `apply` would run it.
      compute_vjp_flops: add a column of the FLOPs of each call and of its vector-Jacobian product,
        for the gradient of the call's results and of its variables after it.
      **kwargs: arguments of the call, and `method` and `capture_intermediates` as in `init`.

    Returns:
      The function. Its inputs may be `jax.ShapeDtypeStruct`s.

    Raises:
      ArgumentError, ArgumentTypeError: `depth` is negative, or not an integer.
      MissingExtraError: arguments are given for rich, which is not installed.
    """
    depth = _checked_depth(depth)
    drawing.check_extra(console_kwargs, table_kwargs, column_kwargs)
    costs = Costs(compute_flops, compute_vjp_flops, depth, show_repeated)

    def describe(*args: object, **call_kwargs: object) -> str:
        rows = table(module, rngs, args, {**kwargs, **call_kwargs}, mutable=mutable, costs=costs)
        return drawing.draw(
            f"{type(module).__name__} Summary",
            *_columns(rows, costs),
            f"Total Parameters: {amount(*_total(rows))}",
            console_kwargs=console_kwargs,
            table_kwargs=table_kwargs,
            column_kwargs=column_kwargs,
        )

    return describe


def module_paths(
    module: Module,
    rngs: PRNGKey | RNGSequences,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    *,
    show_repeated: bool,
    mutable: CollectionFilter,
) -> dict[str, Module]:
    """The modules that a call uses, by path; see `Module.module_paths`."""
    costs = Costs(repeated=show_repeated)
    rows = table(module, rngs, args, kwargs, mutable=mutable, costs=costs)
    return {"/".join(row.path): row.module_copy for row in rows}


def table(
    module: Module,
    rngs: object,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    *,
    mutable: CollectionFilter,
    costs: Costs,
) -> Table:
    """The rows for `module.init(rngs, *args, **kwargs)`."""
    kwargs = dict(kwargs)
    calls, variables = record(
        module,
        rngs,
        args,
        kwargs,
        method=kwargs.pop("method", None),
        capture=kwargs.pop("capture_intermediates", False),
        mutable=mutable,
        costs=costs,
    )
    called = {call.path for call in calls}
    shown = {path for path in called if costs.depth is None or len(path) <= costs.depth}
    rows = [
        _row(call, variables, called, shown)
        for call in calls
        if call.path in shown and (call.first or costs.repeated)
    ]
    present = sorted(c for c, tree in variables.items() if _holds_values(tree))
    return Table(module, present, rows)


def _holds_values(tree: object) -> bool:
    """Whether a collection holds anything, arrays or not."""
    if isinstance(tree, Mapping):
        return any(map(_holds_values, tree.values()))
    return not (tree is None or tree == ())


def _row(call: Call, variables: Mapping[str, Any], called: set[Path], shown: set[Path]) -> Row:
    own, counted = {}, {}
    if call.first:
        at_path = {c: _descend(tree, call.path) for c, tree in variables.items()}
        own = {c: _prune(tree, call.path, called) for c, tree in at_path.items()}
        counted = {c: _prune(tree, call.path, shown) for c, tree in at_path.items()}
    return Row(
        call.path,
        call.module,
        call.method,
        call.inputs,
        call.outputs,
        own,
        counted,
        call.flops,
        call.vjp_flops,
    )


def _descend(tree: dict[str, Any], path: Path) -> dict[str, Any]:
    for name in path:
        tree = tree.get(name, {})
    return tree


def _prune(tree: dict[str, Any], path: Path, without: set[Path]) -> dict[str, Any]:
    """`tree`, which is at `path`, without the subtrees at the paths in `without`."""
    kept = {
        name: _prune(value, (*path, name), without) if isinstance(value, dict) else value
        for name, value in tree.items()
        if not (isinstance(value, dict) and (*path, name) in without)
    }
    return {name: value for name, value in kept.items() if value != {}}


def _checked_depth(depth: SupportsIndex | None) -> int | None:
    if depth is None:
        return None
    try:
        checked = operator.index(depth)
    except TypeError:
        raise ArgumentTypeError(
            f"depth must be an integer or None, got {depth!r} of type {type(depth).__name__}.",
            hint="depth=1 shows the model and its submodules; None shows all modules.",
        ) from None
    if checked < 0:
        raise ArgumentError(
            f"depth must be at least 0, got {checked}.",
            hint="depth=0 shows the model alone; None shows all modules.",
        )
    return checked


# Cells.


def _columns(rows: Table, costs: Costs) -> tuple[list[Column], list[Column]]:
    """The table's columns, and a smaller set for narrow output."""
    path = Column(["path"], [["/".join(r.path)] if r.path else [] for r in rows], [])
    repeated = {r.path: getattr(r.module_copy, "_times", None) for r in rows}
    module = Column(["module"], [[_label(r, repeated.get(r.path[:-1]))] for r in rows], [])
    inputs = Column(["inputs"], [lines_of(r.inputs) for r in rows], [])
    outputs = Column(["outputs"], [lines_of(r.outputs) for r in rows], [])
    flops = _numbers("flops", [r.flops for r in rows])
    vjp_flops = _numbers("vjp_flops", [r.vjp_flops for r in rows])
    both = [flops] * costs.flops + [vjp_flops] * costs.vjp_flops
    collections = [
        Column([c], [_variables(r, c) for r in rows], [amount(*_total(rows, [c]))])
        for c in rows.collections
    ]
    wide = [path, module, inputs, outputs, *both]
    narrow = [path.over(module, "  "), inputs.over(outputs, "-> "), *both]
    if len(both) == 2:
        narrow[-2:] = [flops.over(vjp_flops)]
    for before in wide, narrow:
        before[-1] = dataclasses.replace(before[-1], footer=["Total"])
    return wide + collections, narrow + collections


def _numbers(title: str, numbers: list[int]) -> Column:
    texts = [f"{n:,}" if n >= 0 else "unknown" for n in numbers]
    return Column([title], [[text] for text in texts], [], right=True)


def _label(row: Row, times: int | None) -> str:
    cls = type(row.module_copy).__name__
    if times is not None and row.path:
        cls = f"{cls} x {times}"
    return cls if row.method == "__call__" else f"{cls} ({row.method})"


def _variables(row: Row, collection: str) -> list[str]:
    own = row.module_variables.get(collection)
    size, num_bytes = row.size_and_bytes([collection])[collection]
    return (lines_of(own) if own else []) + ([amount(size, num_bytes)] if size else [])


def _total(rows: Table, collections: Sequence[str] | None = None) -> tuple[int, int]:
    sums = [
        amount
        for row in rows
        for amount in row.size_and_bytes(collections or rows.collections).values()
    ]
    return sum(size for size, _ in sums), sum(num_bytes for _, num_bytes in sums)
