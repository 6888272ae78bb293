"""The wrapper around each method of a module.

A class's methods are wrapped once, when the class is created. The wrapper puts the module on this
thread's stack (so that modules made inside become its children), runs `setup` if it has not run
yet, names the operations, stores the result if it is captured, and, if an error passes through,
adds the module's path to it. When no special feature is on, this costs four checks of flags.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import jax

from ..config import config
from ..errors import (
    CallCompactUnboundModuleError,
    CallSetupUnboundModuleError,
    DescriptorAttributeError,
    IncorrectPostInitOverrideError,
    LinnetError,
)
from ..layout import ambiguous
from ..mismatched import mismatch
from ..tracebacks import strip
from .adoption import is_module
from .context import context, run_interceptors
from .hints import changed_in_place, still_packed, taken_for_array, variable_in_arithmetic

if TYPE_CHECKING:
    from .module import Module, _State

F = TypeVar("F", bound=Callable[..., Any])

# Marks on functions.
_LIFTED = "_linnet_lifted"
_COMPACT = "_linnet_compact"
_NOWRAP = "_linnet_nowrap"
_NAME_SCOPE = "_linnet_name_scope"
_CAPTURES = "_linnet_captures"
# Flax's name: libraries that rewrap methods look for it and remove our wrapper first.
_WRAPPED = "method_handler_wrapped"
UNWRAPPED_MARKS = (_WRAPPED,)


def compact(fun: F) -> F:
    """Marks a method that makes its submodules and parameters where it uses them.

    >>> from linnet.module_core.linen import Module, compact
    >>> import jax, jax.numpy as jnp
    >>> class Scale(Module):
    ...     @compact
    ...     def __call__(self, x):
    ...         return x * self.param("scale", jax.nn.initializers.ones, x.shape[-1:])
    >>> Scale().init(jax.random.key(0), jnp.ones((2, 3)))["params"]["scale"].shape
    (3,)
    """
    setattr(fun, _COMPACT, True)
    return fun


def nowrap(fun: F) -> F:
    """Marks a method that is not wrapped: a helper that needs no variables.

    It can be called on an unbound module, and modules that it makes belong to the module whose
    method calls it.
    """
    setattr(fun, _NOWRAP, True)
    return fun


def compact_name_scope(fun: F) -> F:
    """Marks a method whose submodules have the method's own name in their path.

    In a method `up`, `Dense(3)` becomes `up/Dense_0` instead of `Dense_0`, as if the method were a
    submodule. Parameters that the method makes itself still belong to the module.
    """
    setattr(fun, _NAME_SCOPE, True)
    return fun


def named_call(class_fn: F, force: bool = True) -> F:
    """Names the operations of a method, or of a function of a module, in profiles and in HLO.

    Module methods are named automatically; this is for functions and methods marked `nowrap`.

    Args:
      class_fn: a function whose first argument is a module.
      force: name the operations even if `disable_named_call` is in effect.
    """

    @functools.wraps(class_fn)
    def wrapper(self: Any, *args: object, **kwargs: object) -> object:
        if not (force or config.flax_profile) or self._state.in_setup:
            return class_fn(self, *args, **kwargs)
        with jax.named_scope(_operation_name(self, class_fn.__name__)):
            return class_fn(self, *args, **kwargs)

    return wrapper  # type: ignore[return-value]


def is_name_scope(fun: object) -> bool:
    """Whether `fun` was marked by `compact_name_scope`."""
    return getattr(fun, _NAME_SCOPE, False)


def is_compact(fun: object) -> bool:
    """Whether `fun` was marked by `compact`."""
    return getattr(fun, _COMPACT, False)


def mark_lifted(fun: F, compact_method: bool) -> F:
    """Marks the method of a transformed class: it makes its children in clones of the module."""
    setattr(fun, _LIFTED, True)
    setattr(fun, _COMPACT, compact_method)
    return fun


def mark_capturing(fun: F) -> F:
    """Marks a function that captures its own result, step by step inside a transform."""
    setattr(fun, _CAPTURES, True)
    return fun


def wrap_methods(cls: type[Module], fields: frozenset[str]) -> None:
    """Wraps the methods and properties that `cls` itself defines."""
    for name, value in list(vars(cls).items()):
        if name in fields or name in _LEFT_ALONE:
            continue
        if inspect.isfunction(value):
            dunder = name.startswith("__") and name.endswith("__")
            if getattr(value, _NOWRAP, False) or (dunder and name != "__call__"):
                continue
            setattr(cls, name, wrap_method_once(value))
        elif type(value) is property:
            getter = value.fget and _name_missing_attributes(value.fget)
            wrapped = property(getter, value.fset, value.fdel, value.__doc__)
            wrapped.__set_name__(cls, name)  # type: ignore[attr-defined]
            setattr(cls, name, wrapped)
        elif type(value) is functools.cached_property:
            cached = functools.cached_property(_name_missing_attributes(value.func))
            cached.__set_name__(cls, name)
            setattr(cls, name, cached)


# Generated by the dataclass, or called outside the usual order.
_LEFT_ALONE = frozenset(("__init__", "__post_init__", "__init_subclass__", "__new__"))


def _name_missing_attributes(getter: Callable[[Any], Any]) -> Callable[[Any], Any]:
    # Python reads an AttributeError in a property as "no such property" and falls back to
    # __getattr__, which would then name the property instead of the attribute that is missing.
    @functools.wraps(getter)
    def wrapped(self: object) -> object:
        try:
            return getter(self)
        except AttributeError as error:
            raise DescriptorAttributeError(
                f"The property {type(self).__name__}.{getter.__name__} raised an AttributeError: "
                f"{error}",
            ) from error

    return wrapped


def wrap_method_once(fun: Callable[..., Any]) -> Callable[..., Any]:
    """`wrap_method(fun)`, or `fun` itself if it is wrapped.

    A wrapped method has the mark `method_handler_wrapped`, and the original as `__wrapped__`.

    >>> from linnet.module_core.linen import Module
    >>> class Double(Module):
    ...     def __call__(self, x):
    ...         return 2 * x
    >>> wrapped = Double.__call__
    >>> wrapped.method_handler_wrapped, wrap_method_once(wrapped) is wrapped
    (True, True)
    >>> wrapped.__wrapped__(None, 21)
    42
    """
    return fun if hasattr(fun, _WRAPPED) else wrap_method(fun)


def wrap_method(fun: Callable[..., Any]) -> Callable[..., Any]:
    """Wraps the method `fun` in everything that a module's method needs."""
    needs_scope = is_compact(fun)
    lifted = getattr(fun, _LIFTED, False)
    compact_method = needs_scope and not lifted
    captured = getattr(fun, _CAPTURES, False)
    name = fun.__name__
    is_setup = name == "setup"
    if is_name_scope(fun):
        fun = _in_name_scope(fun, name)

    @functools.wraps(fun)
    def wrapped(self: Any, /, *args: object, **kwargs: object) -> object:
        state = self.__dict__.get("_state") if hasattr(self, "__dict__") else None
        if state is None:
            if needs_scope or is_setup or not is_module(self):
                raise _not_a_module(self, fun)
            return _run_unfinished(self, fun, *args, **kwargs)
        scope = self.__dict__["scope"]
        if scope is None:
            if needs_scope:
                raise CallCompactUnboundModuleError(
                    f"{type(self).__name__}.{name} is compact, but this module is not bound.",
                    hint="Use module.init(key, *args) and module.apply(variables, *args), or "
                    "module.bind(variables). A module made in setup must be assigned to self.",
                )
            if is_setup:
                raise CallSetupUnboundModuleError(
                    f"{type(self).__name__}.setup was called, but this module is not bound.",
                    hint="setup runs automatically, before the first method of a bound module.",
                )
        elif not state.setup_ran and not is_setup and not lifted:
            self._run_setup()
        if context.interceptors:
            bound = functools.partial(_run, self, state, fun, name, compact_method, captured)
            functools.update_wrapper(bound, fun)
            return run_interceptors(bound, self, name, args, kwargs)
        return _run(self, state, fun, name, compact_method, captured, *args, **kwargs)

    setattr(wrapped, _WRAPPED, True)
    return wrapped


def run_method(
    module: Module,
    fun: Callable[..., Any],
    name: str,
    compact_method: bool,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    *,
    capture: bool = False,
) -> object:
    """Runs `fun(module, *args)` as a method, for a clone inside a transform.

    With `capture`, its result is captured here, unless the method is transformed again.
    """
    module._run_setup()
    captured = not capture or getattr(fun, _CAPTURES, False)
    return _run(module, module._state, fun, name, compact_method, captured, *args, **kwargs)


def _run(
    self: Module,
    state: _State,
    fun: Callable[..., Any],
    name: str,
    compact_method: bool,
    captured: bool,
    /,
    *args: object,
    **kwargs: object,
) -> object:
    stack = context.stack
    stack.append(self)
    outermost = False
    if compact_method:
        outermost = not state.in_compact
        if outermost:
            state.begin_compact(self.scope)  # type: ignore[arg-type]  # bound
    try:
        if config.flax_profile and self.scope is not None:
            with jax.named_scope(_operation_name(self, name)):
                result = fun(self, *args, **kwargs)
        else:
            result = fun(self, *args, **kwargs)
        if not captured and self.scope is not None and self.scope.frame.capture is not None:
            self._capture(name, result)
        return result
    except LinnetError as error:
        if error.where is None:
            error.locate(_where(self))
            if (hint := still_packed(self, fun, args, kwargs)) is not None:
                error.add_note(hint)
        if len(stack) == 1:
            strip(error)
        raise
    except Exception as error:
        _note(error, self, name, fun, args, kwargs)
        if len(stack) == 1:  # a bound module that the user calls
            strip(error)
        raise
    finally:
        stack.pop()
        if outermost:
            state.end_compact()


def _run_unfinished(
    self: Module, fun: Callable[..., object], /, *args: object, **kwargs: object
) -> object:
    """Runs a method that isn't compact of an instance whose constructor did not finish.

    Libraries have layers whose `__init__` only discards arguments and whose call returns its input.
    They have no parent and no variables; whatever needs these raises the error of `not_made`.
    """
    context.stack.append(self)
    try:
        return fun(self, *args, **kwargs)
    finally:
        context.stack.pop()


def _operation_name(module: Module, method: str) -> str:
    name = str(module.name or type(module).__name__)
    return name if method == "__call__" else f"{name}.{method}"


def _where(module: Module) -> str:
    """Path and class of `module`, as errors name it."""
    cls = type(module).__name__
    scope = module.scope
    if scope is None:
        return f"{cls} (unbound)"
    return f"{'/'.join(scope.path)} ({cls})" if scope.path else cls


def _note(
    error: Exception,
    module: Module,
    method: str,
    fun: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> None:
    # An error from jax or the user's code: the innermost module that it passes adds the location.
    if module.scope is None or getattr(error, "_linnet_noted", False):
        return
    try:
        error._linnet_noted = True  # type: ignore[attr-defined]
    except AttributeError:
        return
    error.add_note(f"In {_where(module)}, method {method}.")
    for hint in (
        mismatch(error, fun, (module, *args), kwargs),
        taken_for_array(error, module),
        changed_in_place(error, module),
        variable_in_arithmetic(error),
        still_packed(module, fun, args, kwargs),
        ambiguous(error),
    ):
        if hint is not None:
            error.add_note(hint)


def _not_a_module(self: object, fun: Callable[..., Any]) -> Exception:
    if is_module(self):
        return not_made(type(self))
    return TypeError(
        f"{fun.__qualname__} was called on {self!r:.60} of type {type(self).__name__}; its first "
        "argument is a module. Call it on an instance, not on the class."
    )


def not_made(cls: type) -> Exception:
    """The error about an instance whose constructor did not finish."""
    custom = next(c for c in cls.__mro__ if "__init__" in vars(c))
    if vars(custom).get("_own_init"):
        return IncorrectPostInitOverrideError(
            f"Overrode `{custom.__name__}.__init__()` without calling `super().__init__()` first.",
            hint="A module needs no __init__: annotate its fields in the class (features: int), "
            "and make submodules in setup or in a compact method.",
        )
    return IncorrectPostInitOverrideError(
        f"Overrode `{cls.__name__}.__post_init__()` without calling `super().__post_init__()`.",
        hint="Call it at the end of your __post_init__.",
    )


def _in_name_scope(fun: Callable[..., Any], name: str) -> Callable[..., Any]:
    @functools.wraps(fun)
    def scoped(self: Module, *args: object, **kwargs: object) -> object:
        helper = self._name_scope(name)
        context.stack.append(helper)
        helper._state.begin_compact(helper.scope)  # type: ignore[arg-type]  # bound
        try:
            return fun(self, *args, **kwargs)
        finally:
            helper._state.end_compact()
            context.stack.pop()

    return scoped
