"""`jit`: a module compiled as one piece, once for all its calls that look alike.

`jax.jit` remembers by its arguments. What a method does also depends on the module, its path, the
numbers of the draws and names so far, and on what may be changed: all that becomes one static
argument (`_Call`) that compares by value. What the trace leaves behind in Python (how many keys
were drawn, how many names given) is part of the output's structure, so that jax hands it out again
when it does not trace.

Keys: each stream is drawn from once, outside, and that key is the root inside; the path is in it
already. So two calls of one module, or of two like it, share one program.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import jax

from ...config import config
from ..context import context
from ..filters import CollectionFilter, in_filter
from ..lifting import Lift, lift_target
from ..module import Module
from .remat import static_positions


def jit(
    target: Any,
    variables: CollectionFilter = True,
    rngs: CollectionFilter = True,
    static_argnums: int | Iterable[int] = (),
    static_argnames: str | Iterable[str] = (),
    donate_argnums: int | Iterable[int] = (),
    device: Any = None,
    backend: str | None = None,
    methods: Any = None,
) -> Any:
    """Lifted `jax.jit`.

    Args:
      target: a module class, or a function or method of a module.
      variables, rngs: the collections and random streams that exist inside.
      static_argnums, static_argnames: arguments (0 is the module) that the program is compiled for.
      donate_argnums: arguments whose memory the program may use again.
      device, backend: as in `jax.jit`; best left to jax.
      methods: of a class: names of the methods to transform (default `__call__`).
    """
    options = {
        "variables": variables,
        "rngs": rngs,
        "static_argnums": _numbers(static_argnums),
        "donate_argnums": _numbers(donate_argnums),
        "compiled": _Compiled(
            {"static_argnames": static_argnames}
            | ({} if device is None else {"device": device})
            | ({} if backend is None else {"backend": backend})
        ),
    }
    return lift_target(_jit, target, "Jit", methods, options)


def _numbers(numbers: int | Iterable[int]) -> tuple[int, ...]:
    return (numbers,) if isinstance(numbers, int) else tuple(numbers)


class _Compiled:
    """The jitted functions of one target, by which of their arguments are static or donated."""

    def __init__(self, options: dict[str, Any]) -> None:
        self._options = options
        self._functions: dict[Any, Any] = {}

    def function(self, static: tuple[int, ...], donated: tuple[int, ...]) -> Any:
        known = self._functions.get((static, donated))
        if known is None:
            known = self._functions[static, donated] = jax.jit(
                _run,
                static_argnums=(0, *(i + 2 for i in static)),
                donate_argnums=tuple(i + 2 for i in donated),
                **self._options,
            )
        return known


class _Call:
    """What a traced method depends on besides arrays; equal calls share a program.

    Attributes:
      lift: what a trace runs; let go of after the call, because jax keeps this object.
    """

    def __init__(self, lift: Lift, mutable: CollectionFilter) -> None:
        self.lift: Lift | None = lift
        self.mutable = mutable
        self._key = _key(lift, mutable)
        self._hash = hash(self._key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Call) and self._key == other._key

    def __hash__(self) -> int:
        return self._hash


def _key(lift: Lift, mutable: CollectionFilter) -> Any:
    frame = lift.frame
    key = (
        tuple(_description(m) for m in lift.modules),
        tuple(root.path for root in lift.roots),
        lift.counts(),
        tuple((c, in_filter(mutable, c)) for c in ("params", "batch_stats", "cache")),
        repr(mutable),
        (frame.initializing, frame.concrete, frame.capture),
        (config.flax_fix_rng_separator, config.flax_profile, tuple(context.interceptors)),
    )
    try:
        hash(key)
    except TypeError:
        return object()  # equal to nothing else: such a module is compiled at each call
    return key


def _description(module: Module) -> Any:
    fields = tuple(_field(getattr(module, name)) for name in module._fields)
    assert module.scope is not None
    return type(module), module.scope.path, module._state.in_compact, fields


def _field(value: Any) -> Any:
    if isinstance(value, Module):
        path = None if value.scope is None else value.scope.path
        return (
            type(value),
            path,
            value.name,
            tuple(_field(getattr(value, n)) for n in value._fields),
        )
    if type(value) is tuple:
        return tuple(_field(item) for item in value)
    return value


class _Left:
    """Counts that a trace has left behind: structure of an output, without leaves."""

    def __init__(self, counts: Any) -> None:
        self.counts = counts


jax.tree_util.register_pytree_node(
    _Left, lambda left: ((), left.counts), lambda counts, _: _Left(counts)
)


def _run(call: _Call, inputs: Any, *args: Any, **kwargs: Any) -> Any:
    lift = call.lift
    assert lift is not None
    collections, keys = inputs
    output, changed = lift.run(collections, keys, call.mutable, args, kwargs, fresh_hash=True)
    return output, changed, _Left(lift.counts())


def _jit(
    lift: Lift,
    *,
    variables: CollectionFilter,
    rngs: CollectionFilter,
    static_argnums: Sequence[int],
    donate_argnums: Sequence[int],
    compiled: _Compiled,
) -> Any:
    n = len(lift.args)
    function = compiled.function(
        static_positions(static_argnums, n), static_positions(donate_argnums, n)
    )
    keys = lift.folded_keys(rngs)
    call = _Call(lift, lift.mutable(variables))
    try:
        output, changed, left = function(
            call, (lift.collections(variables), keys), *lift.args, **lift.kwargs
        )
    finally:
        call.lift = None
    lift.set_counts(left.counts)
    lift.store(changed)
    return output


def fold_rngs(
    target: Any, variables: CollectionFilter = True, rngs: CollectionFilter = True
) -> Any:
    """Derives the keys inside a module as `jit` does, without compiling.

    Each stream is drawn from once, and that key is the root for the module and those below it.

    Args:
      target: a module class, or a function or method of a module.
      variables, rngs: the collections and random streams that exist inside.
    """
    options = {"variables": variables, "rngs": rngs}
    return lift_target(_fold_rngs, target, "Fold_rngs", None, options)


def _fold_rngs(lift: Lift, *, variables: CollectionFilter, rngs: CollectionFilter) -> Any:
    keys = lift.folded_keys(rngs)
    mutable = lift.mutable(variables)
    output, changed = lift.run(lift.collections(variables), keys, mutable, fresh_hash=True)
    lift.store(changed)
    return output
