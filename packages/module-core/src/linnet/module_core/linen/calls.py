"""Sets up a call to `init`, `apply` or `bind`.

A call makes a frame from the user's arguments, binds a clone of the module to the frame's root,
runs the method, and returns its output, the frame's variables, or both. The module itself never
changes. If it can, `init` traces the method instead; see `eager_init`.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, TypeVar, overload

from linnet.struct import FrozenDict

from ..boxes import map_axis_meta
from ..config import config
from ..draws import Recorder, is_groupable
from ..errors import (
    ApplyModuleInvalidMethodError,
    DescriptorAttributeError,
    InvalidInstanceModuleError,
    describe,
)
from ..forgotten_mesh import may_be_forgotten
from ..mismatched import mismatch
from ..tracebacks import entry
from ..typing import PRNGKey, RNGSequences
from . import adoption, eager_init
from .context import context
from .eager_init import leaves_of, with_leaves
from .filters import CollectionFilter, DenyList, NamedCollections, union_filters
from .frame import CaptureFilter, Frame, collections_of
from .rng import as_streams
from .scope import Scope
from .staged_init import with_groups

if TYPE_CHECKING:
    from .module import CaptureIntermediates, Module

M = TypeVar("M", bound="Module")
R = TypeVar("R")


def apply(
    module: Module,
    method: object,
    mutable: CollectionFilter,
    capture: object,
    variables: object,
    rngs: object,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> Any:
    """Runs a method with the given variables; see `Module.apply`."""
    fn = resolve_method(module, method)
    if capture:
        mutable = union_filters(mutable, "intermediates")
    frame = Frame(
        collections_of(variables, mutable),
        as_streams(rngs, type(module).__name__),
        mutable,
        capture=_capture_filter(capture),
    )
    output = _run(module, fn, frame, args, kwargs)
    return output if mutable is False else (output, returned(frame.mutated()))


def init_with_output(
    module: Module,
    method: object,
    mutable: CollectionFilter,
    capture: object,
    rngs: object,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    *,
    concrete: bool = False,
    output_is_used: bool = True,
) -> tuple[Any, dict[str, Any]]:
    """Runs a method and makes the variables; see `Module.init_with_output`."""
    fn = resolve_method(module, method)
    if capture:
        mutable = union_filters(mutable, "intermediates")
    keys = as_streams(rngs, type(module).__name__, required=True)

    def new_frame() -> Frame:
        return Frame(
            {},
            keys,
            mutable,
            initializing=True,
            concrete=concrete,
            capture=_capture_filter(capture),
        )

    frame = new_frame()
    is_traced = not (output_is_used or capture) and eager_init.may_trace(module, frame)
    if is_traced:
        made = eager_init.variables_by_trace(frame, lambda: _run(module, fn, frame, args, kwargs))
        if made is not None:
            if may_be_forgotten():  # without this, reading a box warns
                map_axis_meta(lambda box: box._notice_mesh(), made)
            return None, returned(made)
        frame = new_frame()
    elif is_groupable(keys.get("params")):
        if not output_is_used:
            frame.recorder = Recorder()
        elif not (context.interceptors or eager_init.is_debugging()):

            def run(recorder: Recorder) -> tuple[Any, dict[str, Any]]:
                inner = new_frame()
                inner.recorder = recorder
                return _run(module, fn, inner, args, kwargs), inner.mutated()

            both = with_groups(type(module), run)
            if both is not None:
                return both[0], returned(both[1])
    output = _run(module, fn, frame, args, kwargs)
    if is_traced:
        eager_init.run_eagerly_from_now_on(module)
    variables = frame.mutated()
    if frame.recorder is not None:
        variables = _grouped(variables, frame.recorder)
    return output, returned(variables)


def _grouped(variables: dict[str, Any], recorder: Recorder) -> dict[str, Any]:
    """The variables with their draws in groups."""
    grouped: dict[str, Any] = with_leaves(variables, iter(recorder.grouped(leaves_of(variables))))
    return grouped


def bind(module: M, variables: object, rngs: object, mutable: CollectionFilter) -> M:
    """A clone of `module` that holds the variables; see `Module.bind`."""
    check_instance(module)
    frame = Frame(
        collections_of(variables, mutable),
        as_streams(rngs, type(module).__name__),
        mutable,
        lasting=True,
    )
    return bound_clone(module, frame)


def bound_clone(module: M, frame: Frame) -> M:
    """A clone of `module`, and of the modules in its fields, at the root of `frame`."""
    if module.scope is not None or any(_is_placed(m) for m in _field_modules(module)):
        module = module.clone(_deep_clone=True, _reset_names=True, name=module.name)
    return module.clone(parent=Scope.outermost(frame))


def _field_modules(module: Module) -> list[Module]:
    return [m for f in module._fields for _, m in adoption.iter_modules(getattr(module, f))]


def _is_placed(module: Module) -> bool:
    return module.parent is not None or any(_is_placed(m) for m in _field_modules(module))


def _run(
    module: Module,
    fn: Callable[..., Any],
    frame: Frame,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> object:
    bound = bound_clone(module, frame)
    try:
        return fn(bound, *args, **kwargs)
    except TypeError as error:
        in_method = getattr(error, "_linnet_noted", False)  # the note explains that call
        hint = None if in_method else mismatch(error, fn, (bound, *args), kwargs)
        if hint is not None:
            error.add_note(
                f"A function given as `method` gets the bound module first; then: {hint}"
            )
        raise
    finally:
        frame.end()


def returned(collections: dict[str, Any]) -> dict[str, Any]:
    """Collections as users get them: plain dicts, or FrozenDicts if so configured."""
    if config.flax_return_frozendict:  # a setting for old programs; the annotation ignores it
        return FrozenDict(collections)  # type: ignore[return-value]
    return collections


def _capture_filter(capture: object) -> CaptureFilter | None:
    if not capture:
        return None
    if callable(capture):
        return capture
    return _is_call


# The same function object for all calls, because it is part of the key of `nn.jit`'s programs.
def _is_call(module: object, method: str) -> bool:
    return method == "__call__"


def resolve_method(module: Module, method: object) -> Callable[..., Any]:
    """The function that a call runs, with the bound module as its first argument.

    Raises:
      AttributeError, TypeError: the named method is missing, or is not a method.
      ApplyModuleInvalidMethodError: `method` is not a function that takes a module.
    """
    check_instance(module)
    if method is None:
        method = "__call__"
    if isinstance(method, str):
        return _named(module, method)
    owner = getattr(method, "__self__", None)
    if adoption.is_module(owner):
        method = _function_of(method)
    if not callable(method) or not _takes_an_argument(method):
        raise ApplyModuleInvalidMethodError(
            f"apply() cannot call {method!r}.",
            hint="Expected a method's name, a method, or a function whose first argument is the "
            "module.",
        )
    return method


def _named(module: Module, name: str) -> Callable[..., Any]:
    """The function that calls the method or attribute `name` of the bound module.

    A method of the class is used as is. A name that exists only on the bound module (a submodule, a
    property that reads one, an attribute made in setup) is looked up there. Any other callable,
    such as a function in a field, gets the bound module as its first argument, as if it had been
    passed as `method`.
    """
    cls = type(module)
    defined = next((vars(c)[name] for c in cls.__mro__ if name in vars(c)), None)
    if inspect.isfunction(defined) and (name == "__call__" or name not in vars(module)):
        return defined
    try:
        found = getattr(module, name)
    except (AttributeError, DescriptorAttributeError):
        if name == "__call__" or (defined is None and not cls._gains_attributes()):
            raise  # binding the module won't create it
        return _attribute(name)
    _check_callable(module, name, found)
    if adoption.is_module(found) or isinstance(defined, _BINDING):
        return _attribute(name)
    owner = getattr(found, "__self__", None)
    if owner is module:
        return _function_of(found)
    return _attribute(name) if adoption.is_module(owner) else found


# Descriptors whose attribute refers to the module, but not through `__self__`.
_BINDING = (functools.partialmethod, functools.singledispatchmethod)


def _attribute(name: str) -> Callable[..., Any]:
    """A function that calls the attribute `name` of the bound module that it is given."""

    def call(bound: Module, *args: object, **kwargs: object) -> object:
        found = getattr(bound, name)
        _check_callable(bound, name, found)
        return found(*args, **kwargs)

    call.__name__ = name
    return call


def _check_callable(module: Module, name: str, found: object) -> None:
    if not callable(found):
        raise TypeError(
            f"'{type(module).__name__}.{name}' must be a callable, got {type(found)}: "
            f"{found!r:.60}."
        )


def check_instance(module: object) -> None:
    """Checks that the module is an instance, not a class as in `Dense.init(key, x)`.

    Raises:
      InvalidInstanceModuleError: it is not.
    """
    if not adoption.is_module(module):
        raise InvalidInstanceModuleError(
            "Can only call init, apply or bind on an instance of a module, but the class was used: "
            f"`self` is {describe(module)}.",
            hint="Make an instance first: Dense(features=3).init(key, x).",
        )


def _function_of(method: Any) -> Callable[..., Any]:  # a bound method, of whatever type
    return method.__func__  # type: ignore[no-any-return]


def _takes_an_argument(fn: Callable[..., Any]) -> bool:
    try:
        parameters = inspect.signature(fn).parameters.values()
    except (TypeError, ValueError):
        return True
    return any(p.kind is not p.KEYWORD_ONLY and p.kind is not p.VAR_KEYWORD for p in parameters)


# The same calls as plain functions, for a function of a module.


@overload
def apply_fn(
    fn: Callable[..., R],
    module: Module,
    mutable: Literal[False] = False,
    capture_intermediates: CaptureIntermediates = False,
) -> Callable[..., R]: ...
@overload
def apply_fn(
    fn: Callable[..., R],
    module: Module,
    mutable: NamedCollections,
    capture_intermediates: CaptureIntermediates = False,
) -> Callable[..., tuple[R, dict[str, Any]]]: ...
@overload
def apply_fn(
    fn: Callable[..., Any],
    module: Module,
    mutable: CollectionFilter,
    capture_intermediates: CaptureIntermediates = False,
) -> Callable[..., Any]: ...
def apply_fn(
    fn: Callable[..., Any],
    module: Module,
    mutable: CollectionFilter = False,
    capture_intermediates: CaptureIntermediates = False,
) -> Callable[..., Any]:
    """A function (variables, *args, rngs=None, **kwargs) that runs `fn(bound module, *args)`.

    Args:
      fn: takes the bound module first.
      module: the module to bind.
      mutable, capture_intermediates: as in `Module.apply`.

    >>> from linnet.module_core import linen as nn
    >>> class Shift(nn.Module):
    ...     def by(self, x):
    ...         return x + self.get_variable("params", "offset")
    >>> f = nn.apply(lambda shift, x: shift.by(x) * 10, Shift())
    >>> f({"params": {"offset": 1}}, 3)
    40
    """

    @entry
    @functools.wraps(fn)
    def applied(variables: object, *args: object, rngs: object = None, **kwargs: object) -> object:
        return apply(module, fn, mutable, capture_intermediates, variables, rngs, args, kwargs)

    return applied


def init_with_output_fn(
    fn: Callable[..., R],
    module: Module,
    mutable: CollectionFilter = DenyList("intermediates"),
    capture_intermediates: CaptureIntermediates = False,
) -> Callable[..., tuple[R, dict[str, Any]]]:
    """A function (rngs, *args, **kwargs) that returns (output of `fn`, new variables).

    Args:
      fn: takes the bound module first.
      module: the module to bind.
      mutable, capture_intermediates: as in `Module.init`.
    """

    @entry
    @functools.wraps(fn)
    def initialized(
        rngs: PRNGKey | RNGSequences, *args: object, **kwargs: object
    ) -> tuple[Any, dict[str, Any]]:
        return init_with_output(module, fn, mutable, capture_intermediates, rngs, args, kwargs)

    return initialized


def init_fn(
    fn: Callable[..., Any],
    module: Module,
    mutable: CollectionFilter = DenyList("intermediates"),
    capture_intermediates: CaptureIntermediates = False,
) -> Callable[..., dict[str, Any]]:
    """A function (rngs, *args, **kwargs) that returns the variables that `fn` makes.

    Args:
      fn: takes the bound module first.
      module: the module to bind.
      mutable, capture_intermediates: as in `Module.init`.
    """
    with_output = init_with_output_fn(fn, module, mutable, capture_intermediates)

    @entry
    @functools.wraps(fn)
    def initialized(
        rngs: PRNGKey | RNGSequences, *args: object, **kwargs: object
    ) -> dict[str, Any]:
        return with_output(rngs, *args, **kwargs)[1]

    return initialized
