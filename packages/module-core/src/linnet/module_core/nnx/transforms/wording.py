"""Trees of values as a line of text, for errors about structure: `{'net': Net, 'x': int32[4]}`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax

from ..structure.bundle import Hole, is_node

_LONGEST = 300


class _Word:
    """Text that prints without quotes."""

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        return self.text


def tree_text(tree: object, roots: Sequence[Any] = ()) -> str:
    """The text of a tree, with the class of each object and the dtype and shape of each array.

    Args:
      tree: the tree, in which holes may replace objects.
      roots: the objects for the holes; holes beyond them are new objects.
    """

    def word(x: object) -> object:
        if type(x) is Hole:
            known = x.index < len(roots)
            return _Word(type(roots[x.index]).__name__ if known else "another module")
        if is_node(x):
            return _Word(type(x).__name__)
        if hasattr(x, "shape") and hasattr(x, "dtype"):
            return _Word(f"{x.dtype}[{','.join(map(str, x.shape))}]")
        return x

    def is_leaf(x: object) -> bool:
        return type(x) is Hole or is_node(x)

    text = repr(jax.tree_util.tree_map(word, tree, is_leaf=is_leaf))
    return text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."


def form_text(form: jax.tree_util.PyTreeDef, roots: Sequence[Any]) -> str:
    """The text of a tree that is known only by its jax structure."""
    return tree_text(jax.tree_util.tree_unflatten(form, [_Word("*")] * form.num_leaves), roots)
