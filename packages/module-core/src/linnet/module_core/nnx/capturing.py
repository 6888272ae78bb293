"""`capture`: running a module while what it sows is collected beside it, not in it.

While a captured call runs, a `Recorder` is current, and `sow` and `perturb` go to it: it keeps, for
each module, a dict of variables. Afterwards the dicts are laid out as states by the modules' paths.
The module itself is left as it was.
"""

from __future__ import annotations

import contextvars
import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from .graph import iter_graph
from .pytree import Pytree
from .state import FlatState, Path, State, from_flat_state, to_flat_state
from .variable import Variable
from .variable_types import Perturbation

_current: contextvars.ContextVar[Recorder | None] = contextvars.ContextVar(
    "nnx_recorder", default=None
)


def current() -> Recorder | None:
    """The recorder of the captured call that runs, if one does."""
    return _current.get()


class Recorder:
    """What modules sowed during one captured call.

    Args:
      types: the types of variables that are captured; others are dropped.
      initial: for each module's identity, variables to start from.
    """

    def __init__(
        self,
        types: tuple[type[Variable[Any]], ...],
        initial: dict[int, dict[str, Variable[Any]]],
        creates_perturbations: bool,
    ) -> None:
        self.types = types
        self.found = initial
        self.creates_perturbations = creates_perturbations

    def sow(
        self,
        module: Any,
        variable_type: type[Variable[Any]],
        name: str,
        value: Any,
        reduce_fn: Callable[[Any, Any], Any],
        init_fn: Callable[[], Any],
    ) -> bool:
        """Stores a sown value, if its type is captured."""
        if not issubclass(variable_type, self.types):
            return False
        mine = self.found.setdefault(id(module), {})
        if name in mine:
            mine[name] = variable_type(reduce_fn(mine[name].raw_value, value))
        else:
            mine[name] = variable_type(reduce_fn(init_fn(), value))
        return True

    def perturb(
        self, module: Any, variable_type: type[Variable[Any]], name: str, value: Any
    ) -> Any:
        """Adds the perturbation that there is; makes one of zeros if that type is captured."""
        mine = self.found.setdefault(id(module), {})
        if name not in mine:
            if not (self.creates_perturbations and issubclass(variable_type, self.types)):
                return value
            mine[name] = variable_type(jax.tree.map(jnp.zeros_like, value))
        return jax.tree.map(jnp.add, mine[name].raw_value, value)


def capture(
    fn: Any,
    *var_types: type[Variable[Any]],
    init: State | None = None,
    method_outputs: type[Variable[Any]] | None = None,
) -> Callable[..., Any]:
    """Makes a function or module return, beside its output, what was sown while it ran.

    Args:
      fn: a module, a bound method of one, or a function whose first argument is a module. Types
        alone make a decorator: `capture(nnx.Intermediate)(fn)`.
      *var_types: the types to collect, one state each; the first that fits takes a variable.
      init: perturbations to use, as an earlier capture returned them.
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
    def captured(*args: Any, **kwargs: Any) -> Any:
        root = fn if isinstance(fn, Pytree) else getattr(fn, "__self__", None)
        root = root if isinstance(root, Pytree) else args[0]
        paths = {id(x): (path, x) for path, x in iter_graph(root) if isinstance(x, Pytree)}
        recorder = Recorder(tuple(types), _initial(paths, init), init is None)
        token = _current.set(recorder)
        try:
            with _recorded_methods(paths, method_outputs, recorder):
                output = fn(*args, **kwargs)
        finally:
            _current.reset(token)
        flat = FlatState(
            (
                ((*paths[i][0], name), variable)
                for i, mine in recorder.found.items()
                if i in paths
                for name, variable in mine.items()
            ),
            sort=True,
        )
        return output, *_by_type(flat, var_types or types)

    return captured


def _decorator(fn: Any, *, var_types: Any, init: Any, method_outputs: Any) -> Callable[..., Any]:
    return capture(fn, *var_types, init=init, method_outputs=method_outputs)


def _by_type(flat: FlatState[Any], types: tuple[type[Variable[Any]], ...]) -> list[State]:
    parts: list[dict[Path, Any]] = [{} for _ in types]
    for path, variable in flat:
        for part, cls in zip(parts, types, strict=True):
            if isinstance(variable, cls):
                part[path] = variable
                break
    return [from_flat_state(part) for part in parts]


def _initial(
    paths: Mapping[int, tuple[Path, Any]], init: State | None
) -> dict[int, dict[str, Variable[Any]]]:
    found: dict[int, dict[str, Variable[Any]]] = {}
    by_path = {path: i for i, (path, _) in paths.items()}
    for path, leaf in to_flat_state(init or {}):
        variable = leaf if isinstance(leaf, Variable) else Perturbation(leaf)
        if path[:-1] in by_path:
            found.setdefault(by_path[path[:-1]], {})[path[-1]] = variable
    return found


class _recorded_methods:
    """Within it, public methods of the modules' classes record what they return."""

    def __init__(self, paths: Any, variable_type: Any, recorder: Recorder) -> None:
        self._type = variable_type
        self._recorder = recorder
        self._modules = {id(x) for _, x in paths.values()}
        self._classes = {type(x) for _, x in paths.values()} if variable_type else set()
        self._replaced: list[tuple[type, str, Any]] = []

    def __enter__(self) -> None:
        for cls in self._classes:
            for name, method in list(vars(cls).items()):
                public = name == "__call__" or not name.startswith("_")
                if public and callable(method) and not isinstance(method, type):
                    self._replaced.append((cls, name, method))
                    setattr(cls, name, self._recording(name, method))

    def _recording(self, name: str, method: Any) -> Any:
        @functools.wraps(method)
        def run(module: Any, *args: Any, **kwargs: Any) -> Any:
            output = method(module, *args, **kwargs)
            if id(module) in self._modules:
                self._recorder.sow(
                    module, self._type, name, output, lambda old, new: (*old, new), tuple
                )
            return output

        return run

    def __exit__(self, *_: Any) -> None:
        for cls, name, method in self._replaced:
            setattr(cls, name, method)
