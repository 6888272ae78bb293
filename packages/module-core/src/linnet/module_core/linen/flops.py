"""The cost of one call to a module's method.

The call is repeated with abstract inputs on a copy of the module, in a separate frame that holds
the variables that the module can reach; XLA counts the operations of that program (see
`tables.flops`). It runs as in `apply`, with the variables that `init` has made, so neither initial
values nor special cases of the first call are counted.

This happens right after the call, within the trace of `init`, since a function among the arguments
may hold arrays of that trace.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

from ..tables.flops import Arrays, count, is_array, is_jax_array, pullback, separate, traced_arrays
from . import adoption
from .context import InterceptorContext
from .filters import CollectionFilter
from .frame import Frame
from .scope import Scope

if TYPE_CHECKING:
    from .module import Module

T = TypeVar("T")


def method_of(context: InterceptorContext) -> Callable[..., Any]:
    """The intercepted method as a function of the module; its name in the class may differ."""
    method: Any = context.orig_method  # functools.partial(run, module, its state, ...)
    return lambda module, *args, **kwargs: method.func(
        module, module._state, *method.args[2:], *args, **kwargs
    )


class Repetition:
    """A call that can be repeated.

    Create it before the call, because a compact method that calls others continues counting their
    submodules.

    Args:
      fn: a function whose first argument is the module.
      module: a bound module.
      args, kwargs: the arguments of the call.
      mutable: the collections that the call may change.
    """

    def __init__(
        self,
        fn: Callable[..., Any],
        module: Module,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        mutable: CollectionFilter,
    ) -> None:
        self._fn = fn
        self._module = module
        self._arguments = args, kwargs
        self._mutable = mutable
        self._in_compact = module._state.in_compact
        self._cursors = dict(module._state.cursors)

    def flops(self) -> int:
        """FLOPs of the call, or -1."""
        return self._count(self._run)

    def vjp_flops(self) -> int:
        """FLOPs of the call and of its vector-Jacobian product, or -1.

        The product pulls the results (the output and the variables after the call) back to the
        variables and arguments.
        """

        def pulled_back(variables: Arrays, keys: dict[str, Any], inputs: Arrays) -> Arrays:
            n = len(variables)
            return pullback(lambda arrays: self._run(arrays[:n], keys, arrays[n:]))(
                [*variables, *inputs]
            )

        return self._count(pulled_back)

    def _count(self, fn: Callable[..., Any]) -> int:
        scope = self._module.scope
        assert scope is not None
        variables, self._rebuild_variables = separate(self._variables(), is_array)
        inputs, self._rebuild_arguments = separate(self._arguments, is_jax_array)
        originals = (variables, scope.frame.keys, inputs)

        return count(fn, originals)

    def _run(self, variables: Arrays, keys: dict[str, Any], inputs: Arrays) -> Arrays:
        """The arrays that the repeated call returns, and those in the variables after it."""
        frame = Frame(self._rebuild_variables(variables), dict(keys), self._mutable)
        copies = _Copies(Scope.outermost(frame))
        module = copies.of(self._module)
        args, kwargs = copies.within(self._rebuild_arguments(inputs))
        module._run_setup()
        module._state.in_compact = self._in_compact
        module._state.cursors = dict(self._cursors)
        try:
            result = self._fn(module, *args, **kwargs)
        finally:
            frame.end()
        return list(traced_arrays((result, frame.mutated())))

    def _variables(self) -> dict[str, Any]:
        """The collections, restricted to the variables that the module can reach."""
        found: dict[str, Any] = {}
        places = {m.scope.path: m.scope for m in _reachable((self._module, self._arguments))}
        for path, scope in places.items():
            if any(path[:n] in places for n in range(len(path))):
                continue
            for collection, tree in scope.stored().items():
                place = found.setdefault(collection, {})
                for name in path[:-1]:
                    place = place.setdefault(name, {})
                if path:
                    place[path[-1]] = tree
                else:
                    found[collection] = tree
        return found


class _Copies:
    """Copies of bound modules, one per module, at the same paths below another root."""

    def __init__(self, root: Scope) -> None:
        self._root = root
        self._known: dict[int, Module] = {}

    def of(self, module: Module) -> Module:
        """The copy of `module`; the module itself if it isn't bound."""
        if module.scope is None:
            return module
        known = self._known.get(id(module))
        if known is None:
            scope = self._root
            for name in module.scope.path:
                scope = scope.inner(name)
            fields = {name: self.within(getattr(module, name)) for name in module._fields}
            known = module.clone(parent=scope, name=module.name, **fields)
            self._known[id(module)] = known
        return known

    def within(self, value: T) -> T:
        """`value` with its modules replaced by their copies."""
        if not any(True for _ in adoption.iter_modules(value)):
            return value
        copy: T = adoption.map_modules(lambda path, module: self.of(module), value)
        return copy


def _reachable(value: object) -> Iterator[Any]:
    """The bound modules in `value` and in their fields."""
    for _, module in adoption.iter_modules(value):
        if module.scope is not None:
            yield module
            for name in module._fields:
                yield from _reachable(getattr(module, name))
