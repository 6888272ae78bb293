"""`Module`: an immutable description of a layer or a model.

A module is a dataclass of hyperparameters. It holds no arrays: `init` returns them, and `apply`
takes them. During a call, a clone of the module is bound to a scope (see `scope`), along with the
modules that it makes or was given; a bound module reads and writes its variables there. Calling a
submodule costs a dictionary lookup and a name.

Everything that depends only on a class is computed when the class is created: its fields (`fields`)
and the wrappers of its methods (`methods`). `adoption` gives children their names and places,
`calls` sets up a call, and `variable_access` gives a bound module access to its variables and keys.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import (
    TYPE_CHECKING,
    Any,
    ClassVar,
    Literal,
    Self,
    TypeVar,
    dataclass_transform,
    overload,
)

from ..accepted import accepted
from ..errors import (
    ArgumentError,
    ArgumentTypeError,
    AssignSubModuleError,
    CallUnbindOnUnboundModuleError,
    SetAttributeFrozenModuleError,
    SetAttributeInModuleSetupError,
)
from ..notebook import as_html
from ..tracebacks import entry, strip
from ..typing import PRNGKey, RNGSequences
from . import adoption, calls, lazy
from .context import context
from .fields import equal, hash_fields, make_dataclass
from .filters import CollectionFilter, DenyList, NamedCollections
from .methods import not_made, nowrap, wrap_methods
from .mistyped import about_frozen, brief, no_attribute
from .representation import module_repr
from .scope import Scope
from .variable_access import VariableAccess

T = TypeVar("T")
K = TypeVar("K")

Variables = Mapping[str, Mapping[str, Any]]
CaptureIntermediates = bool | Callable[["Module", str], bool]


class _Unspecified:
    """The default of `parent`: the module whose method is running."""

    def __repr__(self) -> str:
        return "<the running module>"

    def __reduce__(self) -> str:
        return "_unspecified"

    def __copy__(self) -> _Unspecified:
        return self

    def __deepcopy__(self, memo: object) -> _Unspecified:
        return self


_unspecified = _Unspecified()


class _State:
    """The mutable state of a bound module."""

    __slots__ = (
        "children",
        "cursors",
        "in_compact",
        "in_setup",
        "name_scopes",
        "setup_attributes",
        "setup_names",
        "setup_ran",
    )

    def __init__(self) -> None:
        self.in_compact = False
        self.in_setup = False
        self.setup_ran = False
        self.cursors: dict[str, int] = {}  # next number for children of each class name
        self.children: dict[str, Any] = {}  # submodules, and the collections of variables, by name
        self.setup_names: dict[str, set[str] | None] = {}  # names that setup took: they stay taken
        self.setup_attributes: set[str] = set()  # set in setup, so that setup sets them again
        self.name_scopes: dict[str, Module] = {}

    def fresh(self) -> _State:
        """The state of a module that has not run yet."""
        return _State()

    def begin_compact(self, scope: Scope) -> None:
        """Starts a run of a compact method: the names that an earlier run took are free again."""
        self.in_compact = True
        if self.cursors or scope.names:
            self.cursors = {}
            scope.names = dict(self.setup_names)

    def end_compact(self) -> None:
        self.in_compact = False


@dataclass_transform(field_specifiers=(dataclasses.field,))
class _Dataclass:
    """Tells type checkers that `Module` and its subclasses have a dataclass's constructor."""


class Module(_Dataclass, VariableAccess):
    """Base class of all neural-network modules.

    A subclass annotates its hyperparameters like a dataclass, and makes its submodules and
    parameters either in `setup`, or in one method marked `@compact`.

    >>> import jax, jax.numpy as jnp
    >>> from linnet.module_core.linen import Module, compact
    >>> class Affine(Module):
    ...     features: int
    ...
    ...     @compact
    ...     def __call__(self, x):
    ...         w = self.param("w", jax.nn.initializers.normal(), (x.shape[-1], self.features))
    ...         return x @ w
    >>> model = Affine(features=3)
    >>> variables = model.init(jax.random.key(0), jnp.ones((1, 2)))
    >>> jax.tree.map(jnp.shape, variables)
    {'params': {'w': (2, 3)}}
    >>> model.apply(variables, jnp.ones((5, 2))).shape
    (5, 3)

    Attributes:
      parent: the module that this one is a child of, or None.
      name: its name there, or None.
      scope: where its variables are while it is bound, else None.
    """

    parent: Any = dataclasses.field(default=_unspecified, repr=False, kw_only=True)
    name: str | None = dataclasses.field(default=None, kw_only=True)

    if TYPE_CHECKING:  # `typing.get_type_hints` of a model lists its fields, and not these
        scope: ClassVar[Scope | None]
        preserve_adopted_names: ClassVar[bool | None]
        _fields: ClassVar[tuple[str, ...]]  # of the constructor, without parent and name
        _frozen: ClassVar[frozenset[str]]
        _own_init: ClassVar[bool]  # the class body defines __init__
        _state: ClassVar[_State]

    _is_linen_module = True

    def __init_subclass__(cls, kw_only: bool = False, **kwargs: object) -> None:
        super().__init_subclass__(**kwargs)
        _prepare_class(cls, kw_only)

    def __post_init__(self) -> None:
        attributes = self.__dict__
        attributes["scope"] = None
        attributes["_state"] = _State()
        parent = attributes["parent"]
        if parent is _unspecified:
            stack = context.stack
            parent = attributes["parent"] = stack[-1] if stack else None
        if parent is None:
            return
        if isinstance(parent, Scope):
            adoption.bind(self, parent, attributes["name"], parent)
        elif isinstance(parent, Module):
            parent._take_in(self)
        else:
            raise ArgumentError(
                f"parent of {type(self).__name__} is a {type(parent).__name__}, expected a Module, "
                "a Scope or None.",
            )

    def _take_in(self, child: Module) -> None:
        """Adopts a module that was just made with this one as its parent, or leaves it waiting."""
        state = self._state
        if not (state.in_setup or state.in_compact):
            child.__dict__["parent"] = None
            raise AssignSubModuleError(
                f"{type(self).__name__} made a submodule {type(child).__name__} in a method that "
                "is neither setup nor compact.",
                hint=(
                    "Mark the method with @nn.compact, or make the submodule in setup. A "
                    "module made with parent=None has no parent."
                ),
            )
        name = child.name
        if name is None:
            if state.in_setup:
                return
            name = self._auto_name(type(child).__name__)
        adoption.bind_child(self, name, child)

    def _auto_name(self, class_name: str) -> str:
        cursors = self._state.cursors
        k = cursors.get(class_name, 0)
        cursors[class_name] = k + 1
        return f"{class_name}_{k}"

    @nowrap
    def setup(self) -> None:
        """Makes submodules and parameters; runs once, before the first use of a bound module.

        A subclass overrides it, assigning to `self`:

            def setup(self):
                self.encoder = Encoder()
                self.scale = self.param("scale", initializers.ones, (3,))
        """

    @classmethod
    def _gains_attributes(cls) -> bool:
        """Whether a bound instance may have attributes that an unbound one lacks."""
        return cls.setup is not Module.setup or cls.__getattr__ is not Module.__getattr__

    def _run_setup(self) -> None:
        state = self._state
        if state.setup_ran or self.scope is None:
            return
        state.setup_ran = True
        if type(self).setup is Module.setup:
            if self.scope.names:
                state.setup_names = dict(self.scope.names)
            return
        state.in_setup = True
        try:
            self.setup()
        except BaseException:
            state.setup_ran = False
            raise
        finally:
            state.in_setup = False
            state.setup_names = dict(self.scope.names)

    def __setattr__(self, name: str, value: object) -> None:
        # This decides what may be set; Python decides how (descriptors, `__class__`).
        attributes = self.__dict__
        state = attributes.get("_state")
        if state is not None and attributes["scope"] is not None and name != "__class__":
            value = self._settable(state, name, value)
        object.__setattr__(self, name, value)

    def _settable(self, state: _State, name: str, value: object) -> object:
        """The value that an attribute of a bound module is set to; only `setup` may set one."""
        if state.in_setup:
            if name in self._frozen:
                raise SetAttributeInModuleSetupError(
                    f"setup cannot set {name!r} of {type(self).__name__}: it is a field of the "
                    "constructor.",
                    hint="Assign to another attribute in setup.",
                )
            state.setup_attributes.add(name)
            return value if adoption.is_plain(value) else adoption.adopt(self, name, value)
        raise SetAttributeFrozenModuleError(
            f"Can't set {name}={brief(value)} on {type(self).__name__}: modules are frozen "
            "outside setup.",
            hint=about_frozen(self, name),
        )

    def __delattr__(self, name: str) -> None:
        if self.__dict__.get("scope") is not None and not self._state.in_setup:
            raise SetAttributeFrozenModuleError(
                f"Can't delete {name!r} of a bound module of type {type(self).__name__}.",
            )
        object.__delattr__(self, name)

    def __getattr__(self, name: str) -> Any:
        attributes = self.__dict__
        if not (name.startswith("__") and name.endswith("__")) and name not in _INTERNAL:
            state = attributes.get("_state")
            if state is not None and attributes["scope"] is not None and not state.setup_ran:
                self._run_setup()
                if name in attributes:
                    return attributes[name]
        elif name in _INTERNAL:
            raise not_made(type(self))
        raise AttributeError(
            no_attribute(self, name, has_setup=type(self).setup is not Module.setup)
        )

    def __getstate__(self) -> dict[str, Any]:
        if self.__dict__.get("scope") is not None:
            raise TypeError(
                f"A bound {type(self).__name__} can't be pickled or deep-copied, because it "
                "holds variables. Use module.unbind(), which returns a free module and its "
                "variables."
            )
        return {k: v for k, v in self.__dict__.items() if k not in _INTERNAL}

    def __setstate__(self, state: dict[str, Any]) -> None:
        if "_parent_ref" in state:  # a pickle that Flax wrote
            state = {k: v for k, v in state.items() if k not in ("_parent_ref", "_id", "scope")}
            state["parent"] = None
        self.__dict__.update(state)
        self.__dict__["scope"] = None
        self.__dict__["_state"] = _State()

    __eq__ = equal
    __hash__ = hash_fields

    def __repr__(self) -> str:
        return module_repr(self)

    def _repr_html_(self) -> str:
        return as_html(self)

    def __dir__(self) -> list[str]:
        if self.__dict__.get("scope") is not None:
            self._run_setup()
        return sorted(object.__dir__(self))

    # Clones.

    def clone(
        self,
        *,
        parent: Scope | Module | _Unspecified | None = None,
        _deep_clone: bool = False,
        _reset_names: bool = False,
        **updates: object,
    ) -> Self:
        """A new module with the same fields, except for `updates`.

        Args:
          parent: the clone's parent; by default it has none and is not bound.
          _deep_clone: clone the modules among the fields too, one clone for each.
          _reset_names: drop the clone's name and, with `_deep_clone`, those of the cloned fields.
          **updates: new values of fields.
        """
        attributes = {name: getattr(self, name) for name in self._fields}
        attributes["name"] = None if _reset_names else self.name
        if _deep_clone:
            clones: dict[int, Module] = {}

            def clone_field(path: object, module: Module) -> Module:
                if id(module) not in clones:
                    clones[id(module)] = module.clone(_deep_clone=True, _reset_names=_reset_names)
                return clones[id(module)]

            attributes = {
                name: adoption.map_modules(clone_field, value)
                if any(True for _ in adoption.iter_modules(value))
                else value
                for name, value in attributes.items()
            }
        attributes["parent"] = parent
        attributes.update(updates)
        if not self._own_init:
            return type(self)(**attributes)
        try:
            return type(self)(**attributes)
        except TypeError as error:
            raise ArgumentTypeError(
                f"{type(self).__name__}.__init__() was overridden and does not accept all of "
                f"{', '.join(attributes)}: {error}.",
                hint="Modules are copied by calling the constructor with all fields. Leave "
                "__init__ out: annotate the fields in the class (features: int), and make "
                "submodules in setup or in a compact method.",
            ) from error

    def copy(
        self,
        *,
        parent: Scope | Module | _Unspecified | None = _unspecified,
        name: str | None = None,
        **updates: object,
    ) -> Self:
        """A new module with the same fields but a new name, as if it had been constructed here.

        Modules among the fields are cloned as well, so the copy does not share their parameters.
        """
        return self.clone(parent=parent, name=name, _deep_clone=True, _reset_names=True, **updates)

    @entry
    def bind(
        self,
        variables: Variables,
        *args: object,
        rngs: RNGSequences | PRNGKey | None = None,
        mutable: CollectionFilter = False,
    ) -> Self:
        """A clone that holds `variables`, for interactive use: its methods can be called directly.

        Args:
          variables: collections, as `init` returns them.
          rngs: random keys by stream.
          mutable: collections that may be changed.
        """
        accepted(args=args)
        return calls.bind(self, variables, rngs=rngs, mutable=mutable)

    def unbind(self) -> tuple[Self, dict[str, dict[str, Any]]]:
        """The module without its variables, and the variables.

        Raises:
          CallUnbindOnUnboundModuleError: it is not bound.
        """
        if self.scope is None:
            raise CallUnbindOnUnboundModuleError(f"{type(self).__name__} is not bound.")
        variables = self.variables
        return self.clone(_deep_clone=True, _reset_names=True, name=None), variables

    # Calls.

    def init(
        self,
        rngs: PRNGKey | RNGSequences,
        *args: object,
        method: Callable[..., Any] | str | None = None,
        mutable: CollectionFilter = DenyList("intermediates"),
        capture_intermediates: CaptureIntermediates = False,
        **kwargs: object,
    ) -> dict[str, Any]:
        """Makes the variables by calling a method once.

        Args:
          rngs: one key, for the stream "params", or keys by stream.
          *args, **kwargs: the method's arguments.
          method: name, function or bound method; `__call__` by default.
          mutable: the collections that are made and returned.
          capture_intermediates: store results of methods; see `apply`.

        Returns:
          The variables: a dict of collections.
        """
        try:
            return calls.init_with_output(
                self,
                method,
                mutable,
                capture_intermediates,
                rngs,
                args,
                kwargs,
                output_is_used=False,
            )[1]
        except Exception as error:
            strip(error)
            raise

    @entry
    def init_with_output(
        self,
        rngs: PRNGKey | RNGSequences,
        *args: object,
        method: Callable[..., Any] | str | None = None,
        mutable: CollectionFilter = DenyList("intermediates"),
        capture_intermediates: CaptureIntermediates = False,
        **kwargs: object,
    ) -> tuple[Any, dict[str, Any]]:
        """Like `init`, but returns (output, variables)."""
        return calls.init_with_output(
            self, method, mutable, capture_intermediates, rngs, args, kwargs
        )

    @entry
    def lazy_init(
        self,
        rngs: PRNGKey | RNGSequences,
        *args: object,
        method: Callable[..., Any] | str | None = None,
        mutable: CollectionFilter = DenyList("intermediates"),
        **kwargs: object,
    ) -> dict[str, Any]:
        """Like `init`, but computes nothing except the initial values.

        Inputs may be `jax.ShapeDtypeStruct`s, so a model can be initialized for a batch that does
        not fit into memory.

        Raises:
          LazyInitError: an initial value depends on the values of an input.
        """
        return lazy.lazy_init(self, method, mutable, rngs, args, kwargs)

    @overload
    def apply(
        self,
        variables: Variables,
        *args: object,
        rngs: PRNGKey | RNGSequences | None = None,
        method: Callable[..., Any] | str | None = None,
        mutable: Literal[False] = False,
        capture_intermediates: CaptureIntermediates = False,
        **kwargs: object,
    ) -> Any: ...
    @overload
    def apply(
        self,
        variables: Variables,
        *args: object,
        rngs: PRNGKey | RNGSequences | None = None,
        method: Callable[..., Any] | str | None = None,
        mutable: NamedCollections,
        capture_intermediates: CaptureIntermediates = False,
        **kwargs: object,
    ) -> tuple[Any, dict[str, Any]]: ...
    @overload
    def apply(
        self,
        variables: Variables,
        *args: object,
        rngs: PRNGKey | RNGSequences | None = None,
        method: Callable[..., Any] | str | None = None,
        mutable: CollectionFilter,
        capture_intermediates: CaptureIntermediates = False,
        **kwargs: object,
    ) -> Any: ...
    def apply(
        self,
        variables: Variables,
        *args: object,
        rngs: PRNGKey | RNGSequences | None = None,
        method: Callable[..., Any] | str | None = None,
        mutable: CollectionFilter = False,
        capture_intermediates: CaptureIntermediates = False,
        **kwargs: object,
    ) -> object:
        """Calls a method with `variables`.

        Args:
          variables: collections, as `init` returns them; never changed.
          *args, **kwargs: the method's arguments.
          rngs: random keys by stream (one key means the stream "params").
          method: name, function or bound method; `__call__` by default.
          mutable: the collections that may change.
          capture_intermediates: True stores what `__call__` of every module returned in the
            collection "intermediates"; a function (module, method name) -> bool chooses.

        Returns:
          The output; unless `mutable` is False, (output, the mutable collections).
        """
        try:
            return calls.apply(
                self, method, mutable, capture_intermediates, variables, rngs, args, kwargs
            )
        except Exception as error:
            strip(error)
            raise

    @entry
    def tabulate(
        self,
        rngs: PRNGKey | RNGSequences,
        *args: object,
        depth: int | None = None,
        show_repeated: bool = False,
        mutable: CollectionFilter = DenyList("intermediates"),
        console_kwargs: Mapping[str, Any] | None = None,
        table_kwargs: Mapping[str, Any] = MappingProxyType({}),
        column_kwargs: Mapping[str, Any] = MappingProxyType({}),
        compute_flops: bool = False,
        compute_vjp_flops: bool = False,
        **kwargs: object,
    ) -> str:
        """A table of the modules that a call uses, with their inputs, outputs and variables.

        Nothing is computed; see `summary.tabulate` for the arguments.

        """
        from .summary import tabulate

        return tabulate(
            self,
            rngs,
            depth=depth,
            show_repeated=show_repeated,
            mutable=mutable,
            console_kwargs=console_kwargs,
            table_kwargs=table_kwargs,
            column_kwargs=column_kwargs,
            compute_flops=compute_flops,
            compute_vjp_flops=compute_vjp_flops,
        )(*args, **kwargs)

    @entry
    def module_paths(
        self,
        rngs: PRNGKey | RNGSequences,
        *args: object,
        show_repeated: bool = False,
        mutable: CollectionFilter = DenyList("intermediates"),
        **kwargs: object,
    ) -> dict[str, Module]:
        """The modules that a call uses, unbound, by path ("" is this module).

        Nothing is computed. Each path has one entry; `show_repeated` exists only because Flax's
        signature has it.

        >>> import jax, jax.numpy as jnp
        >>> from linnet.module_core.linen import Sequential
        >>> list(Sequential([Sequential([jnp.sin])]).module_paths(jax.random.key(0), jnp.ones(2)))
        ['', 'layers_0']
        """
        from .summary import module_paths

        return module_paths(self, rngs, args, kwargs, show_repeated=show_repeated, mutable=mutable)

    def _linnet_cell(self) -> str:
        """How a table shows a module among arguments: its class, and its place if it has one."""
        place = "/".join(self.scope.path) if self.scope is not None else ""
        return f"{place} ({type(self).__name__})" if place else type(self).__name__

    def _capture(self, method: str, result: object) -> None:
        capture = self.scope.frame.capture  # type: ignore[union-attr]
        assert capture is not None
        if capture(self, method):
            self.sow("intermediates", method, result)

    def _name_scope(self, name: str) -> Module:
        """The module under which a method marked `compact_name_scope` makes its submodules."""
        helper = self._state.name_scopes.get(name)
        if helper is None:
            self._bound_scope(f"call the compact method {name}")
            helper = CompactNameScope(parent=None)
            adoption.bind_child(self, name, helper)
            self._state.name_scopes[name] = helper
        return helper


def _prepare_class(cls: type[Module], kw_only: bool) -> None:
    cls._own_init = "__init__" in vars(cls)
    cls._frozen = make_dataclass(cls, kw_only, base=cls is Module)
    cls._fields = tuple(
        f.name for f in dataclasses.fields(cls) if f.init and f.name not in ("parent", "name")
    )
    if cls is not Module:
        wrap_methods(cls, frozenset(cls.__dataclass_fields__))


_INTERNAL = frozenset(("scope", "_state"))


Module.preserve_adopted_names = None
_prepare_class(Module, kw_only=False)


class CompactNameScope(Module):
    """Parent of the submodules that a method marked `compact_name_scope` makes."""


def merge_param(name: str, a: T | None, b: T | None) -> T:
    """Whichever of `a` and `b` is not None: an argument given to the constructor or the call.

    >>> merge_param("train", None, True)
    True

    Raises:
      ArgumentError: both are given, or neither.
    """
    if a is None and b is None:
        raise ArgumentError(
            f'"{name}" was given neither to the constructor nor to the call.',
            hint=f"Pass {name}=... to one of them.",
        )
    if a is not None and b is not None:
        raise ArgumentError(
            f'"{name}" was given twice: {a!r} to the constructor and {b!r} to the call.',
        )
    return b if a is None else a  # type: ignore[return-value]


def share_scope(module: Module, other: Module, /) -> None:
    """Makes two bound modules share one scope: `other`'s variables are where `module`'s are.

    If `other` is a descendant of `module`, it moves up to `module`'s scope; otherwise `module`
    moves to `other`'s. Call it in the `setup` of a wrapper that should not appear in the
    parameters' paths:

        class LoRA(nn.Module):
            base: nn.Dense

            def setup(self):
                nn.share_scope(self, self.base)

    Raises:
      CallShareScopeOnUnboundModuleError: one of them is not bound.
    """
    adoption.share_scope(module, other)


__all__ = ["CompactNameScope", "Module", "merge_param", "share_scope"]
