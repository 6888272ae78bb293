"""`Variable`: holds the mutable state of nnx modules.

A variable has a value, metadata, and an identity: two modules that hold the same variable share it,
through `split`, `merge` and every transform. Its class states its purpose (`Param`, `BatchStat`),
and filters select variables by class.

Variables are cheap. Value and metadata are slots, so the values of hundreds of variables are
gathered at C speed. Metadata is an immutable mapping that an edit replaces, so one identity check
detects changes. Hooks are looked up only if the variable has metadata or the class defines
hooks.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import EllipsisType, MappingProxyType
from typing import Any, ClassVar, Generic, Self, TypeVar, overload

import jax
import jax.numpy as jnp
import numpy as np

from ...accepted import accepted
from ...arrays import check_is_here, strong
from ...errors import ArgumentError
from ...notebook import as_html
from ..nodes import edits
from ..nodes.kinds import VARIABLE
from ..nodes.representation import Entries, represent, treescope_of
from ..nodes.statics import static_key
from .arithmetic import Operators
from .layout import in_place_of, is_eager, laid_out, loaded
from .sharding_metadata import axis_names_of, one_spelling
from .variable_metadata import HOOKS, VariableMetadata, hooks_of, merge_hooks, require_one_kind

A = TypeVar("A")
V = TypeVar("V", bound="Variable[Any]")

_NOTHING: Mapping[str, Any] = MappingProxyType({})
MISSING: Any = type("Missing", (), {"__repr__": lambda self: "<missing>"})()
"""The default of an argument for which None is a value; signatures show `<missing>`."""


class Variable(Operators[A], Generic[A]):
    """A mutable value of a module, with metadata.

    Args:
      value: an array or any pytree of arrays; or a `Variable` or `VariableMetadata`, whose value
        and metadata are used.
      **metadata: metadata, readable as attributes. `on_get_value`, `on_set_value`,
        `on_create_value`, `on_add_axis` and `on_remove_axis` are hooks: functions (or tuples of
        them) that are called on these events with the variable and the value. A subclass may define
        methods of these names instead.

    Attributes:
      value: the value; reading or assigning it runs the hooks. `variable[...]` is equivalent.
      raw_value: the stored value, without running hooks.

    Arithmetic applies to the value and returns arrays. Attributes that are neither metadata nor
    methods are looked up on the value, such as `variable.shape`.

    >>> import jax.numpy as jnp
    >>> v = Variable(jnp.ones(3), unit="volt")
    >>> v.value.shape, v.unit, float(jnp.sum(v * 2))
    ((3,), 'volt', 6.0)
    >>> v[...] = jnp.zeros(3)
    >>> v[0] = 5.0
    >>> v.value.tolist()
    [5.0, 0.0, 0.0]
    """

    __slots__ = ("__weakref__", "_made_at", "_metadata", "_nnx_stamp", "raw_value")

    raw_value: A
    _metadata: Mapping[str, Any]
    _nnx_kind: ClassVar[int] = VARIABLE

    def __init__(self, value: A | VariableMetadata[A] | Variable[A], **metadata: object) -> None:
        if isinstance(value, VariableMetadata):
            metadata = merge_hooks(value.all_metadata(), metadata)
            value = value.raw_value
        elif isinstance(value, Variable):
            metadata = merge_hooks(value._metadata, metadata)
            value = value.raw_value
        if metadata and not _KINDS.isdisjoint(metadata):
            kinds = {name: metadata.pop(name, None) for name in _KINDS}
            require_one_kind(**kinds)
        _set_stamp(self, edits.stamp())
        _set_made_at(self, edits.place_of_creation())
        _set_metadata(self, metadata or _NOTHING)
        if metadata or type(self)._has_hooks:
            value = self.create_value(value)
            if not _NAMES_OF_AXES.isdisjoint(metadata):
                _set_metadata(self, one_spelling(metadata))
                value = laid_out(self, value, strict=True)
        set_raw_value(self, strong(value))

    _has_hooks = False

    def __init_subclass__(cls, **kwargs: object) -> None:
        super().__init_subclass__(**kwargs)
        cls._has_hooks = cls.create_value is not Variable.create_value or any(
            hasattr(cls, name) for name in HOOKS
        )
        _register(cls)

    @property
    def var_type(self) -> type[Variable[A]]:
        """The variable's class."""
        return type(self)

    # The value.

    @property
    def value(self) -> A:
        """The value; assigning runs the hooks and checks the trace level."""
        value: A = self.get_value()
        return value

    @value.setter
    def value(self, value: A) -> None:
        self.set_value(value)

    @overload
    def get_value(self) -> A: ...
    @overload
    def get_value(self, *, index: EllipsisType) -> A: ...
    @overload
    def get_value(self, *, index: object) -> Any: ...
    def get_value(self, *, index: object = MISSING) -> object:
        """The value, or its part at `index`, after the `on_get_value` hooks."""
        value: Any = self.raw_value
        if index is not MISSING and index is not ...:
            value = value[index]
        if self._metadata or type(self)._has_hooks:
            for hook in self._hooks("on_get_value"):
                value = hook(self, value)
        return value

    def set_value(self, value: object, *, index: object = MISSING) -> None:
        """Replaces the value, or its part at `index`, after running the `on_set_value` hooks.

        Raises:
          TraceContextError: the variable was created outside the current jax transform.
        """
        if self._nnx_stamp != edits.trace_state():
            edits.check_trace(self._nnx_stamp, self._nnx_description)
        if isinstance(value, Variable):
            value = value.raw_value
        if self._metadata or type(self)._has_hooks:
            for hook in self._hooks("on_set_value"):
                value = hook(self, value)
        value = strong(value)
        if index is not MISSING and index is not ...:
            current = self.raw_value
            if isinstance(current, jax.Array):
                value = current.at[index].set(value)
            else:
                current[index] = value  # type: ignore[index]
                value = current
        else:
            value = self._placed(value)
        set_raw_value(self, value)

    def get_raw_value(self) -> A:
        """The stored value, without running hooks."""
        return self.raw_value

    def set_raw_value(self, value: A, *, _unsafe_bypass_check: bool = False) -> None:
        """Stores a value without running hooks; the check of the trace level can be skipped."""
        if not _unsafe_bypass_check:
            edits.check_trace(self._nnx_stamp, self._nnx_description)
        set_raw_value(self, value)

    def _placed(self, value: object) -> object:
        value = in_place_of(self.raw_value, value)
        return loaded(self, value) if _names_axes(self) else value

    def create_value(self, value: A) -> A:
        """The initial value: `value` after the `on_create_value` hooks.

        A subclass may override this.
        """
        for hook in self._hooks("on_create_value"):
            value = hook(self, value)
        return value

    @overload
    def __getitem__(self, index: EllipsisType, /) -> A: ...
    @overload
    def __getitem__(self: Variable[jax.Array], index: Any, /) -> jax.Array: ...
    @overload
    def __getitem__(self, index: object, /) -> Any: ...
    def __getitem__(self, index: object, /) -> object:
        return self.get_value(index=index)

    def __setitem__(self, index: object, value: object) -> None:
        self.set_value(value, index=index)

    def __delitem__(self, index: object) -> None:
        edits.check_trace(self._nnx_stamp, self._nnx_description)
        value: Any = self.raw_value
        del value[index]
        set_raw_value(self, value)

    def __jax_array__(self) -> A:
        value: A = self.get_value()
        return value

    def __array__(self, *args: Any, **kwargs: Any) -> np.ndarray[Any, Any]:
        array: np.ndarray[Any, Any] = np.asarray(self.get_value(), *args, **kwargs)
        return array

    # Metadata.

    def get_metadata(
        self,
        name: str | None = None,
        default: object = MISSING,
        *,
        exclude_required: bool | None = None,
    ) -> Any:
        """Returns all metadata as a new dict, or one entry.

        Raises:
          KeyError: the entry doesn't exist, and no `default` is given.
        """
        accepted(exclude_required=exclude_required)
        if name is None:
            return dict(self._metadata)
        if default is MISSING:
            return self._metadata[name]
        return self._metadata.get(name, default)

    def set_metadata(self, *args: object, **metadata: object) -> None:
        """Adds entries, given as keywords or `name, value`, or replaces all with a mapping."""
        if len(args) == 2 and isinstance(args[0], str):
            new = {**self._metadata, args[0]: args[1]}
        elif len(args) == 1 and isinstance(args[0], Mapping):
            new = {**args[0], **metadata}
        elif not args:
            new = {**self._metadata, **metadata}
        else:
            raise ArgumentError(
                f"set_metadata takes a mapping, a name and a value, or keywords; got {args}."
            )
        self._edit_metadata(new)

    def has_metadata(self, name: str) -> bool:
        """Whether the metadata has an entry `name`."""
        return name in self._metadata

    def del_metadata(self, name: str) -> None:
        """Removes an entry; raises KeyError if it doesn't exist."""
        new = dict(self._metadata)
        del new[name]
        self._edit_metadata(new)

    def _edit_metadata(self, metadata: dict[str, Any]) -> None:
        edits.check_trace(self._nnx_stamp, self._nnx_description)
        _set_metadata(self, metadata)
        edits.count[0] += 1

    def _hooks(self, name: str) -> tuple[Any, ...]:
        found = hooks_of(self._metadata.get(name))
        method = getattr(type(self), name, None) if type(self)._has_hooks else None
        return found if method is None else (method, *found)

    def add_axis(self, axis_index: int, axis_name: str | None) -> None:
        """Runs the `on_add_axis` hooks after the value gained an axis at `axis_index`."""
        for hook in self._hooks("on_add_axis"):
            hook(self, axis_index, axis_name)

    def remove_axis(self, axis_index: int, axis_name: str | None) -> None:
        """Runs the `on_remove_axis` hooks after the value lost its axis `axis_index`."""
        for hook in self._hooks("on_remove_axis"):
            hook(self, axis_index, axis_name)

    @property
    def type(self) -> type[Variable[A]]:
        """The variable's class."""
        return type(self)

    @property
    def sharding_names(self) -> Any:
        """The sharding names of the value's axes, or None."""
        return axis_names_of(self)

    @property
    def hijax(self) -> bool:
        """Always False: hijax variables are not supported."""
        return False

    @property
    def ref(self) -> bool:
        """Always False: mutable-array references are not supported."""
        return False

    # Copies.

    def copy(self, value: object = MISSING, **updates: object) -> Self:
        """A new variable of the same class, optionally with a new value and updated metadata."""
        given = value is not MISSING
        value = value if given else self.raw_value
        if isinstance(value, Variable):
            value = value.raw_value
        new = new_variable(type(self), value, {**self._metadata, **updates})
        if given:
            set_raw_value(new, new._placed(value))
        return new

    def replace(self, value: object = MISSING, **updates: object) -> Self:
        """Equivalent to `copy`."""
        return self.copy(value, **updates)

    to_state = copy

    @classmethod
    def from_metadata(cls, value: A, attributes: Mapping[str, Any]) -> Self:
        """Creates a variable of this class with its value laid out, without running hooks."""
        new = new_variable(cls, value, dict(attributes))
        if not _NAMES_OF_AXES.isdisjoint(new._metadata):
            set_raw_value(new, laid_out(new, value))
        return new

    def copy_from(self, other: Variable[A]) -> None:
        """Copies the value and metadata of another variable of the same class.

        Raises:
          ArgumentError: the other variable has a different class.
        """
        if type(other) is not type(self):
            raise ArgumentError(
                f"A {type(self).__name__} cannot take the value of a {type(other).__name__}."
            )
        self.update_from_state(other)

    def update_from_state(self, variable_state: Variable[A]) -> None:
        """Copies the value and metadata of another variable."""
        edits.check_trace(self._nnx_stamp, self._nnx_description)
        take_over(self, variable_state)

    def __copy__(self) -> Self:
        return self.copy()

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        import copy

        new = new_variable(type(self), None, copy.deepcopy(dict(self._metadata), memo))
        memo[id(self)] = new
        set_raw_value(new, copy.deepcopy(self.raw_value, memo))
        return new

    def __reduce__(self) -> tuple[Any, ...]:
        value, metadata = self.raw_value, dict(self._metadata)
        for x in jax.tree.leaves(value):
            check_is_here(x, f"A {type(self).__name__}", "pickled")
        if isinstance(value, jax.Array) and jnp.issubdtype(value.dtype, jax.dtypes.prng_key):
            # jax 0.8 can't pickle typed keys: store their bits and the name of their generator.
            bits, generator = np.asarray(jax.random.key_data(value)), jax.random.key_impl(value)
            return _new_key_variable, (type(self), bits, generator, metadata)
        return new_variable, (type(self), value, metadata)

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        # Only a pickle that Flax wrote has a state; ours calls `new_variable`.
        _set_stamp(self, edits.stamp())
        _set_made_at(self, None)
        _set_metadata(self, without_kinds(state["_var_metadata"]) or _NOTHING)
        set_raw_value(self, state["_raw_value"])

    # Attributes.

    def __getattr__(self, name: str) -> Any:
        # Called for names that are neither methods nor slots.
        if name.startswith("__") and name.endswith("__"):
            raise AttributeError(f"{type(self).__name__} has no attribute {name!r}.")
        if name == "raw_value":
            raise AttributeError(f"{type(self).__name__} was not initialized.")
        try:
            metadata = _get_metadata(self)
        except AttributeError:
            raise AttributeError(f"{type(self).__name__} was not initialized.") from None
        if name in metadata:
            return metadata[name]
        value = self.get_value()
        if hasattr(value, name):
            return getattr(value, name)
        known = f" (metadata: {', '.join(metadata)})" if metadata else ""
        raise AttributeError(
            f"{type(self).__name__} has no attribute {name!r}, nor has its metadata{known}, nor its"
            f" value, of type {type(value).__name__}."
        )

    def __setattr__(self, name: str, value: Any) -> None:
        if hasattr(type(self), name):
            if name == "raw_value":
                self.set_raw_value(value)
            else:
                object.__setattr__(self, name, value)
            return
        raise AttributeError(
            f"Cannot set attribute {name!r} of {type(self).__name__}: its value is set by"
            f" `variable[...] = x`, and its metadata by `variable.set_metadata({name}=x)`."
        )

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self._metadata]

    def _nnx_description(self) -> str:
        shape = getattr(self.raw_value, "shape", None)
        what = f" of shape {shape}" if shape is not None else ""
        by = ":".join(map(str, self._made_at)) if self._made_at else "by a jax transform"
        return f"{type(self).__name__!r}{what}, made {'at ' if self._made_at else ''}{by},"

    def _nnx_entries(self) -> Entries:
        items = [("value", self.raw_value), *self._metadata.items()]
        return Entries(f"{type(self).__name__}(", ")", items, "=", sized=True)

    def __repr__(self) -> str:
        return represent(self)

    def _repr_html_(self) -> str:
        return as_html(self)

    def __treescope_repr__(self, path: object, subtree_renderer: object) -> object:
        attributes = {"value": self.raw_value, **self._metadata}
        return treescope_of(self, attributes, path, subtree_renderer)


# Bypass `__setattr__`, for internal use: no hook, no check, no Python frame.
_slots: Any = vars(Variable)
set_raw_value = _slots["raw_value"].__set__
_set_metadata = _slots["_metadata"].__set__
_get_metadata = _slots["_metadata"].__get__
_set_stamp = _slots["_nnx_stamp"].__set__
_set_made_at = _slots["_made_at"].__set__

_KINDS = frozenset({"hijax", "ref"})
_NAMES_OF_AXES = frozenset({"out_sharding", "sharding", "sharding_names"})


def _names_axes(variable: Variable[Any]) -> bool:
    metadata = variable._metadata
    return bool(metadata) and not _NAMES_OF_AXES.isdisjoint(metadata)


def without_kinds(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """The metadata of one of Flax's variables without the entries that every variable has there.

    Raises:
      ArgumentError: it is a reference or a hijax variable, which Linnet doesn't have.
    """
    require_one_kind(**{name: metadata.get(name) for name in _KINDS})
    every: dict[str, bool] = {"hijax": False, "ref": False, "eager_sharding": True}
    return {k: v for k, v in metadata.items() if k not in every or v is not every[k]}


def _new_key_variable(
    cls: type[Variable[Any]], bits: jax.Array, generator: object, metadata: dict[str, Any]
) -> Variable[Any]:
    """A variable that holds the typed key or keys with these bits."""
    return new_variable(cls, jax.random.wrap_key_data(bits, impl=generator), metadata)


def load(variable: Variable[Any], value: object) -> None:
    """Stores a value without running hooks, laid out like the old one or as the metadata says."""
    edits.check_trace(variable._nnx_stamp, variable._nnx_description)
    store(variable, value)


def store(variable: Variable[Any], value: object) -> None:
    """The same as `load`, for a caller that has checked the trace."""
    set_raw_value(variable, variable._placed(value))


def take_over(variable: Variable[Any], source: Variable[Any]) -> None:
    """Stores value and metadata of another variable, for a caller that has checked the trace."""
    if variable._metadata is not source._metadata:
        variable._edit_metadata(dict(source._metadata))
    set_raw_value(variable, variable._placed(source.raw_value))


def place_all(nodes: Iterable[Any]) -> None:
    """Lays out the variables among nodes that were built from arbitrary values."""
    named = [x for x in nodes if isinstance(x, Variable) and _names_axes(x)]
    # In a trace, concrete values would become tracers, in variables that may be from outside.
    if named and is_eager():
        for variable in named:
            set_raw_value(variable, loaded(variable, variable.raw_value))


def new_variable(
    cls: type[V],
    value: object,
    metadata: Mapping[str, Any],
    stamp: object = None,
    made_at: tuple[str, int] | None = None,
) -> V:
    """Creates a variable without running hooks, for merging, copying and unpickling."""
    variable = object.__new__(cls)
    _set_stamp(variable, edits.stamp() if stamp is None else stamp)
    _set_made_at(variable, made_at)
    _set_metadata(variable, metadata or _NOTHING)
    set_raw_value(variable, value)
    return variable


_VALUE_KEY = jax.tree_util.GetAttrKey("value")


class _Metadata:
    """Metadata in a tree's structure, compared by its contents, even if those are unhashable."""

    __slots__ = ("_hash", "_key", "items")

    def __init__(self, items: Mapping[str, Any]) -> None:
        self.items = items
        self._key: Any = None

    def key(self) -> object:
        if self._key is None:
            self._key = frozenset((k, static_key(v)) for k, v in self.items.items())
        return self._key

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Metadata) and (
            self.items is other.items or self.key() == other.key()
        )

    def __hash__(self) -> int:
        return hash(self.key())

    def __repr__(self) -> str:
        return repr(dict(self.items))


_NO_METADATA = _Metadata(_NOTHING)


def _register(cls: type[Variable[Any]]) -> None:
    def flatten(v: Variable[Any]) -> tuple[tuple[Any], _Metadata]:
        return (v.raw_value,), _Metadata(v._metadata) if v._metadata else _NO_METADATA

    def flatten_with_keys(v: Variable[Any]) -> tuple[tuple[tuple[Any, Any]], _Metadata]:
        return ((_VALUE_KEY, v.raw_value),), (
            _Metadata(v._metadata) if v._metadata else _NO_METADATA
        )

    def unflatten(metadata: _Metadata, children: Iterable[Any]) -> Variable[Any]:
        (value,) = children
        return new_variable(cls, value, metadata.items)

    jax.tree_util.register_pytree_with_keys(cls, flatten_with_keys, unflatten, flatten)


_register(Variable)

VariableState = Variable
"""An older name; the leaves of a `State` are variables."""
