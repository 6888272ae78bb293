"""`capture`: runs a module and returns its sown values separately.

During the captured call, each module has an additional attribute, a tuple with a variable for each
captured type, whose value is a dict of the sown values by name. Like all variables, sown values
thus pass through every transform, every copy by `split` and `merge`, and every loop, along the axis
of their type. Afterwards, the dicts become states keyed by the modules' paths, and the attributes
are removed.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import jax
import jax.numpy as jnp

from .nodes import edits
from .nodes.pytree import Pytree
from .structure.iteration import iter_graph
from .structure.states import FlatState, Path, State, from_flat_state, to_flat_state
from .variable.variable import Variable, new_variable
from .variable.variable_types import Perturbation

T = TypeVar("T")

CAPTURES = "__captures__"
"""The name of the attribute."""

Captures = tuple[Variable[Any], ...]


def captures_of(module: object) -> Captures | None:
    """The variables that a module sows into during a captured call."""
    found: Captures | None = module.__dict__.get(CAPTURES)
    return found


def sow(
    captures: Captures,
    variable_type: type[Variable[Any]],
    name: str,
    value: object,
    reduce_fn: Callable[[Any, Any], Any],
    init_fn: Callable[[], Any],
) -> bool:
    """Stores a sown value if its type is captured."""
    holder = _holder_for(captures, variable_type)
    if holder is None:
        return False
    before = holder.raw_value[name] if name in holder.raw_value else init_fn()
    _store(holder, variable_type, name, reduce_fn(before, value))
    return True


def perturb(captures: Captures, variable_type: type[Variable[Any]], name: str, value: T) -> T:
    """Adds an existing perturbation, or creates one of zeros if its type is captured."""
    holder = _holder_for(captures, variable_type)
    if holder is None:
        return value
    if name not in holder.raw_value:
        if holder.get_metadata(_GIVEN, False):
            return value
        _store(holder, variable_type, name, jax.tree.map(jnp.zeros_like, value))
    perturbed: T = jax.tree.map(jnp.add, holder.raw_value[name], value)
    return perturbed


def names_of(captures: Captures) -> list[str]:
    """The names of all sown values."""
    return [name for holder in captures for name in holder.raw_value]


# Static metadata of the holders, so that each way of capturing compiles its own program.
_GIVEN = "perturbations_given"
_METHODS = "method_outputs"
_TYPES = "sown_types"


def _holder_for(captures: Captures, cls: type[Variable[Any]]) -> Variable[Any] | None:
    return next((h for h in captures if issubclass(cls, type(h))), None)


def _store(holder: Variable[Any], cls: type[Variable[Any]], name: str, value: object) -> None:
    holder.set_raw_value({**holder.raw_value, name: value})
    if cls is not type(holder):
        types = holder.get_metadata(_TYPES, {})
        if types.get(name) is not cls:
            holder.set_metadata(_TYPES, {**types, name: cls})


def capture(
    fn: Callable[..., Any] | type[Variable[Any]],
    *var_types: type[Variable[Any]],
    init: State | None = None,
    method_outputs: type[Variable[Any]] | None = None,
) -> Callable[..., Any]:
    """Wraps a function or module so that it also returns the values sown during the call.

    Args:
      fn: a module, a bound method of one, or a function whose first argument is a module. With
        types alone, the result is a decorator: `capture(nnx.Intermediate)(fn)`.
      *var_types: the types to collect, one state for each; a variable goes to the first type that
        matches.
      init: perturbations to use, as returned by an earlier capture.
      method_outputs: a type under which the output of every method call of every module is
        collected, by the method's name.

    Returns:
      A function that returns `(output, state, ...)`.
    """
    if isinstance(fn, type) and issubclass(fn, Variable):
        return functools.partial(
            _decorator, var_types=(fn, *var_types), init=init, method_outputs=method_outputs
        )
    types = var_types if method_outputs is None else (*var_types, method_outputs)

    @functools.wraps(fn if not isinstance(fn, Pytree) else type(fn).__call__)
    def captured(*args: object, **kwargs: object) -> object:
        root = fn if isinstance(fn, Pytree) else getattr(fn, "__self__", None)
        root = root if isinstance(root, Pytree) else args[0]
        modules = _modules(root)
        given = _by_module(init)
        before = {id(x): captures_of(x) for _, x in modules}
        try:
            for path, module in modules:
                _attach(module, _holders(types, given.get(path), init, method_outputs))
            with _recorded_methods(modules, method_outputs):
                output = fn(*args, **kwargs)
            found = _collected(_modules(root))
        finally:
            for _, module in (*modules, *_modules(root)):
                _attach(module, before.get(id(module)))
        return output, *_by_type(found, var_types or types)

    return captured


def _modules(root: object) -> list[tuple[Path, Any]]:
    """The modules below a root with their paths, except containers whose attributes are items."""
    return [(path, x) for path, x in iter_graph(root) if getattr(type(x), "_takes_captures", False)]


def _attach(module: object, captures: Captures | None) -> None:
    # Bypasses the check of trace levels: the module is restored after the call.
    if captures is None:
        module.__dict__.pop(CAPTURES, None)
    else:
        module.__dict__[CAPTURES] = captures
    edits.count[0] += 1


def _holders(
    types: tuple[type[Variable[Any]], ...],
    given: Mapping[str, Variable[Any]] | None,
    init: State | None,
    method_outputs: type[Variable[Any]] | None,
) -> Captures:
    metadata = {_GIVEN: True} if init is not None else {}
    made = [new_variable(cls, {}, metadata) for cls in dict.fromkeys(types)]
    for name, variable in (given or {}).items():
        holder = _holder_for(tuple(made), type(variable))
        if holder is None:
            holder = new_variable(type(variable), {}, metadata)
            made.append(holder)
        _store(holder, type(variable), name, variable.raw_value)
    if method_outputs is not None:
        holder = _holder_for(tuple(made), method_outputs)
        assert holder is not None
        holder.set_metadata(_METHODS, True)
    return tuple(made)


def _collected(modules: list[tuple[Path, Any]]) -> FlatState[Any]:
    found: list[tuple[Path, Variable[Any]]] = []
    for path, module in modules:
        for holder in captures_of(module) or ():
            types = holder.get_metadata(_TYPES, {})
            found.extend(
                ((*path, name), new_variable(types.get(name, type(holder)), value, {}))
                for name, value in holder.raw_value.items()
            )
    return FlatState(iter(found), sort=True)


def _decorator(
    fn: Callable[..., Any],
    *,
    var_types: tuple[type[Variable[Any]], ...],
    init: State | None,
    method_outputs: type[Variable[Any]] | None,
) -> Callable[..., Any]:
    return capture(fn, *var_types, init=init, method_outputs=method_outputs)


def _by_type(flat: FlatState[Any], types: tuple[type[Variable[Any]], ...]) -> list[State]:
    parts: list[dict[Path, Any]] = [{} for _ in types]
    for path, variable in flat:
        for part, cls in zip(parts, types, strict=True):
            if isinstance(variable, cls):
                part[path] = variable
                break
    return [from_flat_state(part) for part in parts]


def _by_module(init: State | None) -> dict[Path, dict[str, Variable[Any]]]:
    """Perturbations by the path of their module and by name."""
    found: dict[Path, dict[str, Variable[Any]]] = {}
    for path, leaf in to_flat_state(init or {}):
        variable = leaf if isinstance(leaf, Variable) else Perturbation(leaf)
        found.setdefault(path[:-1], {})[path[-1]] = variable
    return found


class _recorded_methods:
    """A context in which public methods of the modules' classes record their outputs."""

    def __init__(
        self, modules: list[tuple[Path, Any]], variable_type: type[Variable[Any]] | None
    ) -> None:
        self._type = variable_type
        self._classes = {type(x) for _, x in modules}
        self._replaced: list[tuple[type, str, Any]] = []

    def __enter__(self) -> None:
        if self._type is None:
            return
        for cls in self._classes:
            for name, method in list(vars(cls).items()):
                public = name == "__call__" or not name.startswith("_")
                if public and callable(method) and not isinstance(method, type):
                    self._replaced.append((cls, name, method))
                    setattr(cls, name, _recording(self._type, name, method))

    def __exit__(self, *_: object) -> None:
        for cls, name, method in self._replaced:
            setattr(cls, name, method)


def _recording(
    variable_type: type[Variable[Any]], name: str, method: Callable[..., object]
) -> Callable[..., object]:
    """The method, with its outputs stored under its name where its module is being captured."""

    @functools.wraps(method)
    def run(module: object, *args: object, **kwargs: object) -> object:
        output = method(module, *args, **kwargs)
        captures = captures_of(module)
        if captures is not None:
            sow(captures, variable_type, name, output, lambda old, new: (*old, new), tuple)
        return output

    return run
