"""Per-thread state: the stack of running modules and the interceptors.

A module that is made while another module's method runs becomes its child: the parent is on top of
this thread's stack. Interceptors, which see every method call, are stored next to it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

from ..config import config
from ..records import Record
from ..typing import Output

if TYPE_CHECKING:
    from .module import Module


class _Context(threading.local):
    def __init__(self) -> None:
        self.stack: list[Module] = []
        self.interceptors: list[Interceptor] = []
        self.paths_read = 0  # how many times a method has read a module's path

    def __reduce__(self) -> str:
        # By name: notebook classes are pickled by value, including what their methods refer to.
        return "context"

    @property
    def module_stack(self) -> list[Module | None]:
        """The modules whose methods are running, innermost last, after a leading None.

        The last item is therefore the running module, or None. The list is a copy, so libraries
        that look up the calling module (such as a quantizer that replaced `jax.lax.dot_general`)
        cannot change the stack.
        """
        return [None, *self.stack]


context = _Context()


@contextmanager
def outside() -> Iterator[None]:
    """Makes modules unbound, even while a module's method is running."""
    stack, context.stack = context.stack, []
    try:
        yield
    finally:
        context.stack = stack


class InterceptorContext(Record):
    """The method call that an interceptor replaces.

    Attributes:
      module: the module whose method is called.
      method_name: the method's name.
      orig_method: the method as the class defines it.
    """

    module: Module
    method_name: str
    orig_method: Callable[..., Any]

    def __init__(self, module: Module, method_name: str, orig_method: Callable[..., Any]) -> None:
        vars(self).update(module=module, method_name=method_name, orig_method=orig_method)


class Interceptor(Protocol):
    """A function that is called instead of a method and calls the next function itself."""

    def __call__(
        self,
        next_fun: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        context: InterceptorContext,
    ) -> Output: ...


@contextmanager
def intercept_methods(interceptor: Interceptor) -> Iterator[None]:
    """Calls `interceptor(next_fun, args, kwargs, context)` in place of every module method.

    The outermost of several runs first; `next_fun(*args, **kwargs)` is the next one inward, and
    finally the method. Applies to this thread, within the `with` block.

    >>> from linnet.module_core.linen import Module, intercept_methods
    >>> class Double(Module):
    ...     def __call__(self, x):
    ...         return 2 * x
    >>> def plus_one(next_fun, args, kwargs, context):
    ...     return next_fun(*args, **kwargs) + 1
    >>> with intercept_methods(plus_one):
    ...     Double().apply({}, 20)
    41
    """
    context.interceptors.append(interceptor)
    try:
        yield
    finally:
        context.interceptors.pop()


def run_interceptors(
    method: Callable[..., Any],
    module: Module,
    name: str,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> object:
    """Calls `method(*args)` through this thread's interceptors."""
    about = InterceptorContext(module, name, method)
    chain: Callable[..., Any] = method
    for interceptor in reversed(context.interceptors):
        chain = _link(interceptor, chain, about)
    return chain(*args, **kwargs)


def _link(
    interceptor: Interceptor, inner: Callable[..., Any], about: InterceptorContext
) -> Callable[..., Any]:
    return lambda *args, **kwargs: interceptor(inner, args, kwargs, about)


def enable_named_call() -> None:
    """Names the operations of every module in profiles and in HLO (the default)."""
    config.update("flax_profile", True)


def disable_named_call() -> None:
    """Leaves the operations of modules unnamed."""
    config.update("flax_profile", False)


@contextmanager
def override_named_call(enable: bool = True) -> Iterator[None]:
    """Enables or disables the naming of operations within a `with` block."""
    before = config.flax_profile
    config.update("flax_profile", enable)
    try:
        yield
    finally:
        config.update("flax_profile", before)
