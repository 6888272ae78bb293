"""`jit`: compiles a module as a whole, once for all calls that have the same structure.

`jax.jit` caches by its arguments. A method also depends on the module and its fields, on the counts
of draws and names so far, and on which collections are mutable: all of these become one static
argument (`_Call`) that compares by value. The Python side effects of the trace (how many keys were
drawn, which names were given) are part of the output's structure, so that jax returns them again
when it does not trace.

Each stream is drawn from once outside, and that key, which already has the path folded in, is the
root key inside. Two calls to one module, or to two equal modules, therefore share one program: the
path is part of the static argument only if the trace may have seen it (a method that reads
`self.path` or `self.name`, an interceptor, a filter that chooses what to capture).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import CodeType
from typing import Any
from weakref import WeakKeyDictionary, ref

import jax

from ...axis_rules import get_logical_axis_rules
from ...config import config
from ...typing import Output
from ..context import context
from ..filters import CollectionFilter, normal_form
from ..fingerprint import Unknown, fingerprint
from ..frame import Collections
from ..lift_targets import Methods, Target, lift_target
from ..lifting import Inputs, Lift
from ..module import Module
from ..scope import Scope
from ..variable import Variable
from .static_arguments import StaticArguments


def jit(
    target: Target,
    variables: CollectionFilter = True,
    rngs: CollectionFilter = True,
    static_argnums: int | Iterable[int] = (),
    static_argnames: str | Iterable[str] = (),
    donate_argnums: int | Iterable[int] = (),
    device: object = None,
    backend: str | None = None,
    methods: Methods = None,
) -> Target:
    """Lifted `jax.jit`.

    Args:
      target: a module class, or a function or method of a module.
      variables, rngs: the collections and random streams that exist inside.
      static_argnums, static_argnames: the numbers (0 is the module) or names of arguments that are
        not traced: the program is compiled for their values. They apply whether a call passes the
        argument by position or by keyword.
      donate_argnums: numbers of arguments whose memory the program may reuse.
      device, backend: as in `jax.jit`; best left to jax.
      methods: for a class: names of the methods to transform (default `__call__`).

    Raises:
      ArgumentError: a static argument doesn't exist, is the module, or holds an array.
    """
    options = {
        "variables": variables,
        "rngs": rngs,
        "static": StaticArguments.of(static_argnums, static_argnames),
        "donated": StaticArguments.of(donate_argnums, option="donate_argnums"),
        "compiled": Compiled(
            ({} if device is None else {"device": device})
            | ({} if backend is None else {"backend": backend})
        ),
    }
    return lift_target(run_jit, target, "Jit", methods, options)


class Compiled:
    """The jitted functions of one target, keyed by which arguments are static or donated."""

    def __init__(self, options: dict[str, Any]) -> None:
        self._options = options
        self._functions: dict[Any, Callable[..., Any]] = {}
        placed: dict[Any, Any] = {}
        self._placed = placed  # keys whose trace has read a path, with the paths

        def run(
            call: _Call, inputs: Inputs, *args: object, **kwargs: object
        ) -> tuple[Any, list[Collections], _Left]:
            before = context.paths_read
            result = _run(call, inputs, args, kwargs)
            if context.paths_read != before:
                placed.setdefault(call.key, call.paths)
            return result

        # A separate function: jax drops its programs once it is garbage-collected.
        self._run = run

    def function(
        self, static: tuple[int, ...], names: frozenset[str], donated: tuple[int, ...]
    ) -> Callable[..., Any]:
        known = self._functions.get((static, names, donated))
        if known is None:
            known = self._functions[static, names, donated] = jax.jit(
                self._run,
                static_argnums=(0, *(i + 2 for i in static)),
                static_argnames=tuple(names),
                donate_argnums=tuple(i + 2 for i in donated),
                **self._options,
            )
        return known

    def call(self, lift: Lift, mutable: CollectionFilter) -> _Call:
        call = _Call(lift, mutable)
        first = self._placed.get(call.key)
        if first is not None:
            context.paths_read += 1  # so that an enclosing program depends on its path, too
            if first != call.paths:
                call.key = (call.key, call.paths)
        return call


class _Call:
    """Everything that a traced method depends on besides arrays; equal calls share a program.

    Attributes:
      lift: the lift that a trace runs; released after the call, because jax keeps this object.
      key: everything except the paths.
      paths: the paths of the lifted scopes.
    """

    def __init__(self, lift: Lift, mutable: CollectionFilter) -> None:
        self.lift: Lift | None = lift
        self.mutable = mutable
        self.paths = tuple(root.path for root in lift.roots)
        self.key = _key(lift, mutable, self.paths)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Call) and self.key == other.key

    def __hash__(self) -> int:
        return hash(self.key)


def _key(lift: Lift, mutable: CollectionFilter, paths: object) -> object:
    # Weak references to classes and callables, which are equal as long as their objects live: jax
    # keeps keys longer than that, and a class that is made in a loop should be collected.
    frame = lift.frame
    modules = _Modules(lift)
    key = (
        ref(lift.call),
        modules.key(),
        lift.counts(),
        normal_form(mutable),
        (frame.initializing, frame.concrete, frame.capture, _sorted(frame.flags)),
        (tuple(vars(config).items()), get_logical_axis_rules(), tuple(context.interceptors)),
        paths if frame.capture or context.interceptors or modules.read_names() else None,
    )
    try:
        hash(key)
    except TypeError:
        return object()  # equal only to itself: such a module is compiled on each call
    return key


def _sorted(flags: Mapping[str, Any]) -> object:
    return tuple(sorted(flags.items(), key=lambda item: item[0]))


class _Modules:
    """The fingerprints of the modules and variables of a call."""

    def __init__(self, lift: Lift) -> None:
        self._lift = lift
        self._roots = [root.path for root in lift.roots]
        self._seen: dict[int, int] = {}

    def key(self) -> object:
        try:
            return tuple(self._of(value) for value in (*self._lift.modules, *self._lift.handles))
        except Unknown:
            return object()

    def read_names(self) -> bool:
        """Whether the method may read the last part of a path that is not in the fingerprints."""
        return _reads_name(self._lift.call) or any(reads_name(type(m)) for m in self._lift.modules)

    def _place(self, scope: Scope) -> object:
        for i, root in enumerate(self._roots):
            if scope.path[: len(root)] == root:
                return i, scope.path[len(root) :]
        return scope.path

    def _of(self, value: object) -> object:
        if isinstance(value, Scope):
            return Scope, self._place(value)
        if isinstance(value, Variable):
            return Variable, self._place(value.scope), value.collection, value.name, value.unbox
        if not isinstance(value, Module):
            return None
        index = self._seen.setdefault(id(value), len(self._seen))
        if index != len(self._seen) - 1:
            return Module, index
        if value.scope is None:
            place: Any = value.name
        else:
            place = self._place(value.scope)
        fields = tuple(fingerprint(getattr(value, name), self._of) for name in value._fields)
        return ref(type(value)), place, value._state.in_compact, fields


_readers: WeakKeyDictionary[type, bool] = WeakKeyDictionary()


def reads_name(cls: type) -> bool:
    """Whether a method of a module's class reads the attribute `name` of any object."""
    known = _readers.get(cls)
    if known is None:
        own = cls.__mro__[: cls.__mro__.index(Module)]
        known = _readers[cls] = any(
            _reads_name(value)
            for c in own
            for name, value in vars(c).items()
            if callable(value) and (name == "__call__" or not name.startswith("__"))
        )
    return known


def _reads_name(function: Callable[..., Any]) -> bool:
    function = inspect.unwrap(function)
    code = getattr(function, "__code__", None)
    return code is not None and _code_reads_name(code)


def _code_reads_name(code: CodeType) -> bool:
    return "name" in code.co_names or any(
        _code_reads_name(inner) for inner in code.co_consts if isinstance(inner, CodeType)
    )


class _Left:
    """Counts after a trace, stored in the structure of an output: a pytree without leaves."""

    def __init__(self, counts: object) -> None:
        self.counts = counts


jax.tree_util.register_pytree_node(
    _Left, lambda left: ((), left.counts), lambda counts, _: _Left(counts)
)


def _run(
    call: _Call, inputs: Inputs, args: Sequence[Any], kwargs: dict[str, Any]
) -> tuple[Any, list[Collections], _Left]:
    lift = call.lift
    assert lift is not None
    collections, keys = inputs
    output, changed = lift.run(collections, keys, call.mutable, args, kwargs, fresh_hash=True)
    return output, changed, _Left(lift.counts())


def run_jit(
    lift: Lift,
    *,
    variables: CollectionFilter,
    rngs: CollectionFilter,
    static: StaticArguments,
    donated: StaticArguments,
    compiled: Compiled,
    folded: bool = True,
) -> Output:
    """The transform itself: runs the lifted call under `jax.jit`.

    With `folded`, the root key inside is a draw from each stream; otherwise the stream's root key.
    """
    positions, names = static.resolve(lift)
    static.refuse_arrays(lift, positions, names)
    function = compiled.function(positions, names, donated.resolve(lift)[0])
    keys = lift.folded_keys(rngs) if folded else lift.keys(rngs)
    call = compiled.call(lift, lift.mutable(variables))
    try:
        with static.explained(lift, positions, names):
            output, changed, left = function(
                call, (lift.collections(variables), keys), *lift.args, **lift.kwargs
            )
    finally:
        call.lift = None
    lift.set_counts(left.counts)
    lift.store(changed)
    return output


def fold_rngs(
    target: Target, variables: CollectionFilter = True, rngs: CollectionFilter = True
) -> Target:
    """Derives the keys inside a module as `jit` does, but without compiling.

    Each stream is drawn from once, and that key is the root for the module and those below it.

    Args:
      target: a module class, or a function or method of a module.
      variables, rngs: the collections and random streams that exist inside.
    """
    options = {"variables": variables, "rngs": rngs}
    return lift_target(run_fold_rngs, target, "Fold_rngs", None, options)


def run_fold_rngs(
    lift: Lift, *, variables: CollectionFilter, rngs: CollectionFilter, folded: bool = True
) -> Output:
    """The transform itself: runs the lifted call with one key of each stream as its root."""
    keys = lift.folded_keys(rngs) if folded else lift.keys(rngs)
    mutable = lift.mutable(variables)
    output, changed = lift.run(lift.collections(variables), keys, mutable, fresh_hash=True)
    lift.store(changed)
    return output
