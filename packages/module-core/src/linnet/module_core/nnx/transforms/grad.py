"""`grad` and `value_and_grad` with respect to some of the leaves of a module.

`DiffState` selects them: the leaves that pass a filter, in the argument at a position. A bare
position means the parameters of that argument. The selected values are the differentiated argument
of `jax.value_and_grad`, all others bypass it, and the function's changes to its modules are
returned as auxiliary data.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from ...errors import ArgumentError, ArgumentTypeError, counted
from ...records import Record
from ...tracebacks import entry
from ..filters import Filter, to_predicate
from ..structure.bundle import Hole
from ..structure.effect import Inside
from ..structure.states import Path, State, from_flat_state, to_flat_state
from ..structure.structure import build
from ..variable.variable import Variable, new_variable
from ..variable.variable_types import Param
from .calling import (
    Transformed,
    adds_gradient,
    given,
    gives_gradient,
    names_of,
    positional,
    refuse_bound_method,
    resolve,
)
from .lifting import Lifted
from .prefixes import FilterMapping, part_of
from .tree_mode import Modes


class DiffState(Record):
    """Selects variables of differentiation: the leaves of argument `argnum` that pass `filter`."""

    argnum: int
    filter: Filter

    def __init__(self, argnum: int, filter: Filter) -> None:
        vars(self).update(argnum=argnum, filter=filter)

    def map_prefix(self, path: Path, variable: object) -> bool:
        """Whether a variable at a path of its module passes the filter."""
        return to_predicate(self.filter)(path, variable)


class Chosen(FilterMapping):
    """The spec of a differentiated argument: True for the leaves that pass the filter.

    Args:
      filter: the filter of a `DiffState`. None is the default: the parameters of a module, but
        every variable of a state or of any other tree of variables.
    """

    every_path = True

    def __init__(self, filter: Filter | None) -> None:
        self._default = filter is None
        super().__init__([(Param if filter is None else filter, True), (..., False)])

    def spec_below(self, at: Path, path: Path, leaf: object) -> object:
        if path == () and (self._default or at == ()):  # a variable, by itself or in a tree
            return True
        return super().spec_below(at, path, leaf)


class Grad(Transformed[..., Any]):
    """The result of `grad` and `value_and_grad`."""

    def __init__(
        self,
        fun: Callable[..., Any],
        name: str,
        argnums: int | DiffState | Sequence[int | DiffState],
        has_aux: bool,
        modes: Modes,
        **options: Any,
    ) -> None:
        super().__init__(fun)
        self._fun, self._bound = resolve(fun)
        self._names = names_of(self._fun)
        self._name = name
        self._several = not isinstance(argnums, (int, DiffState))
        self._wanted: tuple[int | DiffState, ...] = (
            (argnums,) if isinstance(argnums, (int, DiffState)) else tuple(argnums)
        )
        self._has_aux = has_aux
        self._modes = modes
        modes.refuse_filters(self._wanted, "argnums")
        self._options = options
        for one in self._wanted:
            if not isinstance(one, (int, DiffState)):
                raise ArgumentTypeError(
                    f"argnums of nnx.{name} must hold ints and nnx.DiffState, got {one!r}."
                )

    def _positions(self, count: int) -> dict[int, Any]:
        shift = len(self._bound)
        found: dict[int, Any] = {}
        for one in self._wanted:
            argnum = one.argnum if isinstance(one, DiffState) else one
            position = argnum + shift if argnum >= 0 else argnum + count
            if not shift <= position < count:
                raise ArgumentTypeError(
                    f"differentiating with respect to argnums={argnum} requires at least"
                    f" {counted(argnum + 1 if argnum >= 0 else -argnum, 'positional argument')}"
                    " to be passed by the caller, but got only"
                    f" {counted(count - shift, 'positional argument')}."
                )
            if position in found:
                raise ArgumentError(
                    f"argnum {argnum} is repeated in argnums",
                    hint=(
                        "To select several kinds of variables, use one DiffState with nnx.Any(...)."
                    ),
                )
            default = ... if self._modes.tree else None
            found[position] = Chosen(one.filter if isinstance(one, DiffState) else default)
        return found

    @entry
    def __call__(self, *args: object, **kwargs: object) -> object:
        given, named = positional(self._fun, self._bound + args, kwargs)
        positions = self._positions(len(given))
        prefix = (*(positions.get(i) for i in range(len(given))), None)
        lifted = Lifted(prefix, (*given, named), "argnums", self._names, self._modes, self._name)
        values = lifted.bundle.values()
        chosen = [i for i, spec in enumerate(lifted.specs) if spec is True]
        self._check(lifted, values, chosen)
        *plain_args, named = lifted.args

        def run(by: tuple[list[Any], list[Any]]) -> tuple[Any, Any]:
            by_values, by_args = by
            inner = list(values)
            for i, value in zip(chosen, by_values, strict=True):
                inner[i] = value
            inner_args = list(plain_args)
            for i, value in zip(positions, by_args, strict=True):
                inner_args[i] = value
            inside = Inside(lifted.bundle.graphdef, inner, self._modes.tree)
            output = inside.call(self._fun, inner_args, named)
            if self._has_aux:
                if not (isinstance(output, tuple) and len(output) == 2):
                    raise ArgumentTypeError(
                        f"nnx.{self._name} with has_aux=True expects a function that returns"
                        f" (loss, aux), got {type(output).__name__}."
                    )
                loss, aux = output
            else:
                loss, aux = output, None
            return loss, inside.leave(aux)

        by = ([values[i] for i in chosen], [plain_args[i] for i in positions])
        (loss, outcome), (by_values, by_args) = jax.value_and_grad(
            run, has_aux=True, **self._options
        )(by)
        gradients = dict(zip(chosen, by_values, strict=True))
        made = self._gradients(lifted, gradients, by_args)
        aux = self._modes.apply(lifted.bundle, outcome, self._name)
        value = (loss, aux) if self._has_aux else loss
        result = made if self._several else made[0]
        if self._name == "value_and_grad":
            return value, result
        return (result, aux) if self._has_aux else result

    def _check(self, lifted: Lifted, values: list[Any], chosen: list[int]) -> None:
        if self._options["allow_int"]:
            return
        types = lifted.bundle.graphdef.leaf_types
        for i in chosen:
            dtype = jnp.result_type(values[i])
            if not jnp.issubdtype(dtype, jnp.inexact):
                kind = types[i][0]
                raise ArgumentTypeError(
                    f"{self._name} requires real- or complex-valued inputs (input dtype that is a"
                    f" sub-dtype of np.inexact), but got {dtype} for"
                    f" {'an array' if kind is None else kind.__name__} at {lifted.form.where(i)}.",
                    hint=(
                        "Select the variables to differentiate with nnx.DiffState(argnum, "
                        "filter), keep integers in a different type of variable, or set allow_int."
                    ),
                )

    def _gradients(
        self, lifted: Lifted, gradients: dict[int, Any], by_args: Sequence[Any]
    ) -> tuple[Any, ...]:
        """The tree of each argument, with a state of gradients in place of each object."""
        bundle = lifted.bundle
        paths, types = bundle.graphdef.paths, bundle.graphdef.leaf_types
        several = bundle.graphdef.num_roots != 1
        of_root: dict[int, list[tuple[Any, Any]]] = {}
        for i, gradient in gradients.items():
            root, path = (paths[i][0], paths[i][1:]) if several else (0, paths[i])
            cls, metadata = types[i]
            if cls is not None:
                gradient = new_variable(cls, gradient, metadata.items)
            of_root.setdefault(root, []).append((path, gradient))
        given: set[int] = set()

        def fill(hole: object) -> object:
            if type(hole) is not Hole:
                return hole
            if self._modes.tree:
                return self._as_object(bundle.roots[hole.index], of_root.get(hole.index, []))
            found = [] if hole.index in given else of_root.get(hole.index, [])
            given.add(hole.index)  # a repeated object has its gradients at the first occurrence
            if isinstance(bundle.roots[hole.index], Variable) and found:
                return found[0][1]
            return from_flat_state(found)

        return tuple(
            _without_empty(jax.tree_util.tree_map(fill, a, is_leaf=lambda x: type(x) is Hole))
            for a in by_args
        )

    def _as_object(self, root: object, found: list[tuple[Any, Any]]) -> object:
        part = part_of(root)
        by_path = dict(found)
        leaves = [
            by_path.get(p, leaf) for p, leaf in zip(part.graphdef.paths, part.leaves, strict=True)
        ]
        return build(part.graphdef, leaves)[0][0]


def _without_empty(gradient: object) -> object:
    """The gradient of a state, without the variables that have no gradient."""
    return from_flat_state(to_flat_state(gradient)) if isinstance(gradient, State) else gradient


@gives_gradient
def grad(
    f: Callable[..., Any] | None = None,
    *,
    argnums: int | DiffState | Sequence[int | DiffState] = 0,
    has_aux: bool = False,
    holomorphic: bool = False,
    allow_int: bool = False,
    reduce_axes: Sequence[Hashable] = (),
    graph: bool | None = None,
    graph_updates: bool | None = None,
) -> Grad:
    """`jax.grad` for functions of modules.

    Args:
      f: the function, which returns a scalar; if omitted, a decorator is returned.
      argnums: the variables of differentiation: positions of arguments (for modules, their
        `Param`s) or `DiffState`s. With a sequence, the gradient is a tuple.
      has_aux: whether the function returns (loss, anything else).
      holomorphic, allow_int: see `jax.grad`.
      reduce_axes: accepted for old programs; must be empty.
      graph: if False, shared references raise an error, and the gradient of a module is a module
        of the same structure.
      graph_updates: if False, the gradient of a module is a module, too, and only values reach the
        caller's objects, not changes of structure.

    Returns:
      A function that returns the gradient; for a module this is a `State` of variables. With
      `has_aux`, it returns (gradient, anything else).

    >>> import jax.numpy as jnp
    >>> from linnet.module_core import nnx
    >>> class Scale(nnx.Module):
    ...     def __init__(self):
    ...         self.factor = nnx.Param(jnp.full((), 2.0))
    >>> grad(lambda m, x: m.factor**2 * x)(Scale(), 3.0).factor[...]
    Array(12., dtype=float32)
    """
    refuse_bound_method(f, "grad")
    _refuse_axes(reduce_axes)
    modes = Modes(graph, graph_updates)
    options = {"holomorphic": holomorphic, "allow_int": allow_int}
    return Grad(given(f), "grad", argnums, has_aux, modes, **options)


@adds_gradient
def value_and_grad(
    f: Callable[..., Any] | None = None,
    *,
    argnums: int | DiffState | Sequence[int | DiffState] = 0,
    has_aux: bool = False,
    holomorphic: bool = False,
    allow_int: bool = False,
    reduce_axes: Sequence[Hashable] = (),
    graph: bool | None = None,
    graph_updates: bool | None = None,
) -> Grad:
    """`jax.value_and_grad` for functions of modules; takes the arguments of `grad`.

    Returns:
      A function that returns (value, gradient); with `has_aux`, ((value, anything else), gradient).
    """
    refuse_bound_method(f, "value_and_grad")
    _refuse_axes(reduce_axes)
    modes = Modes(graph, graph_updates)
    options = {"holomorphic": holomorphic, "allow_int": allow_int}
    return Grad(given(f), "value_and_grad", argnums, has_aux, modes, **options)


def _refuse_axes(reduce_axes: Sequence[Hashable]) -> None:
    if tuple(reduce_axes):
        raise ArgumentError(
            "reduce_axes must be empty, since jax no longer supports it.",
            hint="Reduce the gradient with jax.lax.psum.",
        )
