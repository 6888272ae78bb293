"""Registers dataclasses with JAX so that errors name the values that cannot be compared.

JAX compares the structure of a pytree on each call to a jitted function, including the fields that
are not children. Comparing arrays there gives no truth value, and JAX's error names neither the
class nor the field. Such a value is therefore wrapped in a `_Static`, which compares in its place.
Two arrays count as different unless they are the same object, so JAX traces the function again; as
the instance is then rebuilt with tracers, an error names the field. Without a trace, no error is
raised.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from operator import attrgetter
from typing import Any

import jax
import jax.tree_util

from linnet.struct._errors import message


def register(made: type, data_fields: Sequence[str], meta_fields: Sequence[str]) -> None:
    """Makes a class a pytree.

    Args:
      made: the class; its constructor takes all fields by name.
      data_fields: names of the fields that are children of the pytree.
      meta_fields: names of the fields that are part of its structure.
    """
    if not meta_fields:
        jax.tree_util.register_dataclass(made, data_fields=data_fields, meta_fields=[])
        return
    names = (*data_fields, *meta_fields)
    children_of = _values_of(data_fields)
    structure_of = _values_of(meta_fields)
    keys = [jax.tree_util.GetAttrKey(name) for name in data_fields]

    def flatten(node: object) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        structure = structure_of(node)
        try:
            hash(structure)
        except TypeError:
            structure = tuple(
                value if _is_hashable(value) else _Static(type(node).__name__, name, value)
                for name, value in zip(meta_fields, structure, strict=True)
            )
        return children_of(node), structure

    def flatten_with_keys(node: object) -> tuple[list[tuple[Any, Any]], tuple[Any, ...]]:
        children, structure = flatten(node)
        return list(zip(keys, children, strict=True)), structure

    def unflatten(structure: tuple[Any, ...], children: Iterable[Any]) -> object:
        children = tuple(children)
        values = [x.value if type(x) is _Static else x for x in structure]
        for x in structure:
            if type(x) is _Static and x.was_not_comparable and any(map(_is_tracer, children)):
                raise TypeError(x.refusal("compared"))
        return made(**dict(zip(names, (*children, *values), strict=True)))

    jax.tree_util.register_pytree_with_keys(made, flatten_with_keys, unflatten, flatten)


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
