"""`tabulate`: a table of the calls to a model's modules.

The model runs once, on abstract values (see `abstract`), while the classes of its modules record
the calls to their public methods: the module, and the shapes of inputs and outputs. The first call
to each method of each module becomes a row, with the module's variables by type. Drawing the table
and counting FLOPs are shared with linen.

To count FLOPs, each such call becomes a `jax.jit` in the surrounding program: it runs on new
objects with the values of its own trace, and its changes are then applied to the outer objects.
The FLOPs of each call can thus be counted without running anything twice.

A row lists the variables that its module itself holds, and sums up all variables below it.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import FunctionType, MappingProxyType
from typing import Any

import jax

from ..errors import ArgumentError, did_you_mean
from ..tables.cells import Text, amount, lines_of, represent, represent_inputs, size_and_bytes
from ..tables.drawing import Column, check_extra, draw
from ..tables.flops import UNKNOWN, count, is_array, pullback
from .abstract import eval_shape
from .containers import Dict, List
from .module import Module
from .nodes.contents import attribute_names, path_name
from .nodes.pytree import Pytree
from .repeat import Repeat
from .streams.rngs import RngStream
from .structure.bundle import Bundle, detach_nodes, put_back
from .structure.effect import Inside, Outcome, apply
from .structure.iteration import follow, iter_graph
from .structure.states import Path
from .transforms.jit import Jitted
from .variable.variable import Variable
from .variable.variable_types import RngState

_NOTHING: Mapping[str, Any] = MappingProxyType({})
_ABSENT = object()


@dataclasses.dataclass
class CallInfo:
    """The first call to a module, or to one of its other methods.

    Attributes:
      path: path of the module, followed by the name of the method unless that is `__call__`.
      type: the module's class.
      inputs, outputs: a `jax.ShapeDtypeStruct` for each array, and text for other values.
      variables: shapes of all variables below the module, by type and relative path.
      own: the same for the variables that the module holds itself, even in lists and dicts; a
        variable with metadata is a dict of its metadata, with the shape under "value".
      flops, vjp_flops: FLOPs of the call, without and with its vector-Jacobian product; -1 if not
        requested.
    """

    path: Path
    type: type[Any]
    inputs: Any
    outputs: Any = None
    variables: dict[str, dict[Path, Any]] = dataclasses.field(default_factory=dict)
    own: dict[str, dict[Path, Any]] = dataclasses.field(default_factory=dict)
    flops: int = UNKNOWN
    vjp_flops: int = UNKNOWN


def filter_rng_streams(row: CallInfo) -> bool:
    """Whether a row is not a stream of random keys."""
    return not issubclass(row.type, RngStream)


def tabulate(
    obj: object,
    *input_args: object,
    depth: int | None = None,
    method: str = "__call__",
    row_filter: Callable[[CallInfo], bool] = filter_rng_streams,
    table_kwargs: Mapping[str, Any] = _NOTHING,
    column_kwargs: Mapping[str, Any] = _NOTHING,
    console_kwargs: Mapping[str, Any] = _NOTHING,
    compute_flops: bool = False,
    compute_vjp_flops: bool = False,
    **input_kwargs: object,
) -> str:
    """Summarizes a call to a module in a table.

    Each module has a row, and another for each of its other public methods that is called, in the
    order of calls: path, class, shapes of inputs and outputs, and for each type of variable, the
    shapes (with metadata, if any), elements and bytes. The model is traced once, nothing is
    computed, and the module is not changed.

    If rich is installed (`linnet-module-core[rich]`), it draws the table; otherwise it is plain
    text.

    Args:
      obj: the module.
      *input_args: arguments of the call, arrays or `jax.ShapeDtypeStruct`s. Flags, numbers and
        strings are passed on unchanged.
      depth: length of the longest path that gets a row; None for no limit.
      method: the name of the method to call.
      row_filter: which rows to show.
      table_kwargs, column_kwargs, console_kwargs: for rich's `Table`, every column and `Console`.
      compute_flops: adds a column with the FLOPs of each call, as counted by XLA.
      compute_vjp_flops: adds a column with the FLOPs of each call and its vector-Jacobian product.
      **input_kwargs: keyword arguments of the call.

    Returns:
      The table.

    Raises:
      ArgumentError: the method doesn't exist.
      MissingExtraError: arguments for rich are given, but rich is not installed.

    >>> import jax.numpy as jnp
    >>> from linnet.module_core import nnx
    >>> class Linear(nnx.Module):
    ...     def __init__(self, din, dout):
    ...         self.kernel = nnx.Param(jnp.zeros((din, dout)))
    ...     def __call__(self, x):
    ...         return x @ self.kernel
    >>> table = nnx.tabulate(Linear(2, 3), jnp.ones((8, 2)))
    >>> "float32[8,2]" in table and "kernel: float32[2,3]" in table and "6 (24 B)" in table
    True
    """
    check_extra(console_kwargs, table_kwargs, column_kwargs)
    if not callable(getattr(type(obj), method, None)):
        known = [n for n in dir(type(obj)) if not n.startswith("_")]
        raise ArgumentError(
            f"{type(obj).__name__} has no method {method!r}. {did_you_mean(method, known)}"
        )
    rows = calls_of(
        obj, method, input_args, input_kwargs, flops=compute_flops, vjp_flops=compute_vjp_flops
    )
    types = sorted({name for row in rows for name in row.variables})
    totals = {
        name: size_and_bytes(list(rows[0].variables.get(name, {}).values())) for name in types
    }
    shown = [r for r in rows if (depth is None or len(r.path) <= depth) and row_filter(r)]
    costs = [
        _numbers(title, [getattr(r, title) for r in shown])
        for title, wanted in (("flops", compute_flops), ("vjp_flops", compute_vjp_flops))
        if wanted
    ]
    path = Column(["path"], [["/".join(map(str, r.path))] if r.path else [] for r in shown], [])
    kind = Column(["type"], [[_label(obj, r)] for r in shown], [])
    inputs = Column(["inputs"], [lines_of(r.inputs) for r in shown], [])
    outputs = Column(["outputs"], [lines_of(r.outputs) for r in shown], [])
    by_type = [
        Column([name], [_cell(r, name) for r in shown], [amount(*totals[name])]) for name in types
    ]
    wide = [path, kind, inputs, outputs, *costs]
    narrow = [path.over(kind, "  "), inputs.over(outputs, "-> "), *costs]
    for before in wide, narrow:
        before[-1] = dataclasses.replace(before[-1], footer=["Total"])
    size, num_bytes = (sum(x) for x in zip(*totals.values(), strict=True)) if totals else (0, 0)
    return draw(
        f"{type(obj).__name__} Summary",
        wide + by_type,
        narrow + by_type,
        f"Total Parameters: {amount(size, num_bytes)}",
        console_kwargs=console_kwargs,
        table_kwargs=table_kwargs,
        column_kwargs=column_kwargs,
    )


def _label(obj: object, row: CallInfo) -> str:
    name = row.type.__name__
    above = follow(obj, row.path[:-1]) if row.path else None
    if isinstance(above, Repeat):
        name = f"{name} x {above.length // above.layers_per_block}"
    return name


def _numbers(title: str, numbers: list[int]) -> Column:
    texts = [f"{n:,}" if n >= 0 else "unknown" for n in numbers]
    return Column([title], [[text] for text in texts], [], right=True)


def _cell(row: CallInfo, name: str) -> list[str]:
    listed = {"/".join(map(str, p)): x for p, x in row.own.get(name, {}).items()}
    size, num_bytes = size_and_bytes(list(row.variables.get(name, {}).values()))
    return (lines_of(listed) if listed else []) + ([amount(size, num_bytes)] if size else [])


def calls_of(
    obj: object,
    method: str,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    *,
    flops: bool = False,
    vjp_flops: bool = False,
) -> list[CallInfo]:
    """The first call to each method while `method` runs on abstract values, its own call first."""
    found: list[CallInfo] = []

    def run(root: object, *inner_args: object, **inner_kwargs: object) -> None:
        places = _Places()
        modules: list[tuple[Path, Module]] = []
        for path, value in iter_graph(root):
            if isinstance(value, Module):
                places.add(value, path)
                modules.append((path, value))
        rows: dict[Path, list[CallInfo]] = {}
        begun: set[tuple[Path, str]] = set()
        sliced: set[Path] = set()  # of modules that ran as one layer of several

        def note(
            function: Callable[..., Any],
            name: str,
            module: object,
            a: tuple[Any, ...],
            k: dict[str, Any],
        ) -> object:
            path = places.of(module)
            if path is None or (path, name) in begun:
                return function(module, *a, **k)
            begun.add((path, name))
            where = path if name == "__call__" else (*path, name)
            row = CallInfo(where, type(module), _shapes(a, k))
            row.variables = _by_type(module)
            rows.setdefault(path, []).append(row)
            found.append(row)
            if isinstance(module, Repeat) and name == "__call__":
                sliced.update(_note_layers(module, path, places, a, k))
            if not (flops or vjp_flops):
                output = function(module, *a, **k)
            else:
                call = _Call(function, module, a, k, places)
                output = call.run()
                row.flops = call.flops() if flops else UNKNOWN
                row.vjp_flops = call.vjp_flops() if vjp_flops else UNKNOWN
            row.outputs = represent(_named(output))
            return output

        with _noting({type(m) for _, m in modules}, (type(root), method), note):
            getattr(type(root), method)(root, *inner_args, **inner_kwargs)
        for path, module in modules:
            for row in rows.get(path, ()):
                row.own = _by_type(module, own=True)
                if path in sliced:
                    row.variables = _by_type(module)

    eval_shape(run, obj, *args, **kwargs)
    return found


def _note_layers(
    module: Repeat[Any], path: Path, places: _Places, args: Any, kwargs: dict[str, Any]
) -> list[Path]:
    """Records the calls inside a repeated layer by running the first one; returns their paths."""
    found: list[Path] = []
    blocks, run = module._first_step(args, kwargs)
    for name, block in zip(module._names, blocks, strict=True):
        for below, value in iter_graph(block):
            if isinstance(value, Module):
                found.append((*path, name, *below))
                places.add(value, found[-1])
    run()
    return found


class _Places:
    """The paths of modules, and of their copies in other traces."""

    def __init__(self) -> None:
        self._paths: dict[int, Path] = {}
        self._kept: list[Any] = []  # keeps the ids from being reused

    def add(self, module: object, path: Path) -> None:
        self._paths[id(module)] = path
        self._kept.append(module)

    def of(self, module: object) -> Path | None:
        return self._paths.get(id(module))


@contextmanager
def _noting(classes: set[type], root: tuple[type, str], note: Callable[..., Any]) -> Iterator[None]:
    """A context in which the modules' classes record calls to their methods."""
    wanted = {(cls, name) for cls in classes for name in _methods_of(cls)} | {root}
    replaced: list[tuple[type, str, Any]] = []

    def noting(function: Callable[..., Any], name: str) -> Callable[..., Any]:
        @functools.wraps(function)
        def run(module: object, *args: object, **kwargs: object) -> object:
            return note(function, name, module, args, kwargs)

        return run

    try:
        for cls, name in wanted:
            function = getattr(cls, name)
            if isinstance(function, Jitted):  # inside it, the modules would be different objects
                function = function.__wrapped__
            replaced.append((cls, name, cls.__dict__.get(name, _ABSENT)))
            setattr(cls, name, noting(function, name))
        yield
    finally:
        for cls, name, original in replaced:
            if original is _ABSENT:
                delattr(cls, name)
            else:
                setattr(cls, name, original)


def _methods_of(cls: type) -> Iterator[str]:
    """`__call__` and the public methods of a class, except those that all modules have."""
    for name in dir(cls):
        if name.startswith("_") and name != "__call__":
            continue
        found = inspect.getattr_static(cls, name)
        if isinstance(found, (FunctionType, Jitted)) and found is not getattr(Module, name, None):
            yield name


class _Call:
    """A call as a function of arrays, traced once, so that its FLOPs can be counted.

    Args:
      function: the function, whose first argument is the module.
      module: the module.
      args, kwargs: the other arguments.
      places: records the copies of the module and the modules below it.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        module: object,
        args: object,
        kwargs: dict[str, Any],
        places: _Places,
    ) -> None:
        roots: list[Any] = [module]
        tree = detach_nodes((args, kwargs), roots, {id(module): 0})
        self._function = function
        self._places = places
        self._bundle = Bundle(roots)
        leaves, self._structure = jax.tree.flatten((self._bundle.values(), tree))
        self._given = _Parts(leaves)
        self._jitted: Callable[[list[Any]], list[Any]] = jax.jit(self._run)

    def run(self) -> object:
        """Runs the call: applies its changes to the objects, and returns its output."""
        arrays = self._jitted(self._given.arrays)
        output, values = jax.tree.unflatten(self._made, self._rest.filled(arrays))
        return apply(self._bundle, Outcome(output, values, self._effect))

    def flops(self) -> int:
        """The FLOPs of the call, or -1 if unknown."""
        return count(self._jitted, (self._given.arrays,))

    def vjp_flops(self) -> int:
        """The FLOPs of the call and its pullback to variables and arguments, or -1 if unknown."""
        return count(pullback(self._jitted), (self._given.arrays,))

    def _run(self, arrays: list[Any]) -> list[Any]:
        """The arrays that the call returns or stores in objects."""
        values, tree = jax.tree.unflatten(self._structure, self._given.filled(arrays))
        inside = Inside(self._bundle.graphdef, values)
        for outer, inner in zip(self._bundle.nodes(), inside.nodes, strict=True):
            path = self._places.of(outer)
            if path is not None:
                self._places.add(inner, path)
        args, kwargs = put_back(tree, inside.roots)
        outcome = inside.leave(self._function(inside.roots[0], *args, **kwargs))
        self._effect = outcome.effect
        leaves, self._made = jax.tree.flatten((outcome.output, outcome.values))
        self._rest = _Parts(leaves)
        made, self._rest.arrays = self._rest.arrays, []  # their trace ends here
        return made


class _Parts:
    """Leaves, separated into arrays and other values."""

    def __init__(self, leaves: list[Any]) -> None:
        self.arrays = [x for x in leaves if is_array(x)]
        self._is_array = [is_array(x) for x in leaves]
        self._rest = [None if a else x for a, x in zip(self._is_array, leaves, strict=True)]

    def filled(self, arrays: list[Any]) -> list[Any]:
        """The leaves, with their arrays replaced."""
        given = iter(arrays)
        return [next(given) if a else x for a, x in zip(self._is_array, self._rest, strict=True)]


def _shapes(args: object, kwargs: object) -> object:
    return represent_inputs(*_named((args, kwargs)))


def _named(tree: object) -> Any:
    """The tree with each object replaced by its class."""
    return jax.tree.map(
        lambda x: type(x) if isinstance(x, Pytree) else x,
        tree,
        is_leaf=lambda x: isinstance(x, Pytree),
    )


def _with_metadata(variable: Variable[Any]) -> object:
    shape = represent(variable.raw_value)
    metadata = {k: x for k, x in variable.get_metadata().items() if x is not None}
    if not metadata:
        return shape
    texts = {k: Text(x) if isinstance(x, str) else represent(x) for k, x in metadata.items()}
    return {**dict(sorted(texts.items())), "value": shape}


def _by_type(module: object, own: bool = False) -> dict[str, dict[Path, Any]]:
    """Shapes of the variables below a module, by type and path.

    Args:
      module: the module.
      own: leaves out the variables of objects below the module, except for lists and dicts.
    """
    variables = _VariablesByType(module, own)
    variables.add(module, ())
    return variables.found


class _VariablesByType:
    """See `_by_type`."""

    def __init__(self, module: object, own: bool) -> None:
        self.found: dict[str, dict[Path, Any]] = {}
        self._module = module
        self._own = own
        self._seen: set[int] = set()

    def add(self, value: object, path: Path) -> None:
        if isinstance(value, Variable):
            if id(value) not in self._seen:
                self._seen.add(id(value))
                name = "RngState" if isinstance(value, RngState) else type(value).__name__
                self.found.setdefault(name, {})[path] = (
                    _with_metadata(value) if self._own else represent(value.raw_value)
                )
        elif isinstance(value, Pytree):
            below = value is not self._module and not isinstance(value, (List, Dict))
            if id(value) in self._seen or (self._own and below):
                return
            self._seen.add(id(value))
            for name in attribute_names(value):
                self.add(value.__dict__[name], (*path, path_name(type(value), name)))
        elif isinstance(value, dict):
            for key, item in value.items():
                self.add(item, (*path, key))
        elif isinstance(value, (list, tuple)):
            for i, item in enumerate(value):
                self.add(item, (*path, i))
