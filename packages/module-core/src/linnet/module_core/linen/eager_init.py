"""`init` outside of `jit`: one trace of the method, then the initial values.

An eager forward pass compiles and runs each of its operations, for results that `init` discards.
Here the method is traced instead, with the arguments as they are, and the program is discarded.

* A parameter whose initializer may be called again (`draws`) is a tracer while the method runs, and
  is drawn afterwards, by the call that an eager run would make.
* Any other initial value is computed during the trace (`Scope.evaluate`).

Every variable is therefore computed by the same operations as in an eager forward pass, and has the
same bits. That would not hold for a value that the method itself computes, because a compiled
program may round differently from its operations run one by one. Therefore the method runs again,
eagerly, where a trace cannot tell what `init` returns or does:

* a variable is computed from others, or from inputs (sown losses, data-dependent initialization);
* the program has effects (`jax.debug.print`, callbacks);
* Python looks at a value, or any error is raised: the eager run raises the same error, or none;
* a traced value outlives the trace, for example in a list outside;
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
from ..draws import draws_of, fills_of
from .context import context
from .frame import Frame
from .rng import abstract_key, fold_in

if TYPE_CHECKING:
    from .module import Module
    from .scope import Scope


class _Draw(NamedTuple):
    """How a parameter is drawn after the trace."""

    placeholders: list[Any]
    init: Callable[..., Any]
    root: Any
    number: np.uint32 | jax.Array | None  # folded into the root key; None: the key is ignored
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]


class Deferred:
    """The parameters that are drawn after the trace.

    Attributes:
      reads_values: whether a module in the call has a method that must not be traced.
    """

    def __init__(self) -> None:
        self._draws: list[_Draw] = []
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
        n = scope.draws.next("params")
        number = None if _ignores_key(init) else scope.path_hash().number(n)
        leaves, structure = jax.tree.flatten(abstract)
        placeholders = [jnp.zeros(leaf.shape, leaf.dtype) for leaf in leaves]
        self._draws.append(_Draw(placeholders, init, root, number, args, kwargs))
        return jax.tree.unflatten(structure, placeholders)

    def adopts(self, module: Module) -> None:
        """Notes that `module` belongs to the call, and stops the trace if it cannot be traced."""
        if _prints(type(module)):
            self.reads_values = True
            raise _NotToldError

    def drawn(self, variables: Mapping[str, Any]) -> dict[str, Any]:
        """The variables with their initial values.

        Raises:
          _NotToldError: one of them is not an initial value.
        """
        wanted = {id(leaf) for leaf in leaves_of(variables)}
        values: dict[int, Any] = {}
        for draw in self._draws:
            if not any(id(leaf) in wanted for leaf in draw.placeholders):
                continue
            key = draw.root if draw.number is None else fold_in(draw.root, draw.number)
            leaves = jax.tree.leaves(strong(draw.init(key, *draw.args, **draw.kwargs)))
            for placeholder, leaf in zip(draw.placeholders, leaves, strict=True):
                values[id(placeholder)] = leaf
        leaves = [values.get(id(leaf), leaf) for leaf in leaves_of(variables)]
        if any(isinstance(leaf, jax.core.Tracer) for leaf in leaves):
            raise _NotToldError
        filled: dict[str, Any] = with_leaves(variables, iter(leaves))
        return filled


class _NotToldError(Exception):
    """A trace does not tell what `init` returns."""


def may_trace(module: Module, frame: Frame) -> bool:
    """Whether a trace may tell what `init` returns: outside of transforms, meshes and debugging."""
    return (
        type(module) not in _eager_classes
        and "params" in frame.keys
        and frame.trace == _outermost()
        and not any(isinstance(key, jax.core.Tracer) for key in frame.keys.values())
        and not context.interceptors
        and not jax.sharding.get_abstract_mesh().axis_names
        and not any(getattr(jax.config, name) for name in _MODES)
    )


def variables_by_trace(frame: Frame, run: Callable[[], object]) -> dict[str, Any] | None:
    """The variables, by a trace of `run`; None if `run` must be called eagerly, in another frame.

    Args:
      frame: of the call.
      run: runs the method in the frame.
    """
    deferred = frame.deferred = Deferred()
    traces: list[object] = []
    ended = []

    def traced() -> tuple[()]:
        traces.append(_compat.trace_state())
        frame.trace = traces[0]
        # Caught here, since jax 0.6 ties an error that reaches it, and its modules, into a ring.
        try:
            run()
        except Exception:  # the eager run raises it where it belongs, or does not
            return ()
        ended.append(True)
        return ()

    try:
        effects = jax.make_jaxpr(traced)().effects
        if effects or deferred.reads_values or not ended:
            return None
        variables = deferred.drawn(frame.mutated())
    except Exception:  # an initializer's, or a variable isn't an initial value
        return None
    finally:
        frame.collections = {}
        frame.deferred = None
    del deferred
    return None if _outlives(traces.pop()) else variables


def run_eagerly_from_now_on(module: Module) -> None:
    """Notes that a trace did not tell what `init` returns, but an eager run did."""
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


def _outlives(trace: object) -> bool:
    """Whether something still refers to a trace that has ended, or to one of its values."""
    if not _compat.is_alive(trace):
        return False
    gc.collect()  # it may be garbage that refers to itself
    return _compat.is_alive(trace)


def _ignores_key(init: object) -> bool:
    return bool(getattr(init, "ignores_key", False))


def _abstract(init: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    """Shapes and dtypes of what `init` returns; None if it may be called only once."""
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
