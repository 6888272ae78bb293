"""Records the method calls of a module, in order, without computing anything.

`init` runs once, on abstract inputs, with an interceptor that records the path, the arguments and
the result of each call. The records hold shapes, never values: arrays become
`jax.ShapeDtypeStruct`s and everything else becomes text, so that no traced value is kept alive.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import jax

from linnet.struct import unfreeze

from ..tables.cells import represent, represent_inputs
from ..tables.flops import UNKNOWN, is_array, separate
from . import calls
from .context import InterceptorContext, intercept_methods
from .filters import CollectionFilter
from .flops import Repetition, method_of
from .methods import is_name_scope

if TYPE_CHECKING:
    from .module import Module
    from .rng import Draws
    from .scope import Scope

Path = tuple[str, ...]


@dataclasses.dataclass
class Call:
    """One call to a module's method.

    Attributes:
      path: the module's path.
      module: an unbound copy of it.
      method: the method's name.
      inputs, outputs: in the form that `represent` returns.
      first: whether this is the first call at this path.
      flops, vjp_flops: FLOPs of the call and of its vector-Jacobian product; -1 if not requested,
        or not known to the backend.
    """

    path: Path
    module: Module
    method: str
    inputs: Any
    outputs: Any = None
    first: bool = True
    flops: int = UNKNOWN
    vjp_flops: int = UNKNOWN


@dataclasses.dataclass(frozen=True)
class Costs:
    """Which costs to determine, and for which calls.

    Attributes:
      flops, vjp_flops: whether to count them.
      depth: maximum depth of the calls to count; None for no limit.
      repeated: also count calls at a path that was called before.
    """

    flops: bool = False
    vjp_flops: bool = False
    depth: int | None = None
    repeated: bool = False

    def asked_for(self, path: Path, first: bool) -> bool:
        """Whether a call's cost is requested."""
        deep = self.depth is not None and len(path) > self.depth
        return (self.flops or self.vjp_flops) and not deep and (first or self.repeated)


def record(
    module: Module,
    rngs: object,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    *,
    method: object = None,
    mutable: CollectionFilter,
    capture: object = False,
    costs: Costs,
) -> tuple[list[Call], dict[str, dict[str, Any]]]:
    """The calls within `module.init(rngs, *args, **kwargs)`, and the shapes of its variables."""
    fn = calls.resolve_method(module, method)
    recorder = _Recorder(mutable, costs)
    inputs, rebuild = separate((rngs, args, kwargs), is_array)
    found: dict[str, Any] = {}

    def run(arrays: list[Any]) -> list[Any]:
        rngs, args, kwargs = rebuild(arrays)
        with intercept_methods(recorder):
            _, variables = calls.init_with_output(
                module, recorder.root(fn), mutable, capture, rngs, args, kwargs
            )
        leaves, found["rebuild"] = separate(unfreeze(variables), is_array)
        return leaves

    shapes = jax.eval_shape(run, inputs)
    return recorder.calls, found["rebuild"](shapes)


class _Recorder:
    """The interceptor."""

    def __init__(self, mutable: CollectionFilter, costs: Costs) -> None:
        self.calls: list[Call] = []
        self._mutable = mutable
        self._costs = costs
        self._top: Draws | None = None  # of the root scope; the scope itself would keep tracers
        self._seen: set[Path] = set()
        self._running: list[tuple[int, str]] = []
        self._paused = False

    def root(self, fn: Callable[..., Any]) -> Callable[..., Any]:
        """Wraps `fn`, which gets the outermost module, so that its call is recorded as well."""

        def run(bound: Module, *args: object, **kwargs: object) -> object:
            assert bound.scope is not None
            self._top = bound.scope.draws
            name = getattr(fn, "__name__", type(fn).__name__)
            call = Call((), _free(bound), name, represent_inputs(args, kwargs))
            repetition = self._repetition(call, fn, bound, args, kwargs)
            result = fn(bound, *args, **kwargs)
            if () not in self._seen:
                self._finish(call, result, repetition)
                self.calls.insert(0, call)
            return result

        return run

    def __call__(
        self,
        next_fun: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        context: InterceptorContext,
    ) -> object:
        module, name = context.module, context.method_name
        if self._paused or name == "setup" or not self._is_inside(module.scope):
            return next_fun(*args, **kwargs)
        if self._running and self._running[-1] == (id(module), name):  # super().method(...)
            return next_fun(*args, **kwargs)
        call = self._begin(module, context, args, kwargs)
        repetition = self._repetition(call, method_of(context), module, args, kwargs)
        index = len(self.calls)
        self.calls.append(call)
        self._running.append((id(module), name))
        try:
            result = next_fun(*args, **kwargs)
        except BaseException:
            # If the model catches the error and does something else, the call is not part of it.
            self._seen -= {failed.path for failed in self.calls[index:] if failed.first}
            del self.calls[index:]
            raise
        finally:
            self._running.pop()
        self._finish(call, result, repetition)
        return result

    def _is_inside(self, scope: Scope | None) -> bool:
        """Whether a module is part of this model, not of another model that it applies."""
        if scope is None or self._top is None:
            return False
        while scope.parent is not None:
            scope = scope.parent
        # Bodies of lifted transforms have their own root scopes but share the draw counts.
        return scope.path != () or scope.draws is self._top

    def _begin(
        self,
        module: Module,
        context: InterceptorContext,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Call:
        name = context.method_name
        if is_name_scope(context.orig_method):  # its submodules have one more name in their path
            module, name = module._name_scope(name), "__call__"
        assert module.scope is not None
        path = module.scope.path
        first = path not in self._seen
        self._seen.add(path)
        return Call(path, _free(module), name, represent_inputs(args, kwargs), first=first)

    def _repetition(
        self,
        call: Call,
        fn: Callable[..., Any],
        module: Module,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Repetition | None:
        if not self._costs.asked_for(call.path, call.first):
            return None
        return Repetition(fn, module, args, kwargs, self._mutable)

    def _finish(self, call: Call, result: object, repetition: Repetition | None) -> None:
        call.outputs = represent(result)
        if repetition is None:
            return
        self._paused = True
        try:
            if self._costs.flops:
                call.flops = repetition.flops()
            if self._costs.vjp_flops:
                call.vjp_flops = repetition.vjp_flops()
        finally:
            self._paused = False


def _free(module: Module) -> Module:
    return module.clone(_deep_clone=True, _reset_names=True)
