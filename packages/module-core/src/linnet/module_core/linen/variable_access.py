"""The methods by which a bound module makes, reads and writes variables, and draws keys.

Each method delegates to the scope that the module is bound to, after checking that it may be called
now: variables are made in `setup` or in a compact method, and unbound modules have none.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeVar, overload

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from .. import boxes as metadata
from ..errors import ArgumentError, did_you_mean
from ..typing import PRNGKey
from . import calls
from .context import context
from .mistyped import misused
from .scope import Scope
from .variable import Variable

T = TypeVar("T")


class VariableAccess:
    """The part of `Module` that concerns its variables and random keys."""

    if TYPE_CHECKING:
        scope: ClassVar[Scope | None]
        _state: ClassVar[Any]

    @overload
    def param(
        self,
        name: str,
        init_fn: Callable[..., metadata.AxisMetadata[T]],
        *init_args: object,
        unbox: Literal[True] = True,
        **init_kwargs: object,
    ) -> T: ...
    @overload
    def param(
        self,
        name: str,
        init_fn: Callable[..., T],
        *init_args: object,
        unbox: bool = True,
        **init_kwargs: object,
    ) -> T: ...
    def param(
        self,
        name: str,
        init_fn: Callable[..., object],
        *init_args: object,
        unbox: bool = True,
        **init_kwargs: object,
    ) -> object:
        """A parameter: read if it exists, else made by `init_fn(key, *init_args, **init_kwargs)`.

        Args:
          name: its name in the collection "params".
          init_fn: an initializer, called with a random key first.
          unbox: return the value without its metadata box.

        Raises:
          NameInUseError: the module has a submodule or variable of that name.
          ScopeParamNotFoundError: it is missing, and parameters are not being made.
          ScopeCollectionNotFound: there are no parameters at all.
          ScopeParamShapeError: its shape isn't what `init_fn` would make.
        """
        if not callable(init_fn) or not isinstance(name, str):
            raise misused(
                "param(name, init_fn, *init_args)",
                name,
                init_fn,
                'self.param("scale", nn.initializers.ones, (3,))',
            )
        scope = self._scope_for_new("param", "Parameters")
        scope.claim("param", name, "params", type(self).__name__)
        value = scope.parameter(name, init_fn, init_args, init_kwargs)
        self._state.children.setdefault(name, "params")
        try:
            return metadata.unbox(value) if unbox else value
        except ArgumentError as error:
            error.add_note(f"It is the parameter {name!r}.")
            raise

    @overload
    def variable(
        self,
        col: str,
        name: str,
        init_fn: Callable[..., metadata.AxisMetadata[T]],
        *init_args: object,
        unbox: Literal[True] = True,
        **init_kwargs: object,
    ) -> Variable[T]: ...
    @overload
    def variable(
        self,
        col: str,
        name: str,
        init_fn: Callable[..., T],
        *init_args: object,
        unbox: bool = True,
        **init_kwargs: object,
    ) -> Variable[T]: ...
    @overload
    def variable(
        self,
        col: str,
        name: str,
        init_fn: None = None,
        *init_args: object,
        unbox: bool = True,
        **init_kwargs: object,
    ) -> Variable[Any]: ...
    def variable(
        self,
        col: str,
        name: str,
        init_fn: Callable[..., object] | None = None,
        *init_args: object,
        unbox: bool = True,
        **init_kwargs: object,
    ) -> Variable[Any]:
        """A handle to a variable: made by `init_fn(*init_args, **init_kwargs)` if it is missing.

        Args:
          col: its collection.
          name: its name there.
          init_fn: makes the first value; gets no key (call `self.make_rng` for one).
          unbox: read and write the value without its metadata box.

        Raises:
          NameInUseError: the module has a submodule or variable of that name.
          ScopeVariableNotFoundError: it is missing, and there is no `init_fn` or the collection is
            immutable.
          ScopeCollectionNotFound: the same, if the whole collection is missing.
        """
        if not (init_fn is None or callable(init_fn)) or not isinstance(name, str):
            raise misused(
                "variable(col, name, init_fn, *init_args)",
                name,
                init_fn,
                'self.variable("batch_stats", "mean", jnp.zeros, (3,))',
            )
        scope = self._scope_for_new("variable", "Variables")
        scope.claim("variable", name, col, type(self).__name__)
        made = scope.handle(col, name, init_fn, *init_args, unbox=unbox, **init_kwargs)
        self._state.children.setdefault(name, col)
        return made

    def _scope_for_new(self, kind: str, kinds: str) -> Scope:
        scope = self.scope
        if scope is None:
            raise ArgumentError(
                f"Can't create a {kind} on an unbound {type(self).__name__}.",
                hint="Call it from within init, apply, or a module made by bind.",
            )
        state = self._state
        if not (state.in_setup or state.in_compact):
            raise ArgumentError(
                f"{kinds} can only be made in setup or in a compact method.",
                hint=f"Make the {kind} in one of these of {type(self).__name__}, or use "
                "get_variable and put_variable.",
            )
        return scope

    def _bound_scope(self, what: str) -> Scope:
        scope = self.scope
        if scope is None:
            raise ArgumentError(
                f"Can't {what} on unbound modules: {type(self).__name__}.",
                hint="Call it from within init, apply, or a module made by bind.",
            )
        return scope

    def get_variable(self, col: str, name: str, default: object = None) -> Any:
        """The value of a variable, boxes included, or `default` if there is none."""
        return self._bound_scope("access variables").get_variable(col, name, default)

    def put_variable(self, col: str, name: str, value: object) -> None:
        """Sets a variable, making it if it is missing.

        Raises:
          ModifyScopeVariableError: the collection is immutable.
        """
        self._bound_scope("access variables").put_variable(col, name, value)

    def has_variable(self, col: str, name: str) -> bool:
        """Whether the variable exists."""
        return self._bound_scope("access variables").has_variable(col, name)

    def is_mutable_collection(self, col: str) -> bool:
        """Whether a collection may be changed."""
        return self._bound_scope("check mutability").is_mutable_collection(col)

    @property
    def variables(self) -> dict[str, dict[str, Any]]:
        """The variables of this module and the ones below it, by collection."""
        found: dict[str, dict[str, Any]]
        found = calls.returned(self._bound_scope("access variables").stored())
        return found

    @property
    def path(self) -> tuple[str, ...]:
        """The names from the outermost module to this one."""
        context.paths_read += 1
        return self._bound_scope("access module paths").path

    def make_rng(self, name: str = "params") -> PRNGKey:
        """A new random key from the stream `name`, or from "params" if that was not given.

        Raises:
          InvalidRngError: neither was given.
        """
        return self._bound_scope("use RNGs").make_rng(name)

    def has_rng(self, name: str) -> bool:
        """Whether a key was given for the stream `name` itself."""
        return self._bound_scope("query for RNGs").has_rng(name)

    def is_initializing(self) -> bool:
        """Whether this is a call to `init`."""
        return self._bound_scope("ask whether init runs").frame.initializing

    def sow(
        self,
        col: str,
        name: str,
        value: object,
        reduce_fn: Callable[[Any, Any], Any] = lambda xs, x: (*xs, x),
        init_fn: Callable[[], Any] = lambda: (),
    ) -> bool:
        """Stores a value in a collection as a side output, without making a variable of it.

        Args:
          col, name: where to store it; values with the same name are combined by `reduce_fn`.
          value: the value to store.
          reduce_fn: (stored value, value) -> value to store; appends to a tuple by default.
          init_fn: returns the stored value that the first call starts from.

        Returns:
          Whether it was stored: False if the collection is immutable.
        """
        scope = self._bound_scope("store variables")
        if not scope.is_mutable_collection(col):
            return False
        if not isinstance(name, str):
            example = 'self.sow("intermediates", "hidden", x)'
            raise misused("sow(col, name, value)", name, None, example)
        if scope.has_variable(col, name):
            stored = scope.get_variable(col, name)
        else:
            self._reserve_quietly(scope, col, name)
            stored = init_fn()
        scope.put_variable(col, name, reduce_fn(stored, value))
        return True

    def perturb(self, name: str, value: T, collection: str = "perturbations") -> T:
        """Adds a variable of zeros to a value, so that the value's gradient can be computed.

        The gradient with respect to the variable is the gradient with respect to `value`. If the
        collection is not among the variables, this is the identity.

        Raises:
          ArgumentError: the collection was given, but not this variable.
        """
        scope = self._bound_scope("store variables")
        if not isinstance(name, str):
            raise misused("perturb(name, value)", name, None, 'x = self.perturb("hidden", x)')
        if scope.is_mutable_collection(collection) and not scope.has_variable(collection, name):
            self._reserve_quietly(scope, collection, name)
            zeros = scope.evaluate(lambda: jax.tree.map(_zeros_of_shape, value))
            scope.put_variable(collection, name, zeros)
        if collection not in scope.collections:
            return value
        if not scope.has_variable(collection, name):
            known = scope.find(collection) or {}
            raise ArgumentError(
                f"Perturbation collection {collection!r} is present, but it has no {name!r} at "
                f"{scope.path_text!r}.",
                hint=f"Make it with init, or leave the collection out. {did_you_mean(name, known)}",
            )
        delta = scope.get_variable(collection, name)
        return jax.tree.map(jnp.add, value, delta)  # type: ignore[no-any-return]

    def _reserve_quietly(self, scope: Scope, col: str, name: str) -> None:
        if scope.is_taken(name, col):
            raise ArgumentError(
                f'{type(self).__name__} already uses the name "{name}", and can\'t sow under it in '
                f'"{col}".',
                hint="Give the value another name.",
            )
        scope.take(name, col)
        self._state.children.setdefault(name, col)


def _zeros_of_shape(value: ArrayLike) -> jax.Array:
    # Not zeros_like: only the value's shape is needed, so it may be abstract (lazy_init).
    return jnp.zeros(jnp.shape(value), jnp.result_type(value))
