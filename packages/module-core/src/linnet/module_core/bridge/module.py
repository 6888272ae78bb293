"""`bridge.Module`: an nnx module that is written and used like a linen module.

It declares fields like a dataclass. Submodules are created in a `compact` method and named by class
and number, or created in `setup` and named by attribute. `init` returns collections of variables
and `apply` takes them. Internally, they are nnx variables in attributes, so nnx layers can be used
inside.

A module can only be called while it is bound to a `Scope` (see `scopes`). `init` and `apply` bind a
copy of the module, and its children are bound when they are created or assigned. A variable that a
module requests is looked up among those that were passed, and created if it is missing.
"""

from __future__ import annotations

import enum
import functools
import types
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar, dataclass_transform

import jax

from ..accepted import accepted
from ..boxes import AxisMetadata
from ..errors import (
    ArgumentError,
    CallCompactUnboundModuleError,
    NameInUseError,
    ScopeVariableNotFoundError,
    describe,
)
from ..linen.filters import CollectionFilter, in_filter
from ..nnx import module as nnx_module
from ..nnx.containers import Dict, List
from ..nnx.nodes.contents import holds_data
from ..nnx.nodes.pytree import Pytree, dataclass
from ..nnx.streams.rngs import Rngs
from ..nnx.structure.graph import merge, split, state
from ..nnx.structure.states import State
from ..nnx.structure.updating import update
from ..nnx.variable.variable import Variable
from ..nnx.variable.variable_types import variable_type_from_name
from .as_nnx import initializing_ends_here
from .scopes import (
    ModuleStackEntry,
    Scope,
    current_context,
    current_module,
    running,
    running_methods,
)
from .variables import linen_vars_to_nnx_attrs, nnx_attrs_to_linen_vars, to_nnx_var

M = TypeVar("M", bound="Module")
T = TypeVar("T")
_UNSET: Any = object()  # `parent` was not passed, which differs from parent=None
F = TypeVar("F", bound=Callable[..., Any])


def compact(f: F) -> F:
    """Lets a method of a `bridge.Module` create submodules and variables where it uses them."""

    @functools.wraps(f)
    def run(self: object, *args: object, **kwargs: object) -> object:
        if not isinstance(self, Module) or self.scope is None:
            raise CallCompactUnboundModuleError(
                f"{type(self).__name__}.{f.__name__} is compact, but was called on a module that "
                "isn't bound.",
                hint="Call it through init or apply: model.apply(variables, x).",
            )
        with running(self, True):
            return f(self, *args, **kwargs)

    return _marked(run)  # type: ignore[return-value]


def _method(f: F) -> F:
    """Makes a method's module the current one while the method runs, if the module is bound."""

    @functools.wraps(f)
    def run(self: Any, *args: object, **kwargs: object) -> object:
        # A helper called by a compact method continues its numbering of children.
        if self.scope is None or current_module() is self:
            return f(self, *args, **kwargs)
        with running(self, False):
            return f(self, *args, **kwargs)

    return _marked(run)  # type: ignore[return-value]


def _marked(run: Callable[..., Any]) -> Callable[..., Any]:
    run.__dict__["_enters_module"] = True
    return run


def _enter_module_in_methods(cls: type[Module]) -> None:
    """Wraps the methods that a class defines, except special ones other than `__call__`."""
    for name, f in list(cls.__dict__.items()):
        special = name == "setup" or (name.startswith("__") and name != "__call__")
        if isinstance(f, types.FunctionType) and not special and "_enters_module" not in vars(f):
            setattr(cls, name, _method(f))


@dataclass_transform()
class _Fields:
    """Tells type checkers that subclasses are dataclasses."""


class AttrPriority(enum.IntEnum):
    """The order in which attributes are visited: lower numbers first, equal ones by name."""

    HIGH = 0
    INIT_PARENT = 20
    DEFAULT = 50
    LOW = 100


class Module(nnx_module.Module, _Fields):
    """An nnx module that is written and used like a linen module.

    A subclass declares fields like a dataclass, and defines either a compact method or `setup`.

    >>> import jax, jax.numpy as jnp
    >>> from linnet.module_core import nnx
    >>> class Dense(nnx.bridge.Module):
    ...     features: int
    ...     @nnx.bridge.compact
    ...     def __call__(self, x):
    ...         shape = (x.shape[-1], self.features)
    ...         return x @ self.param("kernel", jax.nn.initializers.lecun_normal(), shape)
    >>> class MLP(nnx.bridge.Module):
    ...     @nnx.bridge.compact
    ...     def __call__(self, x):
    ...         x = jax.nn.relu(Dense(8)(x))
    ...         return Dense(2)(x)
    >>> x = jnp.ones((1, 4))
    >>> variables = MLP().init(jax.random.key(0), x)
    >>> jax.tree.map(jnp.shape, variables)
    {'params': {'Dense_0': {'kernel': (4, 8)}, 'Dense_1': {'kernel': (8, 2)}}}
    >>> MLP().apply(variables, x).shape
    (1, 2)
    """

    scope = None

    def set_attr_priority(self, name: str, value: AttrPriority) -> None:
        """Sets when an attribute is visited; shared values get the path of the first visit.

        Args:
          name: name of the attribute.
          value: its priority; all other attributes have `AttrPriority.DEFAULT`.
        """
        known = self.__dict__.get("attr_priorities", {})
        self.attr_priorities = {**known, name: int(value)}

    def __init_subclass__(cls, **kwargs: object) -> None:
        super().__init_subclass__(**kwargs)
        if "__init__" not in cls.__dict__:
            dataclass(cls)
        _enter_module_in_methods(cls)
        inner: Callable[..., None] = cls.__init__

        @functools.wraps(inner)
        def __init__(
            self: Module,
            *args: object,
            parent: Module | None = _UNSET,
            name: str | None = None,
            **options: object,
        ) -> None:
            inner(self, *args, **options)
            if type(self) is cls:
                _made(self, parent, name)

        cls.__init__ = __init__  # type: ignore[assignment, method-assign]

    def setup(self) -> None:
        """Creates submodules and variables by assigning them; runs when a module is bound."""

    def __setattr__(self, name: str, value: object) -> None:
        if name != "scope" and self.scope is not None:
            _place(self, self.scope, name, value)
        super().__setattr__(name, value)

    def _bind(self, scope: Scope) -> None:
        self.scope = scope
        for name, value in list(self.__dict__.items()):  # values of the fields
            if name != "scope":
                _place(self, scope, name, value)
        with running(self, False):
            self.setup()

    def _bound(self, what: str) -> Scope:
        if self.scope is None:
            raise CallCompactUnboundModuleError(
                f"Can't {what} of {type(self).__name__}, which isn't bound.",
                hint="Call it within init or apply.",
            )
        return self.scope

    def is_initializing(self) -> bool:
        """Whether this is a call to `init`."""
        return self.scope is not None and self.scope.initializing

    def make_rng(self, name: str = "default") -> jax.Array:
        """The next key of a stream, or of 'default' if the stream doesn't exist."""
        key: jax.Array = self._bound("draw keys").rngs[name]()
        return key

    def param(
        self,
        name: str,
        init_fn: Callable[..., Any],
        *init_args: object,
        unbox: bool = True,
        **init_kwargs: object,
    ) -> Any:
        """Returns a parameter: the given value, or `init_fn(key, *init_args)`.

        Args:
          name: name of the attribute and the parameter.
          init_fn: computes the initial value from a key of the stream 'params' and the arguments.
          *init_args, **init_kwargs: arguments of `init_fn`.
          unbox: accepted for Flax programs: the value of a variable is never boxed.

        Returns:
          The variable, an `nnx.Param`.
        """
        accepted(unbox=unbox)

        def make() -> object:
            return init_fn(self.make_rng("params"), *init_args, **init_kwargs)

        return self._variable("params", name, make)

    def variable(
        self,
        col: str,
        name: str,
        init_fn: Callable[..., Any] | None = None,
        *init_args: object,
        unbox: bool = True,
        **init_kwargs: object,
    ) -> Any:
        """Returns a variable of a collection: the given value, or `init_fn(*init_args)`.

        Args:
          col: the collection; its class is looked up by name, or created.
          name: name of the attribute and the variable.
          init_fn: computes the initial value.
          *init_args, **init_kwargs: arguments of `init_fn`.
          unbox: accepted for Flax programs.

        Returns:
          The variable.
        """
        accepted(unbox=unbox)
        make = None if init_fn is None else lambda: init_fn(*init_args, **init_kwargs)
        return self._variable(col, name, make)

    def _variable(self, col: str, name: str, make: Callable[[], Any] | None) -> Variable[Any]:
        scope = self._bound(f"make the variable {name!r}")
        cls = variable_type_from_name(col, allow_register=True)
        present = self.__dict__.get(name)
        if isinstance(present, Variable) and type(present) is cls:
            return present  # the compact method runs again
        if name in self.__dict__ or hasattr(type(self), name):
            raise NameInUseError(
                f"{type(self).__name__} already has an attribute {name!r}, so it can't have a "
                f"variable of that name in {col!r}."
            )
        found = scope.take(name, Variable)
        if found is None:
            if make is None or not (scope.initializing or in_filter(scope.mutable, col)):
                raise ScopeVariableNotFoundError(
                    f"{type(self).__name__} has no variable {name!r} in the collection {col!r}.",
                    hint=(
                        f"Did init create it? In apply, a new variable needs mutable=[{col!r}] "
                        "and an init_fn."
                    ),
                )
            value = make()
            found = cls(value) if not _is_box(value) else to_nnx_var(col, value)
        super().__setattr__(name, found)
        return found

    @property
    def variables(self) -> dict[str, Any]:
        """The collections of this module and those below."""
        return nnx_attrs_to_linen_vars(_collected(self))

    def init_with_output(
        self,
        rngs: object = None,
        *args: object,
        method: Callable[..., Any] | str = "__call__",
        mutable: CollectionFilter = True,
        **kwargs: object,
    ) -> tuple[Any, dict[str, Any]]:
        """Like `init`, but returns `(output, variables)`."""
        return _run(self, {}, rngs, mutable, True, method, args, kwargs)

    def init(
        self,
        rngs: object = None,
        *args: object,
        method: Callable[..., Any] | str = "__call__",
        **kwargs: Any,
    ) -> dict[str, Any]:
        """Creates the variables by calling a method once.

        Args:
          rngs: a seed, a key, seeds or keys by stream, or `nnx.Rngs`.
          *args, **kwargs: arguments of the method.
          method: the method, by name or as a function.

        Returns:
          A dict of collections.
        """
        return self.init_with_output(rngs, *args, method=method, **kwargs)[1]

    def apply(
        self,
        variables: Mapping[str, Any],
        *args: object,
        rngs: object = None,
        method: Callable[..., Any] | str = "__call__",
        mutable: CollectionFilter = False,
        **kwargs: object,
    ) -> Any:
        """Calls a method with variables.

        Args:
          variables: collections as returned by `init`; never changed.
          *args, **kwargs: arguments of the method.
          rngs: a seed, a key, seeds or keys by stream, or `nnx.Rngs`.
          method: the method, by name or as a function.
          mutable: the mutable collections.

        Returns:
          The output; unless `mutable` is False, `(output, mutable collections)`.
        """
        output, updates = _run(self, variables, rngs, mutable, False, method, args, kwargs)
        return output if mutable is False else (output, updates)


def _run(
    module: Module,
    variables: Mapping[str, Any],
    rngs: object,
    mutable: CollectionFilter,
    initializing: bool,
    method: Callable[..., Any] | str,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> tuple[Any, dict[str, Any]]:
    # Modules and variables in fields are copied too, but not their arrays.
    graphdef, own = split(module)
    bound = merge(graphdef, jax.tree.map(lambda x: x, own))
    streams = rngs if isinstance(rngs, Rngs) else Rngs() if rngs is None else Rngs(rngs)
    stack = running_methods.set(())
    try:
        with initializing_ends_here():
            given = linen_vars_to_nnx_attrs(variables)
            bound._bind(Scope(streams, mutable, initializing, given))
            function = getattr(type(bound), method) if isinstance(method, str) else method
            output = function(bound, *args, **kwargs)
            found = bound.variables
    finally:
        running_methods.reset(stack)
    return output, {c: tree for c, tree in found.items() if in_filter(mutable, c)}


def _is_box(value: object) -> bool:
    return isinstance(value, AxisMetadata)


def _made(module: Module, parent: Module | None, name: str | None) -> None:
    """Attaches a new module to its parent, if the parent is already known."""
    if parent is _UNSET:
        context = current_context()
        if context is not None:
            adopt(context, module, name)
    elif parent is not None:
        entries = (entry for entry in reversed(running_methods.get()) if entry.module is parent)
        context = next(entries, None)
        if context is None or not isinstance(parent, Module):
            raise ArgumentError(
                f"{type(module).__name__} got a parent that is not running a method: "
                f"{describe(parent)}.",
                hint=(
                    "In a method of the parent, leave parent out, since it is found there; "
                    "elsewhere, assign the module to an attribute of the parent. parent=None "
                    "makes an independent module."
                ),
            )
        adopt(context, module, name)


def adopt(
    context: ModuleStackEntry, child: object, name: str | None, kind: str | None = None
) -> None:
    """Makes a module a child of the module whose method is running.

    Args:
      context: the context of that method.
      child: the module.
      name: its name; None for its class and number in a compact method. Outside compact methods,
        a module without a name is attached by an assignment.
      kind: a class name that replaces the name of its class.
    """
    parent = context.module
    if name is None and not context.in_compact:
        return
    if name is None:
        name = context.next_name(kind or type(child).__name__)
    elif isinstance(getattr(parent, name, None), Variable):
        raise NameInUseError(f"{type(parent).__name__} already has a variable {name!r}.")
    setattr(parent, name, child)


def _place(parent: Module, scope: Scope, name: str, value: object) -> None:
    """Binds or fills an attribute of a bound module."""
    old = parent.__dict__.get(name)
    if old is not value and isinstance(old, Module) and isinstance(value, Module):
        # `old` is from an earlier run of a compact method; its variables go to the new child.
        _place_below(scope, name, value, _collected(old))
    elif _holds_variables(value):
        _place_below(scope, name, value, scope.take(name, (dict, Variable)))


def _place_below(scope: Scope, name: object, value: object, given: object) -> None:
    """Binds or fills a value at any depth; `given` holds its variables."""
    if isinstance(value, Module):
        if value.scope is None:
            value._bind(scope.child(str(name), given))
    elif (items := _items(value)) is not None:
        below = given if isinstance(given, dict) else {}
        for key, item in items:
            _place_below(scope, key, item, below.get(key, below.get(str(key))))
    elif isinstance(value, Variable) and isinstance(given, Variable):
        value.update_from_state(given)
    elif isinstance(value, Pytree) and isinstance(given, dict):
        update(value, State(given))


def _holds_variables(value: object) -> bool:
    return isinstance(value, (Pytree, Variable)) or _items(value) is not None


def _items(value: object) -> Iterable[tuple[Any, Any]] | None:
    """The items of a container by index or key; None for any other value."""
    if isinstance(value, (list, tuple, List)):
        return enumerate(value)
    return value.items() if isinstance(value, (dict, Dict)) else None


def _collected(module: Module) -> dict[Any, Any]:
    """The variables of a bound module and those below, nested by name, each once."""
    found: dict[Any, Any] = {}
    seen: set[int] = set()  # a child may be an attribute under several names
    for name, value in module.__dict__.items():
        if name == "scope" or id(value) in seen:
            continue
        below = _below(name, value)
        if below is not None:
            found[name] = below
            seen.add(id(value))
    return found


def _below(name: object, value: object) -> object:
    if isinstance(value, Variable):
        return value
    if isinstance(value, Module):
        alias = value.scope is None or value.scope.name != str(name)
        return None if alias else _collected(value) or None
    if (items := _items(value)) is not None:
        found = {key: _below(key, x) for key, x in items}
        return {key: x for key, x in found.items() if x is not None} or None
    if isinstance(value, Pytree) and holds_data(value):
        nested = state(value, Variable)
        return nested.raw_mapping if isinstance(nested, State) else nested
    return None


def running_scope(what: str) -> tuple[ModuleStackEntry, Scope]:
    """The context and scope of the running method.

    Raises:
      ArgumentError: no method is running.
    """
    context = current_context()
    if context is None or context.module.scope is None:
        raise ArgumentError(
            f"{what} was called outside the methods of a bridge.Module.",
            hint=f"Call {what} in a compact method or in setup, while init or apply runs.",
        )
    return context, context.module.scope
