"""The arrays of a tree by path, the same for linen variables, nnx modules and states, and others.

A path is text, such as "blocks/0/attention/kernel". Boxes and variables add nothing to it, so an
array has the same path in a tree of them, in a tree of their values, and in one of their layouts.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from typing import Any, Protocol, TypeGuard, TypeVar

import jax

from ..boxes import contents, is_axis_metadata, replace_boxed

T = TypeVar("T")


class Shaped(Protocol):
    """An array, or the shape and dtype of one."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Its shape."""

    @property
    def dtype(self) -> Any:
        """Its dtype, which may be a dtype of random keys."""


ForEach = Callable[[str, object, object], object]
"""Takes an array's path, the variable or array that filters see, and the array."""


def mapped(f: ForEach, tree: T, *, keep_boxes: bool) -> T:
    """A copy of `tree` with `f(path, leaf, array)` in place of each array.

    Args:
      f: returns what replaces a leaf. It is also called for leaves that aren't arrays, such as
        numbers.
      tree: linen variables, nnx modules or states, or any tree.
      keep_boxes: whether results replace the arrays in boxes, or the boxes.
    """
    made: T = _mapped(f, tree, (), keep_boxes)
    return made


def by_path(tree: object) -> dict[str, Any]:
    """The leaves of a tree by path: arrays, or what represents them, such as layouts."""
    found: dict[str, Any] = {}

    def note(path: str, leaf: object, value: object) -> object:
        found[path] = value
        return value

    mapped(note, tree, keep_boxes=True)
    return found


def path_part(key: object) -> str:
    """A jax key of a tree as part of a path; empty for the key of a variable's value."""
    for attribute in ("key", "idx", "name"):
        if hasattr(key, attribute):
            part = str(getattr(key, attribute))
            # The variables of an nnx state hold their values under this name.
            return "" if attribute == "name" and part in ("value", "raw_value") else part
    return str(key)


def is_array(x: object) -> TypeGuard[Shaped]:
    """Whether `x` is an array, or the shape and dtype of one."""
    return hasattr(x, "shape") and hasattr(x, "dtype")


def is_key(x: object) -> bool:
    """Whether `x` is an array of typed random keys, or the shape of one."""
    dtype = getattr(x, "dtype", None)
    return dtype is not None and bool(jax.numpy.issubdtype(dtype, jax.dtypes.prng_key))


def _mapped(f: ForEach, tree: object, prefix: tuple[str, ...], keep_boxes: bool) -> Any:
    # If nnx isn't loaded, the tree has no nnx objects: a linen program doesn't load nnx.
    nnx: Any = sys.modules.get("linnet.module_core.nnx")
    variables: tuple[Any, ...] = () if nnx is None else (nnx.Variable,)
    modules: tuple[Any, ...] = () if nnx is None else (nnx.Pytree,)

    def values(path: tuple[str, ...], leaf: object, value: object) -> Any:
        return jax.tree_util.tree_map_with_path(
            lambda keys, x: f(_text((*path, *map(path_part, keys))), leaf, x), value
        )

    def new(path: tuple[str, ...], leaf: object) -> object:
        if isinstance(leaf, variables):
            variable: Any = leaf
            return variable.copy(values(path, leaf, variable.raw_value))
        if is_axis_metadata(leaf):
            inside = values(path, leaf, contents(leaf))
            return replace_boxed(leaf, inside) if keep_boxes else inside
        return f(_text(path), leaf, leaf)

    if isinstance(tree, modules):
        return nnx.map(
            lambda path, leaf: new((*prefix, *map(str, path)), leaf), tree, recreate_variables=False
        )

    def in_tree(keys: Iterable[object], leaf: object) -> object:
        path = (*prefix, *map(path_part, keys))
        return _mapped(f, leaf, path, keep_boxes) if isinstance(leaf, modules) else new(path, leaf)

    return jax.tree_util.tree_map_with_path(
        in_tree,
        tree,
        is_leaf=lambda x: is_axis_metadata(x) or isinstance(x, (*variables, *modules)),
    )


def _text(parts: Iterable[str]) -> str:
    return "/".join(p for p in parts if p) or "the root"
