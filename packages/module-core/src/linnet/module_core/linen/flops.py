"""What one call of a module's method costs.

The call is repeated with abstract inputs on a copy of the module, in a frame of its own that holds
the variables which the module can reach, and lowered by `jax.jit`; XLA counts the operations of the
program that comes out. It is repeated as `apply` runs it: with the variables that `init` has made,
so that neither initial values nor the first call's special cases count.

This happens right after the call, within the trace of `init`: a function among the arguments may
hold arrays of that trace.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from . import adoption
from .context import InterceptorContext
from .filters import CollectionFilter
from .frame import Frame
from .scope import Scope

if TYPE_CHECKING:
    from .module import Module

UNKNOWN = -1

Arrays = list[Any]


def method_of(context: InterceptorContext) -> Callable[..., Any]:
    """The intercepted method as a function of the module: the class may know it by another name."""
    method: Any = context.orig_method  # functools.partial(run, module, its state, ...)
    return lambda module, *args, **kwargs: method.func(
        module, module._state, *method.args[2:], *args, **kwargs
    )


class Repetition:
    """A call that can be made once more.

    Made before the call, because a compact method that calls others goes on counting their
    submodules.

    Args:
      fn: takes the module first.
      module: a bound module.
      args, kwargs: of the call.
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
        """FLOPs of the call and of pulling its results back to variables and arguments, or -1.

        The results are what the call returns and the variables after it.
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
        variables, self._rebuild_variables = take_out(self._variables(), is_array)
        inputs, self._rebuild_arguments = take_out(self._arguments, _is_jax_array)
        originals = (variables, scope.frame.keys, inputs)

        return count(fn, originals)

    def _run(self, variables: Arrays, keys: dict[str, Any], inputs: Arrays) -> Arrays:
        """The arrays that the repeated call returns, and those that it leaves as variables."""
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
        return list(_traced((result, frame.mutated())))

    def _variables(self) -> dict[str, Any]:
        """The collections with what the module can reach in them, and nothing else."""
        found: dict[str, Any] = {}
        places = {m.scope.path: m.scope for m in _reachable((self._module, self._arguments))}
        for path, scope in places.items():
            if any(path[:n] in places for n in range(len(path))):
                continue
            for collection, tree in scope.variables().items():
                place = found.setdefault(collection, {})
                for name in path[:-1]:
                    place = place.setdefault(name, {})
                if path:
                    place[path[-1]] = tree
                else:
                    found[collection] = tree
        return found


def pullback(run: Callable[[Arrays], Arrays]) -> Callable[[Arrays], Arrays]:
    """What pulls the results of a function of arrays back to those that have a gradient."""

    def pulled_back(arrays: Arrays) -> Arrays:
        chosen = [i for i, x in enumerate(arrays) if _is_inexact(x)]

        def of_chosen(primals: Arrays) -> Arrays:
            filled = list(arrays)
            for i, x in zip(chosen, primals, strict=True):
                filled[i] = x
            return [y for y in run(filled) if _is_inexact(y)]

        results, pull = jax.vjp(of_chosen, [arrays[i] for i in chosen])
        return pull(results)[0]  # type: ignore[no-any-return]

    return pulled_back


def count(fn: Callable[..., Any], originals: tuple[Any, ...]) -> int:
    """XLA's count of the FLOPs of `fn(*originals)`, of which only shapes matter; or -1."""

    # Keys pass the border as plain integers: XLA counts a typed one as minus one operation.
    def program(*arrays: Any) -> Any:
        return jax.tree.map(_key_data, fn(*jax.tree.map(_as_key, arrays, originals)))

    try:
        lowered = jax.jit(program).lower(*jax.tree.map(_abstract, originals))
    except Exception as error:
        error.add_note(
            "This happened while FLOPs were counted: the call was repeated as apply would run "
            "it. Without compute_flops and compute_vjp_flops there is a table."
        )
        raise
    try:
        cost = lowered.cost_analysis()
    except (NotImplementedError, RuntimeError):  # not every backend has one
        return UNKNOWN
    return UNKNOWN if cost is None else max(UNKNOWN, int(cost.get("flops", 0)))


class _Copies:
    """Copies of bound modules, each at its own path below another root, one for each module."""

    def __init__(self, root: Scope) -> None:
        self._root = root
        self._known: dict[int, Module] = {}

    def of(self, module: Module) -> Module:
        """The copy of `module`; the module itself if it has no place."""
        if module.scope is None:
            return module
        known = self._known.get(id(module))
        if known is None:
            scope = self._root
            for name in module.scope.path:
                scope = scope.child(name)
            fields = {name: self.within(getattr(module, name)) for name in module._fields}
            known = module.clone(parent=scope, name=module.name, **fields)
            self._known[id(module)] = known
        return known

    def within(self, value: Any) -> Any:
        """`value` with the copies of the modules in it."""
        if not any(True for _ in adoption.iter_modules(value)):
            return value
        return adoption.map_modules(lambda path, module: self.of(module), value)


def _reachable(value: Any) -> Iterator[Any]:
    """The bound modules in `value` and in their fields."""
    for _, module in adoption.iter_modules(value):
        if module.scope is not None:
            yield module
            for name in module._fields:
                yield from _reachable(getattr(module, name))


def take_out(tree: Any, wanted: Callable[[Any], bool]) -> tuple[Arrays, Callable[[Arrays], Any]]:
    """The `wanted` leaves of `tree`, and a function that puts others in their place."""
    try:
        leaves, structure = jax.tree.flatten(tree)
    except (TypeError, ValueError):  # such as a dict whose keys can't be sorted: jax's is no tree
        return [], lambda arrays: tree

    taken = [wanted(x) for x in leaves]
    left = [None if t else x for t, x in zip(taken, leaves, strict=True)]  # what was taken may go

    def rebuild(arrays: Arrays) -> Any:
        rest = iter(arrays)
        filled = [next(rest) if t else x for t, x in zip(taken, left, strict=True)]
        return jax.tree.unflatten(structure, filled)

    return [x for x, t in zip(leaves, taken, strict=True) if t], rebuild


def _traced(tree: Any) -> Iterator[Any]:
    """The traced arrays in `tree`, with those of dicts whose keys jax could not sort."""
    for leaf in jax.tree.leaves(tree, is_leaf=lambda x: isinstance(x, dict)):
        if isinstance(leaf, dict):
            yield from itertools.chain.from_iterable(map(_traced, leaf.values()))
        elif _is_traced(leaf):
            yield leaf


def _is_traced(value: Any) -> bool:
    return isinstance(value, jax.core.Tracer)


def _is_jax_array(value: Any) -> bool:
    # Concrete ones too: XLA would use their values, and not count the addition of zeros. Those of
    # numpy stay, because a model may look at them.
    return isinstance(value, jax.Array)


def is_array(value: Any) -> bool:
    """Whether `value` has a shape and a dtype that jax knows."""
    if isinstance(value, np.ndarray | np.generic):
        return value.dtype.kind not in "OSUMm"
    return isinstance(value, jax.Array | jax.ShapeDtypeStruct)


def _is_inexact(value: Any) -> bool:
    return jnp.issubdtype(value.dtype, jnp.inexact)


def _is_key(value: Any) -> bool:
    return jnp.issubdtype(value.dtype, jax.dtypes.prng_key)


def _key_data(value: Any) -> Any:
    return jax.random.key_data(value) if _is_key(value) else value


def _as_key(data: Any, original: Any) -> Any:
    if not _is_key(original):
        return data
    return jax.random.wrap_key_data(data, impl=jax.random.key_impl(original))


def _abstract(array: Any) -> jax.ShapeDtypeStruct:
    if _is_key(array):
        array = jax.eval_shape(jax.random.key_data, array)
    weak = bool(getattr(array, "weak_type", False))
    return jax.ShapeDtypeStruct(array.shape, array.dtype, weak_type=weak)  # type: ignore[no-untyped-call]
