"""Transforms that treat all values alike: `remat`, `checkify`, `make_jaxpr`.

The objects among the arguments become one list of values, and the function's effect becomes part of
its output; jax does the rest.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, overload

import jax

from ...tracebacks import entry, named_after
from ..nodes.statics import static_key
from ..structure.bundle import Bundle, detach_nodes
from ..structure.effect import Inside, Outcome
from ..structure.graphdef import GraphDef
from .calling import P, R, Transformed, decorator, given, positional, resolve
from .tree_mode import Modes

if TYPE_CHECKING:
    from jax.experimental.checkify import Error
    from jax.extend.core import ClosedJaxpr


class Simple(Transformed[..., Any]):
    """Base of transforms that pass jax the function as a function of flat values.

    Args:
      fun: the function.
      name: the name of the transform.
      static: positions of static arguments.
      modes: see `Modes`.
    """

    def __init__(
        self, fun: Callable[..., Any], name: str, static: tuple[int, ...], modes: Modes
    ) -> None:
        super().__init__(fun)
        self._fun, self._bound = resolve(fun)
        self._name = name
        self._static = static
        self._modes = modes

    def _flat(
        self, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[Bundle, tuple[_Call, list[Any], tuple[Any, ...], dict[str, Any]]]:
        """The bundle of the objects, and the arguments of `_run`."""
        if self._static:
            args, kwargs = positional(self._fun, args, kwargs)
        count = len(args)
        args = self._bound + args
        shift = len(self._bound)
        static = {(i if i >= 0 else i + count) + shift for i in self._static}
        fixed = tuple([(i, a) for i, a in enumerate(args) if i in static])
        rest = tuple(a for i, a in enumerate(args) if i not in static)
        roots: list[Any] = []
        self._modes.check((rest, kwargs), self._name)
        detached, kwargs = detach_nodes((rest, kwargs), roots, {})
        bundle = Bundle(roots)
        return bundle, (_Call(bundle.graphdef, fixed), bundle.values(), detached, kwargs)

    def _run(
        self, call: _Call, values: list[Any], rest: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Outcome:
        """Runs the function on flat values; `call` is static."""
        inside = Inside(call.graphdef, values, self._modes.tree)
        all_args = list(rest)
        for position, argument in call.fixed:
            all_args.insert(position, argument)
        return inside.leave(inside.call(self._fun, all_args, kwargs))


class _Call:
    """The static part of a call: the structure of its objects, and static arguments by position."""

    __slots__ = ("_key", "fixed", "graphdef")

    def __init__(self, graphdef: GraphDef, fixed: tuple[tuple[int, Any], ...]) -> None:
        self.graphdef = graphdef
        self.fixed = fixed
        self._key = (graphdef, tuple([(i, static_key(a)) for i, a in fixed]))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Call) and self._key == other._key

    def __hash__(self) -> int:
        return hash(self._key)


class Remat(Simple):
    """The result of `remat`."""

    def __init__(
        self,
        fun: Callable[..., Any],
        static: int | tuple[int, ...],
        modes: Modes,
        **options: Any,
    ) -> None:
        super().__init__(fun, "remat", (static,) if isinstance(static, int) else static, modes)
        self._options = options
        self._remember()

    def _remember(self) -> None:
        # jax caches the trace of a function while the function lives: one for each structure.
        # (It would keep functions with static arguments forever.)
        self._program = functools.lru_cache(maxsize=128)(self._checkpointed)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_program"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._remember()

    def _checkpointed(self, call: _Call) -> Callable[..., Outcome]:
        def run(values: list[Any], rest: tuple[Any, ...], kwargs: dict[str, Any]) -> Outcome:
            return self._run(call, values, rest, kwargs)

        return jax.checkpoint(named_after(self._fun, run), **self._options)

    @entry
    def __call__(self, *args: object, **kwargs: object) -> object:
        bundle, (call, *flat) = self._flat(args, kwargs)
        outcome = self._program(call)(*flat)
        return self._modes.apply(bundle, outcome, self._name)


@decorator
def remat(
    f: Callable[..., Any] | None = None,
    *,
    prevent_cse: bool = True,
    static_argnums: int | tuple[int, ...] = (),
    policy: Callable[..., bool] | None = None,
    graph: bool | None = None,
    graph_updates: bool | None = None,
) -> Remat:
    """`jax.checkpoint` for functions of modules: the backward pass recomputes values.

    Args:
      f: the function; if omitted, a decorator is returned.
      prevent_cse, policy: see `jax.checkpoint`.
      static_argnums: positions of arguments that are not arrays.
      graph: if False, shared references raise an error.
      graph_updates: if False, only values reach the caller's objects, not changes of structure.

    >>> import jax
    >>> import jax.numpy as jnp
    >>> jax.grad(remat(lambda x: jnp.sin(x)))(0.0)
    Array(1., dtype=float32, weak_type=True)
    """
    return Remat(
        given(f),
        static_argnums,
        Modes(graph, graph_updates),
        prevent_cse=prevent_cse,
        policy=policy,
    )


checkpoint = remat


class Checkify(Simple):
    """The result of `checkify`."""

    def __init__(self, fun: Callable[..., Any], errors: Any, modes: Modes) -> None:
        super().__init__(fun, "checkify", (), modes)
        self._errors = errors

    @entry
    def __call__(self, *args: object, **kwargs: object) -> tuple[Error, Any]:
        from jax.experimental import checkify as checks

        bundle, (call, *flat) = self._flat(args, kwargs)
        run = functools.partial(self._run, call)
        error, outcome = checks.checkify(run, errors=self._errors)(*flat)
        return error, self._modes.apply(bundle, outcome, self._name)


@overload
def checkify(
    f: Callable[P, R],
    errors: object = None,
    graph: bool | None = None,
    graph_updates: bool | None = None,
) -> Callable[P, tuple[Error, R]]: ...
@overload
def checkify(
    f: None = None,
    errors: object = None,
    graph: bool | None = None,
    graph_updates: bool | None = None,
) -> Callable[[Callable[P, R]], Callable[P, tuple[Error, R]]]: ...
def checkify(
    f: Callable[..., Any] | None = None,
    errors: object = None,
    graph: bool | None = None,
    graph_updates: bool | None = None,
) -> Callable[..., Any]:
    """`jax.experimental.checkify.checkify` for functions of modules.

    Args:
      f: the function; if omitted, a decorator is returned.
      errors: which errors to check for; None for those that the function itself passes to
        `checkify.check`.
      graph: if False, shared references raise an error.
      graph_updates: if False, only values reach the caller's objects, not changes of structure.

    Returns:
      A function that returns (error, output).
    """
    if f is None:
        return lambda f: checkify(f, errors, graph, graph_updates)
    from jax.experimental import checkify as checks

    errors = checks.user_checks if errors is None else errors
    return Checkify(f, errors, Modes(graph, graph_updates))


class MakeJaxpr(Simple):
    """The result of `make_jaxpr`."""

    @entry
    def __call__(self, *args: object, **kwargs: object) -> ClosedJaxpr:
        _, (call, *flat) = self._flat(args, kwargs)

        def run(
            values: list[Any], rest: tuple[Any, ...], kwargs: dict[str, Any]
        ) -> tuple[Any, Any]:
            outcome = self._run(call, values, rest, kwargs)
            return outcome.output, outcome.values

        return jax.make_jaxpr(run)(*flat)


@overload
def make_jaxpr(
    f: Callable[P, Any],
    *,
    graph: bool | None = None,
    graph_updates: bool | None = None,
    static_argnums: int | tuple[int, ...] = (),
) -> Callable[P, ClosedJaxpr]: ...
@overload
def make_jaxpr(
    f: None = None,
    *,
    graph: bool | None = None,
    graph_updates: bool | None = None,
    static_argnums: int | tuple[int, ...] = (),
) -> Callable[[Callable[P, Any]], Callable[P, ClosedJaxpr]]: ...
def make_jaxpr(
    f: Callable[..., Any] | None = None,
    *,
    graph: bool | None = None,
    graph_updates: bool | None = None,
    static_argnums: int | tuple[int, ...] = (),
) -> Callable[..., Any]:
    """`jax.make_jaxpr` for functions of modules.

    The program takes the values of the variables, in the order of `nnx.state`, then the other
    arguments; it returns the output, then the values of the variables that the function changed.
    The caller's objects don't change.

    Args:
      f: the function; if omitted, a decorator is returned.
      graph, graph_updates: see `nnx.remat`.
      static_argnums: positions of arguments that are not arrays.

    >>> print(make_jaxpr(lambda x: x + 1)(1.0))
    { lambda ; a:f32[]. let b:f32[] = add a 1.0:f32[] in (b,) }
    """
    if f is None:
        return lambda f: make_jaxpr(
            f, graph=graph, graph_updates=graph_updates, static_argnums=static_argnums
        )
    static = (static_argnums,) if isinstance(static_argnums, int) else tuple(static_argnums)
    return MakeJaxpr(f, "make_jaxpr", static, Modes(graph, graph_updates))
