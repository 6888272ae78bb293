"""`init` outside `jit`: one trace of the method, then the initial values.

An eager forward pass compiles and runs each of its operations, and `init` discards the results.
Here the method is traced instead, with the arguments as they are, and the program is discarded.

* A parameter whose initializer may be called again (`draws`) is a tracer while the method runs, and
  is drawn afterwards, by the call that an eager run would make.
* Any other initial value is computed during the trace (`Scope.evaluate`).
* The bodies of `remat`, `vmap`, `scan` and `Repeat` are traces of their own; `passages` follows
  their parameters to what the transform returns.

Every variable is therefore computed by the same operations as in an eager forward pass, and has the
same bits. That would not hold for a value that the method itself computes, because a compiled
program may round differently from its operations run one by one. Therefore the method runs again,
eagerly, if a trace cannot tell what `init` returns or does:

* a variable is computed from others, or from inputs (sown losses, data-dependent initialization);
* the program has effects (`jax.debug.print`, callbacks);
* Python looks at a value, or any error is raised: the eager run raises the same error, or none;
* a traced value outlives the trace, for example in a list outside;
* a lifted transform returns a value that it computes, for example the result of a user's function
  that gets its key inside, or any value of a transform that is not listed above;
* a method prints, which would show tracers.

The class of such a module is remembered, so its method runs twice only at its first `init`. Under a
transform, on a mesh, with interceptors, and with `jax.disable_jit` or one of jax's options for
debugging (`_MODES`), nothing is traced.
"""

from __future__ import annotations

import functools
import gc
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping
from operator import is_
from types import CodeType
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from .. import _compat
from ..arrays import strong
from ..draws import draws_of, fills_of, is_staged
from ..typing import PyTree
from .context import context
from .frame import Frame
from .passages import Loops, along, drawn
from .rng import abstract_key, fold_in

if TYPE_CHECKING:
    from .module import Module
    from .scope import Scope


class _Draw(NamedTuple):
    """How a parameter is drawn after the trace.

    Attributes:
      init, args, kwargs: its initializer, and the arguments that follow the key.
      root: the root key.
      numbers: the numbers folded into it, with an axis for each numbered loop; None if the key is
        ignored.
      loops: the loops of the transforms that surround it.
    """

    init: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    root: Any
    numbers: Any
    loops: Loops = ()

    def value(self, shape: tuple[int, ...]) -> jax.Array:
        """The array, of this shape.

        Raises:
          _NotToldError: the root key is not known.
        """
        init, args, kwargs, root, numbers, loops = self
        if isinstance(root, jax.core.Tracer):
            raise _NotToldError
        if loops and numbers is not None:
            draws = draws_of(init)
            quick = getattr(draws, "quick_key", None)
            key = root if quick is None else quick(root, shape)
            return drawn(draws, key, numbers, args, kwargs, loops)
        key = root if numbers is None else fold_in(root, numbers)
        (array,) = jax.tree.leaves(strong(init(key, *args, **kwargs)))
        return _in_loops(array, loops)


class _Constant(NamedTuple):
    """An initial value that was computed during the trace."""

    array: Any
    loops: Loops = ()

    def value(self, shape: tuple[int, ...]) -> jax.Array:
        """The array, of this shape."""
        return _in_loops(jnp.asarray(self.array), self.loops)


def _in_loops(array: jax.Array, loops: Loops) -> jax.Array:
    """An array that is the same in each step of the loops."""
    for loop in reversed(loops):
        array = along(array, loop)
    return array


class Deferred:
    """The parameters that are drawn after the trace.

    Args:
      above: the `Deferred` of the frame outside, in the body of a lifted transform.

    Attributes:
      reads_values: whether a module in the call has a method that must not be traced.
    """

    def __init__(self, above: Deferred | None = None) -> None:
        self._above = above
        self._draws: dict[int, tuple[Any, _Draw | _Constant]] = {}  # by id of the placeholder
        self.reads_values = False

    def parameter(
        self, scope: Scope, init: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> Any:
        """A traced value of the shape that `init` returns, or None to call `init` now."""
        root = scope.keys.get("params")
        if root is None or not scope.in_own_trace():
            return None
        abstract = _abstract(init, args, kwargs)
        if abstract is None:
            return None
        leaves, structure = jax.tree.flatten(abstract)
        if len(leaves) != 1:
            return None
        n = scope.draws.next("params")
        numbers = None if _ignores_key(init) else scope.path_hash().numbers(n)
        placeholder = jnp.zeros(leaves[0].shape, leaves[0].dtype)
        if numbers is not None and isinstance(root, jax.core.Tracer) and not is_staged(root):
            placeholder = _mapped_as(root, placeholder)
        self._draws[id(placeholder)] = placeholder, _Draw(init, args, kwargs, root, numbers)
        return jax.tree.unflatten(structure, [placeholder])

    def adopts(self, module: Module) -> None:
        """Notes that `module` belongs to the call, and stops the trace if it cannot be traced."""
        if _prints(type(module)):
            ledger: Deferred | None = self
            while ledger is not None:
                ledger.reads_values = True
                ledger = ledger._above
            raise _NotToldError

    def inner(self) -> Deferred:
        """A ledger for the body of a transform; see `passages`."""
        return Deferred(self)

    def find(self, value: Any) -> tuple[object, PyTree] | None:
        """The pair (root key or None, draw or constant) of `value`; None if it is neither."""
        known = self._draws.get(id(value))
        if known is not None:
            return getattr(known[1], "root", None), known[1]
        if isinstance(value, jax.Array | np.ndarray) and not isinstance(value, jax.core.Tracer):
            return None, _Constant(value)
        return None

    def passed(self, value: object, root: object, rest: PyTree, loops: Loops) -> None:
        """Records that a transform has returned a value that was drawn or computed inside it."""
        if isinstance(rest, _Draw):
            rest = rest._replace(root=root)
        self._draws[id(value)] = value, rest._replace(loops=(*loops, *rest.loops))

    def drawn(self, variables: Mapping[str, Any]) -> dict[str, Any]:
        """The variables with their initial values.

        Raises:
          _NotToldError: one of them is not an initial value.
        """
        leaves = [self._value(leaf) for leaf in leaves_of(variables)]
        filled: dict[str, Any] = with_leaves(variables, iter(leaves))
        return filled

    def _value(self, leaf: Any) -> object:
        known = self._draws.get(id(leaf))
        if known is not None:
            return known[1].value(leaf.shape)
        if isinstance(leaf, jax.core.Tracer):
            raise _NotToldError
        return leaf


def _mapped_as(key: jax.Array, placeholder: jax.Array) -> jax.Array:
    """The placeholder as a value that differs between the examples of a `vmap`, as `key` does."""
    if jnp.issubdtype(key.dtype, jax.dtypes.prng_key):
        key = jax.random.key_data(key)
    return jax.lax.select(key.ravel()[0] == 0, placeholder, placeholder)


class _NotToldError(Exception):
    """A trace does not show what `init` returns."""


def may_trace(module: Module, frame: Frame) -> bool:
    """Whether a trace may show what `init` returns: outside transforms, meshes and debugging."""
    return (
        type(module) not in _eager_classes
        and "params" in frame.keys
        and frame.trace == _outermost()
        and not any(isinstance(key, jax.core.Tracer) for key in frame.keys.values())
        and not context.interceptors
        and not jax.sharding.get_abstract_mesh().axis_names
        and not is_debugging()
    )


def is_debugging() -> bool:
    """Whether one of jax's options for debugging is on."""
    return any(getattr(jax.config, name) for name in _MODES)


def variables_by_trace(frame: Frame, run: Callable[[], object]) -> dict[str, Any] | None:
    """The variables, by a trace of `run`; None if `run` must be called eagerly, in another frame.

    Args:
      frame: the call's frame.
      run: runs the method in the frame.
    """
    deferred = frame.deferred = Deferred()
    traces: list[object] = []
    ended = []

    def traced() -> tuple[()]:
        traces.append(_compat.trace_state())
        frame.trace = traces[0]
        # Caught here, since jax 0.6 would keep the error and its modules alive in a reference
        # cycle.
        try:
            run()
        except Exception:  # the eager run raises it in the right place, or raises nothing
            return ()
        ended.append(True)
        return ()

    try:
        effects = jax.make_jaxpr(traced)().effects
        if effects or deferred.reads_values or not ended:
            return None
        variables = deferred.drawn(frame.mutated())
    except Exception:  # an initializer's error, or a variable isn't an initial value
        return None
    finally:
        frame.collections = {}
        frame.deferred = None
    del deferred, traced  # jax keeps what it traced for as long as the function exists
    return None if outlives(traces.pop()) else variables


def run_eagerly_from_now_on(module: Module) -> None:
    """Notes that a trace did not show what `init` returns, but an eager run did."""
    _eager_classes.add(type(module))


_eager_classes: weakref.WeakSet[type] = weakref.WeakSet()
_MODES = ("jax_disable_jit", "jax_debug_nans", "jax_debug_infs", "jax_check_tracer_leaks")


@functools.cache
def _outermost() -> object:
    """The state of a thread that traces nothing."""
    states: list[object] = []
    thread = threading.Thread(target=lambda: states.append(_compat.trace_state()))
    thread.start()
    thread.join()
    return states[0]


def outlives(trace: object) -> bool:
    """Whether a value of a trace that has ended still exists."""
    if not _compat.is_alive(trace):
        return False
    gc.collect(0)  # it may be garbage that refers to itself
    if not _compat.is_alive(trace) or not _compat.has_values(trace):
        return False
    gc.collect()
    return _compat.has_values(trace)


def _ignores_key(init: object) -> bool:
    return bool(getattr(init, "ignores_key", False))


def _abstract(init: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    """The shapes and dtypes that `init` returns; None if `init` may be called only once."""
    kind = draws_of(init)
    if kind is None:
        kind = fills_of(init)
    if kind is None:
        return None
    if kind is not init and kind != init:  # in a box
        return jax.eval_shape(lambda key: init(key, *args, **kwargs), abstract_key())
    wide = bool(jax.config.jax_enable_x64)  # type: ignore[attr-defined]
    try:
        return _abstract_array(init, args, tuple(kwargs.items()), wide)
    except TypeError:  # an argument that is not hashable
        return None


@functools.lru_cache(maxsize=512)
def _abstract_array(
    init: Callable[..., Any], args: tuple[Any, ...], kwargs: tuple[tuple[str, Any], ...], wide: bool
) -> Any:
    return jax.eval_shape(lambda key: init(key, *args, **dict(kwargs)), abstract_key())


def _prints(cls: type) -> bool:
    """Whether a method of the class prints, or stops for a debugger."""
    known = _printing.get(cls)
    if known is None:
        functions = [
            getattr(member, "__wrapped__", member)
            for base in cls.__mro__
            if not base.__module__.startswith(_OURS)
            for member in vars(base).values()
        ]
        codes = [getattr(function, "__code__", None) for function in functions]
        known = _printing[cls] = any(_names(code) & _PRINTING for code in codes if code is not None)
    return known


def _names(code: CodeType) -> set[str]:
    inner = (_names(c) for c in code.co_consts if isinstance(c, CodeType))
    return set(code.co_names).union(*inner)


_printing: weakref.WeakKeyDictionary[type, bool] = weakref.WeakKeyDictionary()
_PRINTING = {"print", "pprint", "breakpoint", "set_trace", "logging", "logger"}
_OURS = __name__.split(".")[0] + "."


# Dicts keep their order; jax.tree would sort their keys.


def with_leaves(value: object, new: Iterator[Any]) -> Any:
    """`value` with the next leaves of `new`."""
    # At module level: a nested function's reference to itself would keep the tracers alive.
    if type(value) is dict:
        return {name: with_leaves(item, new) for name, item in value.items()}
    leaves, structure = jax.tree.flatten(value)
    found = [next(new) for _ in leaves]
    return value if all(map(is_, leaves, found)) else jax.tree.unflatten(structure, found)


def leaves_of(value: object) -> list[Any]:
    """The leaves of nested dicts of trees."""
    if type(value) is dict:
        return [leaf for item in value.values() for leaf in leaves_of(item)]
    return jax.tree.leaves(value)
