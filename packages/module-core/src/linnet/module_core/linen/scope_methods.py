"""The methods of a scope that programs call: functions of a scope make their variables with them.

A module checks names and states before it uses its scope; a function of a scope has nothing but the
scope. These methods therefore do both: each reserves the name that it is given, and checks that the
call has not ended. They have the same names and arguments as in Flax, and use the functions in
`scope`.

>>> import jax
>>> from linnet.module_core.functional import init
>>> def dense(scope, x, features):
...     kernel = scope.param("kernel", jax.nn.initializers.ones, (x.shape[-1], features))
...     return x @ kernel
>>> def model(scope, x):
...     x = scope.child(dense)(x, 4)
...     return scope.child(dense)(x, 2)
>>> y, variables = init(model)(jax.random.key(0), jax.numpy.ones(3))
>>> jax.tree.map(jax.numpy.shape, variables)
{'params': {'dense_0': {'kernel': (3, 4)}, 'dense_1': {'kernel': (4, 2)}}}
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar, cast

import jax

from linnet.struct import FrozenDict

from .. import boxes as metadata
from ..errors import ArgumentError, ArgumentTypeError
from .filters import CollectionFilter
from .frame import Collections
from .rng import LazyRng
from .variable import Variable

if TYPE_CHECKING:
    from .scope import Scope

T = TypeVar("T")

no_flag = object()
"""The default of `Scope.get_flag`: the flag must exist."""


class ScopeMethods:
    """The part of `Scope` that functions of a scope call."""

    __slots__ = ()

    @property
    def _self(self) -> Scope:
        return cast("Scope", self)

    # Variables.

    def param(
        self,
        name: str,
        init_fn: Callable[..., Any],
        *init_args: object,
        unbox: bool = True,
        **init_kwargs: object,
    ) -> Any:
        """A parameter: read if it exists, else made by `init_fn(key, *init_args, **init_kwargs)`.

        Args:
          name: its name in the collection "params".
          init_fn: an initializer, called with a random key first.
          unbox: return the value without its metadata box.

        Raises:
          ArgumentError: the name is in use.
          ScopeParamNotFoundError, ScopeCollectionNotFound: missing, and "params" is immutable.
          ScopeParamShapeError: the stored shape differs from the one that `init_fn` makes.
          InvalidScopeError: missing, and the call has ended.
        """
        self.reserve(name, "params")
        value = self._self.parameter(name, init_fn, init_args, init_kwargs)
        return metadata.unbox(value) if unbox else value

    def variable(
        self,
        col: str,
        name: str,
        init_fn: Callable[..., Any] | None = None,
        *init_args: object,
        unbox: bool = True,
        **init_kwargs: object,
    ) -> Variable[Any]:
        """A handle to a variable: made by `init_fn(*init_args, **init_kwargs)` if it is missing.

        Args:
          col: its collection.
          name: its name there.
          init_fn: makes the first value; gets no key (call `make_rng` for one).
          unbox: read and write the value without its metadata box.

        Raises:
          ArgumentError: the name is in use.
          ScopeVariableNotFoundError, ScopeCollectionNotFound: it is missing, and there is no
            `init_fn` or the collection is immutable.
          InvalidScopeError: missing, and the call has ended.
        """
        self.reserve(name, col)
        return self._self.handle(col, name, init_fn, *init_args, unbox=unbox, **init_kwargs)

    def variables(self) -> Collections:
        """The variables at this path and below, by collection."""
        scope = self._self
        found = ((c, scope.find(c)) for c in scope.collections)
        return {c: tree for c, tree in found if tree is not None}

    def mutable_variables(self) -> Collections:
        """The variables at this path and below, in the collections that may be changed."""
        return {c: t for c, t in self.variables().items() if self._self.frame.is_mutable(c)}

    def is_collection_empty(self, col: str) -> bool:
        """Whether there are no variables in a collection, at this path and below."""
        return not self._self.find(col)

    # Names.

    def reserve(self, name: str, col: str | None = None) -> None:
        """Reserves a name in one collection, or in all of them (None).

        Raises:
          ArgumentError: it is in use.
          ArgumentTypeError: it is not a string.
        """
        scope = self._self
        if not isinstance(name, str):
            raise ArgumentTypeError(
                f"The name of a variable or scope is a string; got {name!r:.60} of type "
                f"{type(name).__name__}.",
            )
        if scope.is_taken(name, col):
            raise ArgumentError(
                f'Duplicate use of scope name: "{name}" in "{scope.path_text}".',
                hint="Give one of the two another name. Call scope.rewound() to run a function "
                "again on the same variables.",
            )
        scope.take(name, col)

    def name_reserved(self, name: str, col: str | None = None) -> bool:
        """Whether a name is in use in one collection, or in any of them (None)."""
        return self._self.is_taken(name, col)

    def default_name(self, prefix: str) -> str:
        """The first name that is free among `prefix` followed by 0, 1, 2 and so on."""
        i = 0
        while self._self.is_taken(f"{prefix}{i}"):
            i += 1
        return f"{prefix}{i}"

    @property
    def reservations(self) -> dict[str, set[str | None]]:
        """The names in use, with the collections in which each is taken ({None}: in all)."""
        names = self._self.names
        return {n: {None} if taken is None else {*taken} for n, taken in names.items()}

    # Scopes below this one, and other views of it.

    def push(self, name: str | None = None, prefix: str = "", reuse: bool = False) -> Scope:
        """The scope below this one at `name`.

        Args:
          name: by default the first free one among `prefix` followed by 0, 1, 2, …
          prefix: see `name`.
          reuse: the name may already be in use: the scope then has the same variables.

        Raises:
          ArgumentError: the name is in use.
          InvalidScopeError: the call has ended.
        """
        scope = self._self
        scope.check_valid()
        if not name:
            name = self.default_name(prefix)
        if not reuse or not scope.is_taken(name):
            self.reserve(name)
        return scope.inner(name)

    def child(
        self,
        fn: Callable[..., T],
        name: str | None = None,
        prefix: str | None = None,
        named_call: bool = True,
        **partial_kwargs: object,
    ) -> Callable[..., T]:
        """A function that runs `fn` on a scope below this one.

        Called several times, it uses the same variables each time.

        Args:
          fn: a function of a scope.
          name: the name of its scope, by default the first free one of `prefix` and a number.
          prefix: see `name`; by default the name of `fn`, and `_`.
          named_call: give the operations the name of the scope in traces and profiles.
          **partial_kwargs: arguments for `fn`.

        Returns:
          A function of the other arguments of `fn`.
        """
        if name is None:
            if prefix is None:
                prefix = f"{fn.__name__}_" if hasattr(fn, "__name__") else ""
            name = self.default_name(prefix)
        scope = self.push(name)

        @functools.wraps(fn)
        def inner(*args: object, **kwargs: object) -> T:
            given = {**partial_kwargs, **kwargs}
            if not named_call:
                return fn(scope.rewound(), *args, **given)
            with jax.named_scope(name):
                return fn(scope.rewound(), *args, **given)

        return inner

    def rewound(self, rewind_rngs: bool = False) -> Scope:
        """The same scope with all names free, to run a function again on the same variables.

        Args:
          rewind_rngs: also restart the count of the random keys that have been drawn.

        Raises:
          InvalidScopeError: the call has ended.
        """
        scope = self._self
        scope.check_valid()
        return scope.again(rewind_rngs)

    @contextmanager
    def temporary(self) -> Iterator[Scope]:
        """The scope itself, which is invalid after the end of a `with` block."""
        try:
            yield self._self
        finally:
            self.invalidate()

    @property
    def root(self) -> Scope:
        """The outermost scope above this one."""
        scope = self._self
        while scope.parent is not None:
            scope = scope.parent
        return scope

    @property
    def debug_path(self) -> tuple[str, ...]:
        """The path, as errors and traces show it."""
        return self._self.path

    @property
    def _variables(self) -> Collections:
        # Libraries written for Flax read the variables by this name.
        scope = self._self
        return scope.collections if scope.parent is None else scope.stored()

    # Validity.

    @property
    def invalid(self) -> bool:
        """Whether the call that the scope belongs to has ended."""
        return not self._self.frame.valid

    def invalidate(self) -> None:
        """Ends the use of this scope: it makes and changes no more variables."""
        scope = self._self
        scope.frame = scope.frame.ended()

    @property
    def trace_level(self) -> object:
        """The trace of jax that the scope was made in; compare with `==`."""
        return self._self.frame.trace

    # Flags and filters of the call.

    @property
    def mutable(self) -> CollectionFilter:
        """The collections that may be changed."""
        return self._self.frame.mutable

    @property
    def flags(self) -> Mapping[str, Any]:
        """The flags of the call, such as `initializing`."""
        frame = self._self.frame
        flags = {**frame.flags}
        if frame.initializing:
            flags["initializing"] = True
        return FrozenDict(flags)

    def has_flag(self, key: str) -> bool:
        """Whether a flag was given."""
        return key in self.flags

    def get_flag(self, key: str, default: Any = no_flag) -> Any:
        """The value of a flag, or `default`.

        Raises:
          ArgumentError: there is no such flag, and no default.
        """
        flags = self.flags
        if key not in flags and default is no_flag:
            known = ", ".join(map(repr, flags)) or "none"
            raise ArgumentError(
                f"The scope has no flag {key!r}; available: {known}.",
                hint="Pass flags={...} to init, apply or bind, or give get_flag a default.",
            )
        return flags.get(key, default)

    # Random keys.

    @property
    def rngs(self) -> dict[str, LazyRng]:
        """The root key of each random stream, with the names that are folded into its keys."""
        scope = self._self
        suffix = scope.path_hash().names
        return {stream: LazyRng(key, suffix) for stream, key in scope.keys.items()}

    @property
    def rng_counters(self) -> dict[str, int]:
        """How many keys have been drawn from each stream at this path."""
        scope = self._self
        return dict.fromkeys(scope.keys, 0) | scope.draws.counts

    # Scopes are equal if they refer to the same place, however they were reached.

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        if not isinstance(other, ScopeMethods):
            return NotImplemented
        a, b = self._self, other._self
        return a.collections is b.collections and a.path == b.path

    def __hash__(self) -> int:
        scope = self._self
        return hash((id(scope.collections), scope.path))
