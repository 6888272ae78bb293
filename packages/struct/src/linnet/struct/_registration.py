"""Registers dataclasses with JAX so that errors name the values that cannot be compared.

JAX compares the structure of a pytree on each call to a jitted function, including the fields that
are not children. Comparing arrays there gives no truth value, and JAX's error names neither the
class nor the field. Such a value is therefore wrapped in a `_Static`, which compares in its place.
Two arrays count as different unless they are the same object, so JAX traces the function again; as
the instance is then rebuilt with tracers, an error names the field. Without a trace, no error is
raised.

cloudpickle sends a notebook's class to another process by value: it makes an empty class there, and
then sets the attributes. One attribute of each class is therefore a `Fields`, which registers the
class again when it is unpickled. A subclass of `PyTreeNode` registers itself when it is made, while
it is still empty, and therefore looks up its fields on each flattening.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Sequence
from operator import attrgetter
from typing import Any

import jax
import jax.tree_util

from linnet.struct._errors import message


class Fields:
    """The fields of a registered class, as an attribute of the class.

    Attributes:
      data, meta: names of the fields that are children of the pytree, and of the other fields.
    """

    __slots__ = ("_cls", "data", "meta")

    def __init__(self, cls: type, data: Sequence[str], meta: Sequence[str]) -> None:
        self._cls = weakref.ref(cls)
        self.data = tuple(data)
        self.meta = tuple(meta)

    def __reduce__(self) -> tuple[Any, ...]:
        return _registered_again, (self._cls(), self.data, self.meta)

    def __copy__(self) -> Fields:
        return self

    def __deepcopy__(self, memo: object) -> Fields:
        return self


_registered: weakref.WeakKeyDictionary[type, Fields] = weakref.WeakKeyDictionary()


def register(
    made: type, data_fields: Sequence[str], meta_fields: Sequence[str], *, final: bool = True
) -> Fields:
    """Makes a class a pytree.

    Args:
      made: the class; its constructor takes all fields by name.
      data_fields: names of the fields that are children of the pytree.
      meta_fields: names of the fields that are part of its structure.
      final: whether these are known to be all fields; see the module's docstring.

    Returns:
      The value to store in an attribute of the class; see the module's docstring.
    """
    fields = _registered[made] = Fields(made, data_fields, meta_fields)
    if not final:
        _register_changeable(made, fields)
    elif meta_fields:
        _register_with_structure(made, fields)
    else:
        jax.tree_util.register_dataclass(made, data_fields=list(fields.data), meta_fields=[])
    return fields


_METHODS = frozenset(
    f"__{name}__" for name in ("init", "repr", "eq", "hash", "setattr", "delattr", "match_args")
)


def _registered_again(cls: type, data: tuple[str, ...], meta: tuple[str, ...]) -> Fields:
    """Registers a class that was pickled by value."""
    fields = _registered.get(cls)
    if fields is None:
        return register(cls, data, meta)
    if (fields.data, fields.meta) != (data, meta):  # removes the empty class's methods
        for name in _METHODS & vars(cls).keys():
            delattr(cls, name)
        fields.data, fields.meta = data, meta
    return fields


def _register_changeable(made: type, fields: Fields) -> None:
    flattening = _Flattening(made, fields)
    last = (fields.data, fields.meta)

    def current() -> _Flattening:
        nonlocal flattening, last
        if (fields.data, fields.meta) != last:
            last = (fields.data, fields.meta)
            flattening = _Flattening(made, fields)
        return flattening

    jax.tree_util.register_pytree_with_keys(
        made,
        lambda node: current().flatten_with_keys(node),
        lambda structure, children: current().unflatten(structure, children),
        lambda node: current().flatten(node),
    )


def _register_with_structure(made: type, fields: Fields) -> None:
    flattening = _Flattening(made, fields)
    jax.tree_util.register_pytree_with_keys(
        made, flattening.flatten_with_keys, flattening.unflatten, flattening.flatten
    )


class _Flattening:
    """Takes instances of a class apart and rebuilds them."""

    def __init__(self, made: type, fields: Fields) -> None:
        self._made = made
        self._meta = fields.meta
        self._names = (*fields.data, *fields.meta)
        self._children_of = _values_of(fields.data)
        self._structure_of = _values_of(fields.meta)
        self._keys = [jax.tree_util.GetAttrKey(name) for name in fields.data]

    def flatten(self, node: object) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        """Returns the children and the structure."""
        structure = self._structure_of(node)
        try:
            hash(structure)
        except TypeError:
            structure = tuple(
                value if _is_hashable(value) else _Static(type(node).__name__, name, value)
                for name, value in zip(self._meta, structure, strict=True)
            )
        return self._children_of(node), structure

    def flatten_with_keys(self, node: object) -> tuple[list[tuple[Any, Any]], tuple[Any, ...]]:
        """Returns the children with their keys, and the structure."""
        children, structure = self.flatten(node)
        return list(zip(self._keys, children, strict=True)), structure

    def unflatten(self, structure: tuple[Any, ...], children: Iterable[Any]) -> object:
        """Makes an instance."""
        children = tuple(children)
        values = [x.value if type(x) is _Static else x for x in structure]
        for x in structure:
            if type(x) is _Static and x.was_not_comparable and any(map(_is_tracer, children)):
                raise TypeError(x.refusal("compared"))
        return self._made(**dict(zip(self._names, (*children, *values), strict=True)))


def _values_of(names: Sequence[str]) -> Callable[[Any], tuple[Any, ...]]:
    """A function that returns the values of fields as a tuple."""
    if not names:
        return lambda node: ()
    if len(names) == 1:
        one = attrgetter(names[0])
        return lambda node: (one(node),)
    return attrgetter(*names)


def _is_hashable(value: object) -> bool:
    try:
        hash(value)
    except TypeError:
        return False
    return True


def _is_tracer(value: object) -> bool:
    return isinstance(value, jax.core.Tracer)


class _Static:
    """An unhashable value in a pytree's structure, with the name of its field.

    Attributes:
      class_name, field: the location of the value.
      value: the value.
      was_not_comparable: whether `==` gave no truth value when it was compared.
    """

    __slots__ = ("class_name", "field", "value", "was_not_comparable")

    def __init__(self, class_name: str, field: str, value: object) -> None:
        self.class_name = class_name
        self.field = field
        self.value = value
        self.was_not_comparable = False

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, _Static):
            return False
        if self.value is other.value:
            return True
        try:
            return bool(self.value == other.value)
        except (TypeError, ValueError):
            self.was_not_comparable = other.was_not_comparable = True
            return False

    def __hash__(self) -> int:
        raise TypeError(self.refusal("hashed"))

    def __repr__(self) -> str:
        return repr(self.value)

    def refusal(self, what: str) -> str:
        """The error message for a value that cannot be compared, or hashed."""
        return message(
            f"{self.class_name}.{self.field} is part of the structure of the pytree"
            f" (pytree_node=False) and holds a {type(self.value).__name__}, which cannot be"
            f" {what}.",
            f"Make {self.field} a child if it holds arrays, by leaving pytree_node=False out; "
            "otherwise, store a tuple, a string, a number or a function in it.",
        )
