"""`jit`: `jax.jit` for functions of modules, at its price.

A call bundles its objects (see `bundle`), which is mostly a look at remembered structures, and
hands `jax.jit` the structure as a static argument and the values as one flat list. The compiled
program returns the values that the function changed and, as the structure of its output, the
effect. There is no cache here: programs are remembered by `jax.jit`, by structure, and let go with
the function.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

import jax

from ..bundle import Bundle, take_out
from ..effect import Inside, Outcome, apply
from ..pytree import Pytree
from ..structure import GraphDef


def resolve(fun: Callable[..., Any]) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    """A function and the module that it is bound to: methods and callable modules take `self`."""
    owner = getattr(fun, "__self__", None)
    if isinstance(owner, Pytree) and hasattr(fun, "__func__"):
        return fun.__func__, (owner,)
    if isinstance(fun, Pytree):
        return type(fun).__call__, (fun,)
    return fun, ()


class Jitted:
    """A function under `jit`; has `lower`, `trace` and `eval_shape` of `jax.jit`."""

    def __init__(self, fun: Callable[..., Any], options: dict[str, Any]) -> None:
        functools.update_wrapper(self, fun)
        self._fun, self._bound = resolve(fun)
        self.__wrapped__ = fun
        self._updates = options.pop("graph_updates", None) is not False
        self._static = _static_positions(self._fun, len(self._bound), options)
        self._donated = _positions(options.pop("donate_argnums", None), len(self._bound))
        self._compiled = jax.jit(self._run, static_argnums=(0, 1), donate_argnums=(3,), **options)

    def _run(
        self,
        graphdef: GraphDef,
        static: tuple[tuple[Any, Any], ...],
        values: Any,
        donated: Any,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Outcome:
        inside = Inside(graphdef, values)
        every = list(args)
        for position, value in static:
            if isinstance(position, str):
                kwargs = {**kwargs, position: value}
            else:
                every.insert(position, value)
        return inside.leave(inside.call(self._fun, every, kwargs))

    def _prepare(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Bundle, Any]:
        if self._bound:
            args = self._bound + args
        static: tuple[Any, ...] = ()
        positions, names = self._static
        if positions or names:
            static = tuple((i, args[i]) for i in positions if i < len(args)) + tuple(
                (n, kwargs[n]) for n in names if n in kwargs
            )
            args = tuple(a for i, a in enumerate(args) if i not in positions)
            kwargs = {n: v for n, v in kwargs.items() if n not in names}
        roots: list[Any] = []
        index_of: dict[int, int] = {}
        args = tuple([take_out(a, roots, index_of) for a in args])
        if kwargs:
            kwargs = {n: take_out(v, roots, index_of) for n, v in kwargs.items()}
        bundle = Bundle(roots)
        return bundle, (bundle.graphdef, static, bundle.values(), (), args, kwargs)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        bundle, prepared = self._prepare(args, kwargs)
        outcome = self._compiled(*prepared)
        return apply(bundle, outcome)

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        return self if instance is None else functools.partial(self, instance)


def _positions(spec: Any, shift: int) -> tuple[int, ...]:
    if spec is None:
        return ()
    return tuple(i + shift for i in ([spec] if isinstance(spec, int) else spec))


def _static_positions(
    fun: Callable[..., Any], shift: int, options: dict[str, Any]
) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """Static arguments by position and by name; each given either way is found by both."""
    positions = set(_positions(options.pop("static_argnums", None), shift))
    names = options.pop("static_argnames", None) or ()
    names = {names} if isinstance(names, str) else set(names)
    if positions or names:
        try:
            parameters = list(inspect.signature(fun).parameters)
        except (TypeError, ValueError):
            parameters = []
        names |= {parameters[i] for i in positions if 0 <= i < len(parameters)}
        positions |= {parameters.index(n) for n in names if n in parameters}
    return tuple(sorted(positions)), tuple(sorted(names))


def jit(fun: Any = None, **options: Any) -> Any:
    if fun is None:
        return functools.partial(jit, **options)
    return Jitted(fun, options)
