"""`jvp`, `vjp` and `custom_vjp`.

The tangent or cotangent of a module is a module of the same structure with tangents as values
(`jax.tree.map` over a clone makes one), or a `State` of them. It covers all leaves of the module;
the tangents of integers and keys have dtype `jax.dtypes.float0` and are filled in here.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Hashable, Sequence
from typing import Any, Literal, TypeVar, overload

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from ...errors import ArgumentError, ArgumentTypeError, counted
from ...tracebacks import entry
from ...typing import PyTree
from ..structure.bundle import Hole, put_back
from ..structure.effect import After, Inside, Outcome, Plan
from ..structure.graph import flat_leaves
from ..structure.states import FlatState, State, from_flat_state, path_text, to_flat_state
from ..structure.structure import build
from ..variable.variable import Variable
from .calling import P, R, Transformed, names_of, positional, refuse_bound_method, resolve
from .grad import DiffState
from .lifting import Lifted
from .prefixes import part_of
from .tree_mode import Modes

A = TypeVar("A")  # the auxiliary output of a function


def _lifted(
    fun: Callable[..., Any], args: tuple[Any, ...], modes: Modes, name: str
) -> tuple[Callable[..., Any], Lifted]:
    fun, bound = resolve(fun)
    args = bound + args
    return fun, Lifted((None,) * len(args), args, name, names_of(fun), modes, name)


def _runner(
    fun: Callable[..., Any], lifted: Lifted, has_aux: bool
) -> Callable[..., tuple[Any, Any]]:
    """The function of values and arguments; changes to objects join its auxiliary output."""

    def run(values: list[Any], args: tuple[Any, ...]) -> tuple[Any, Any]:
        inside = Inside(lifted.bundle.graphdef, values, lifted.modes.tree)
        output: Any = inside.call(fun, args, {})
        aux = None
        if has_aux:
            output, aux = output
        outcome = inside.leave((output, aux))
        (output, aux), outcome.output = outcome.output, None
        if any(type(x) is Hole for x in _leaves(output)):
            raise ArgumentTypeError(
                "A differentiated function must return arrays, not modules.",
                hint="Return the module next to them, with has_aux=True.",
            )
        return output, (aux, outcome)

    return run


def _leaves(tree: PyTree) -> list[Any]:
    return jax.tree_util.tree_leaves(tree, is_leaf=lambda x: type(x) is Hole)


def _finish(lifted: Lifted, aux: object, outcome: Outcome) -> object:
    outcome.output = aux
    return lifted.modes.apply(lifted.bundle, outcome, lifted.transform)


def _zero(value: object) -> object:
    """The zero tangent or cotangent of a variable's value, which may be a tree."""

    def of_array(x: ArrayLike) -> object:
        if jnp.issubdtype(jnp.result_type(x), jnp.inexact):
            return jnp.zeros_like(x)
        return np.zeros(jnp.shape(x), jax.dtypes.float0)

    return jax.tree_util.tree_map(of_array, value)


def _inexact_of(given: object, zero: object) -> object:
    """The given tangent of a value, with zeros in place of those of integers and keys."""
    return jax.tree_util.tree_map(
        lambda z, g: z if z.dtype == jax.dtypes.float0 else g, zero, given
    )


def _tangents_of(lifted: Lifted, tangents: tuple[Any, ...]) -> tuple[list[Any], Any]:
    """The tangents of the objects' leaves, and the tangents of the other arguments."""
    values = lifted.bundle.values()
    of_leaf: list[Any] = [None] * len(values)
    index_of = {id(leaf): i for i, leaf in enumerate(lifted.bundle.leaves()) if leaf is not None}

    def fill(hole: object, tangent: PyTree) -> object:
        if type(hole) is not Hole:
            return tangent
        root = lifted.bundle.roots[hole.index]
        part = part_of(root)
        given = _by_path(tangent)
        for leaf, path in zip(part.leaves, part.graphdef.paths, strict=True):
            if leaf is None:
                continue
            if path not in given:
                raise ArgumentError(
                    f"The tangent of a module has nothing at {path_text(path)}.",
                    hint="Make one with jax.tree.map over nnx.clone(module) or nnx.state(module).",
                )
            new = given.pop(path)
            of_leaf[index_of[id(leaf)]] = new.raw_value if isinstance(new, Variable) else new
        return hole

    detached = jax.tree_util.tree_map(
        fill, lifted.args, tangents, is_leaf=lambda x: type(x) is Hole
    )
    filled = [
        _zero(v) if t is None else _inexact_of(t, _zero(v))
        for v, t in zip(values, of_leaf, strict=True)
    ]
    return filled, detached


def _by_path(tangent: PyTree) -> dict[Any, Any]:
    if isinstance(tangent, FlatState):
        return dict(tangent)
    if isinstance(tangent, (State, dict)):
        return dict(to_flat_state(tangent))
    graphdef, leaves = flat_leaves(tangent)
    return dict(zip(graphdef.paths, leaves, strict=True))


def _as_objects(lifted: Lifted, values: list[Any], args: tuple[Any, ...]) -> tuple[Any, ...]:
    """The cotangents in the structure of the arguments, with modules for modules."""
    roots, _ = build(lifted.bundle.graphdef, values)
    return tuple(put_back(args, roots))


@overload
def jvp(
    f: Callable[..., R],
    primals: tuple[Any, ...],
    tangents: tuple[Any, ...],
    *,
    has_aux: Literal[False] = False,
    graph: bool | None = None,
    graph_updates: bool | None = None,
) -> tuple[R, R]: ...
@overload
def jvp(
    f: Callable[..., tuple[R, A]],
    primals: tuple[Any, ...],
    tangents: tuple[Any, ...],
    *,
    has_aux: Literal[True],
    graph: bool | None = None,
    graph_updates: bool | None = None,
) -> tuple[R, R, A]: ...
@overload
def jvp(
    f: Callable[..., R],
    *,
    has_aux: Literal[False] = False,
    graph: bool | None = None,
    graph_updates: bool | None = None,
) -> Callable[[tuple[Any, ...], tuple[Any, ...]], tuple[R, R]]: ...
@overload
def jvp(
    f: Callable[..., Any] | None = None,
    *,
    has_aux: bool = False,
    graph: bool | None = None,
    graph_updates: bool | None = None,
) -> Callable[..., Any]: ...
def jvp(
    f: Callable[..., Any] | None = None,
    primals: PyTree = None,
    tangents: PyTree = None,
    *,
    has_aux: bool = False,
    graph: bool | None = None,
    graph_updates: bool | None = None,
) -> tuple[Any, ...] | Callable[..., Any]:
    """`jax.jvp` for functions of modules: the output and its tangent.

    Args:
      f: the function; if omitted, a decorator is returned. Without primals, the result is a
        function of primals and tangents.
      primals: the tuple of arguments.
      tangents: a tuple of the same length; for a module, a module or a `State` of tangents.
      has_aux: whether the function returns (output, anything else).
      graph, graph_updates: see `nnx.grad`.

    >>> import jax.numpy as jnp
    >>> jvp(lambda x: x**2, (3.0,), (1.0,))[1]
    Array(6., dtype=float32, weak_type=True)
    """
    options: Any = {"has_aux": has_aux, "graph": graph, "graph_updates": graph_updates}
    if f is None:
        return lambda f: jvp(f, **options)
    if primals is None:
        return lambda primals, tangents: jvp(f, primals, tangents, **options)
    refuse_bound_method(f, "jvp")
    if not (isinstance(primals, tuple) and isinstance(tangents, tuple)):
        raise ArgumentTypeError(
            "primals and tangents of nnx.jvp must be tuples with one entry per argument."
        )
    if len(primals) != len(tangents):
        raise ArgumentTypeError(
            f"nnx.jvp got {counted(len(primals), 'primal')} and"
            f" {counted(len(tangents), 'tangent')}."
        )
    fun, lifted = _lifted(f, primals, Modes(graph, graph_updates), "jvp")
    shift = len(lifted.args) - len(primals)
    value_tangents, arg_tangents = _tangents_of(lifted, (*(lifted.args[:shift]), *tangents))
    run = _runner(fun, lifted, has_aux)
    output, tangent, (aux, outcome) = jax.jvp(
        run, (lifted.bundle.values(), lifted.args), (value_tangents, arg_tangents), has_aux=True
    )
    aux = _finish(lifted, aux, outcome)
    return (output, tangent, aux) if has_aux else (output, tangent)


@overload
def vjp(
    f: Callable[..., R],
    primal: object,
    /,
    *primals: object,
    has_aux: Literal[False] = False,
    reduce_axes: Sequence[Hashable] = (),
    graph: bool | None = None,
    graph_updates: bool | None = None,
) -> tuple[R, Callable[[R], tuple[Any, ...]]]: ...
@overload
def vjp(
    f: Callable[..., tuple[R, A]],
    primal: object,
    /,
    *primals: object,
    has_aux: Literal[True],
    reduce_axes: Sequence[Hashable] = (),
    graph: bool | None = None,
    graph_updates: bool | None = None,
) -> tuple[R, Callable[[R], tuple[Any, ...]], A]: ...
@overload
def vjp(
    f: Callable[P, R],
    *,
    has_aux: Literal[False] = False,
    reduce_axes: Sequence[Hashable] = (),
    graph: bool | None = None,
    graph_updates: bool | None = None,
) -> Callable[P, tuple[R, Callable[[R], tuple[Any, ...]]]]: ...
@overload
def vjp(
    f: Callable[..., Any] | None = None,
    *,
    has_aux: bool = False,
    reduce_axes: Sequence[Hashable] = (),
    graph: bool | None = None,
    graph_updates: bool | None = None,
) -> Callable[..., Any]: ...
def vjp(
    f: Callable[..., Any] | None = None,
    *primals: object,
    has_aux: bool = False,
    reduce_axes: Sequence[Hashable] = (),
    graph: bool | None = None,
    graph_updates: bool | None = None,
) -> tuple[Any, ...] | Callable[..., Any]:
    """`jax.vjp` for functions of modules: the output, and the function that pulls cotangents back.

    Args:
      f: the function; if omitted, a decorator is returned. Without primals, the result is a
        function of primals.
      *primals: the arguments.
      has_aux: whether the function returns (output, anything else).
      reduce_axes: accepted for old programs; must be empty.
      graph, graph_updates: see `nnx.grad`.

    Returns:
      (output, function[, aux]). The function maps the output's cotangent to a tuple with a
      cotangent for each argument; for a module, this is a module of the same structure with
      cotangents as values.

    >>> output, back = vjp(lambda x: x**2, 3.0)
    >>> back(1.0)
    (Array(6., dtype=float32, weak_type=True),)
    """
    options: Any = {"has_aux": has_aux, "graph": graph, "graph_updates": graph_updates}
    if tuple(reduce_axes):
        raise ArgumentError("reduce_axes must be empty, since jax no longer supports it.")
    if f is None:
        return lambda f, *primals: vjp(f, *primals, **options)
    if not primals:
        return lambda *primals: vjp(f, *primals, **options)
    refuse_bound_method(f, "vjp")
    fun, lifted = _lifted(f, primals, Modes(graph, graph_updates), "vjp")
    run = _runner(fun, lifted, has_aux)
    shift = len(lifted.args) - len(primals)
    output, back, (aux, outcome) = jax.vjp(run, lifted.bundle.values(), lifted.args, has_aux=True)
    aux = _finish(lifted, aux, outcome)

    def cotangents(cotangent: PyTree) -> tuple[Any, ...]:
        values, args = back(cotangent)
        return _as_objects(lifted, values, args)[shift:]

    return (output, cotangents, aux) if has_aux else (output, cotangents)


class CustomVjp(Transformed[P, R]):
    """The result of `custom_vjp`: a function with a gradient defined by `defvjp`."""

    def __init__(self, fun: Callable[..., Any], nondiff: tuple[Any, ...], modes: Modes) -> None:
        super().__init__(fun)
        self._fun, self._bound = resolve(fun)
        self._names = names_of(self._fun)
        self._nondiff = {(n.argnum if isinstance(n, DiffState) else n): n for n in nondiff}
        self._modes = modes
        modes.refuse_filters(nondiff, "nondiff_argnums")
        self._fwd: Callable[..., Any] | None = None
        self._bwd: Callable[..., Any] | None = None

    def defvjp(
        self, fwd: Callable[..., Any], bwd: Callable[..., Any], symbolic_zeros: bool = False
    ) -> None:
        """Defines the gradient.

        Args:
          fwd: maps the arguments to (output, residuals).
          bwd: maps (non-differentiated arguments, residuals, cotangent) to a tuple of cotangents,
            one for each differentiated argument; for a module, a `State` or module of cotangents.
            If updates of modules reach the caller (the default), the cotangent is a pair: the
            cotangents of the modules as the function left them, and the cotangent of the output.
          symbolic_zeros: not supported with modules.
        """
        if symbolic_zeros:
            raise ArgumentError("symbolic_zeros is not supported by nnx.custom_vjp.")
        self._fwd, self._bwd = fwd, bwd

    @entry
    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        fwd, bwd = self._fwd, self._bwd
        if fwd is None or bwd is None:
            name = getattr(self._fun, "__name__", repr(self._fun))
            raise AttributeError(f"No VJP defined for custom_vjp function {name} using defvjp.")
        given, by_name = positional(self._fun, self._bound + args, kwargs)
        count = len(given)
        static = {i if i >= 0 else i + count: n for i, n in self._nondiff.items()}
        whole = tuple(i for i, n in static.items() if not isinstance(n, DiffState))
        lifted = Lifted(
            (None,) * count, given, "custom_vjp", self._names, self._modes, "custom_vjp"
        )
        graphdef = lifted.bundle.graphdef
        fixed = {i: lifted.args[i] for i in whole}

        def call(
            f: Callable[..., Any], values: list[Any], diff_args: tuple[Any, ...]
        ) -> tuple[Any, Inside]:
            inside = Inside(graphdef, values, self._modes.tree)
            rest = iter(diff_args)
            all_args = [fixed[i] if i in fixed else next(rest) for i in range(count)]
            return inside.call(f, all_args, by_name), inside

        plans: list[Plan] = []
        written: set[int] = set()

        def note(after: After) -> None:
            plans.append(after.plan)
            written.update(after.written())

        @jax.custom_vjp
        def run(values: list[Any], diff_args: tuple[Any, ...]) -> Outcome:
            output, inside = call(self._fun, values, diff_args)
            outcome = inside.leave(output, everything=True)
            note(inside.after)
            return outcome

        def forward(
            values: list[Any], diff_args: tuple[Any, ...]
        ) -> tuple[Outcome, tuple[Any, Outcome, list[Any]]]:
            (output, residuals), inside = call(fwd, values, diff_args)
            outcome = inside.leave((output, residuals), everything=True)
            note(inside.after)
            # Residuals may hold modules, which are passed as structure and values.
            output, residuals = outcome.output
            outcome.output = output
            roots_after, nodes_values = outcome.effect, outcome.values
            return outcome, (residuals, Outcome(None, nodes_values, roots_after), values)

        def backward(saved: tuple[Any, Outcome, list[Any]], cotangent: PyTree) -> tuple[Any, ...]:
            residuals, after, values = saved
            roots, _ = build(after.effect.graphdef, list(after.values))
            residuals = put_back(residuals, roots)
            inner_args = [lifted.args[i] for i in range(count) if i not in fixed]
            out_cotangent = cotangent.output
            if self._modes.structure:
                objects, _ = build(after.effect.graphdef, list(cotangent.values))
                updates = tuple(
                    jax.tree_util.tree_map(
                        lambda h: _state_of(objects[h.index]) if type(h) is Hole else None,
                        a,
                        is_leaf=lambda x: type(x) is Hole,
                    )
                    for a in inner_args
                )
                cotangents: Any = (updates, out_cotangent)
            else:
                cotangents = out_cotangent
            nondiff = [put_back(fixed[i], lifted.bundle.roots) for i in sorted(fixed)]
            result = bwd(*nondiff, residuals, cotangents)
            if not isinstance(result, tuple) or len(result) != len(inner_args):
                raise ArgumentTypeError(
                    f"bwd must return a tuple of {counted(len(inner_args), 'cotangent')}, one for"
                    f" each differentiated argument, got {result!r}."
                )
            return _flat_cotangents(lifted, values, tuple(inner_args), result)

        run.defvjp(forward, backward)
        diff_args = tuple(lifted.args[i] for i in range(count) if i not in fixed)
        everything = run(lifted.bundle.values(), diff_args)
        outcome = plans[0].only(written, everything.values, everything.output)
        output: R = self._modes.apply(lifted.bundle, outcome, "custom_vjp")
        return output


def _state_of(root: object) -> object:
    graphdef, leaves = flat_leaves(root)
    if graphdef.paths == [()]:
        return leaves[0]
    return from_flat_state(zip(graphdef.paths, leaves, strict=True))


def _flat_cotangents(
    lifted: Lifted, values: list[Any], args: tuple[Any, ...], cotangents: tuple[Any, ...]
) -> tuple[list[Any], tuple[Any, ...]]:
    """The cotangents that bwd returned, for the flat values and for the other arguments."""
    of_leaf: list[Any] = [_zero(v) for v in values]
    index_of = {id(leaf): i for i, leaf in enumerate(lifted.bundle.leaves()) if leaf is not None}

    def fill(hole: object, cotangent: PyTree) -> object:
        if type(hole) is not Hole:
            return cotangent
        part = part_of(lifted.bundle.roots[hole.index])
        given = {} if cotangent is None else _by_path(cotangent)
        for leaf, path in zip(part.leaves, part.graphdef.paths, strict=True):
            new = given.pop(path, None)
            if leaf is None or new is None:
                continue
            i = index_of[id(leaf)]
            value = new.raw_value if isinstance(new, Variable) else new
            of_leaf[i] = jax.tree_util.tree_map(
                lambda zero, x: (
                    zero if zero.dtype == jax.dtypes.float0 else jnp.asarray(x, zero.dtype)
                ),
                of_leaf[i],
                value,
            )
        if given:
            unknown = ", ".join([path_text(p) for p in given])
            raise ArgumentError(f"bwd returned cotangents for {unknown}, which the module lacks.")
        return hole

    filled = jax.tree_util.tree_map(fill, args, cotangents, is_leaf=lambda x: type(x) is Hole)
    return of_leaf, filled


@overload
def custom_vjp(
    fun: Callable[P, R],
    *,
    nondiff_argnums: tuple[int | DiffState, ...] = (),
    graph: bool | None = None,
    graph_updates: bool | None = None,
) -> CustomVjp[P, R]: ...
@overload
def custom_vjp(
    fun: None = None,
    *,
    nondiff_argnums: tuple[int | DiffState, ...] = (),
    graph: bool | None = None,
    graph_updates: bool | None = None,
) -> Callable[[Callable[P, R]], CustomVjp[P, R]]: ...
def custom_vjp(
    fun: Callable[P, R] | None = None,
    *,
    nondiff_argnums: tuple[int | DiffState, ...] = (),
    graph: bool | None = None,
    graph_updates: bool | None = None,
) -> CustomVjp[P, R] | Callable[[Callable[P, R]], CustomVjp[P, R]]:
    """`jax.custom_vjp` for functions of modules; see `CustomVjp.defvjp`.

    Args:
      fun: the function; if omitted, a decorator is returned.
      nondiff_argnums: positions of arguments that are not differentiated; bwd gets them first.
      graph, graph_updates: see `nnx.grad`. If either is False, bwd gets only the cotangent of the
        output, as with `jax.custom_vjp`.
    """
    if fun is None:
        again: Any = functools.partial(
            custom_vjp, nondiff_argnums=nondiff_argnums, graph=graph, graph_updates=graph_updates
        )
        return again  # type: ignore[no-any-return]
    return CustomVjp(fun, nondiff_argnums, Modes(graph, graph_updates))
