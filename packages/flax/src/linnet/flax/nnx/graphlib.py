"""The names of `flax.nnx.graphlib`, and those that Flax's pickles of a `GraphDef` have."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import jax

from linnet.flax.typing import HashableMapping as HashableMapping
from linnet.flax.typing import is_key_like as is_key_like
from linnet.module_core.config import config as config
from linnet.module_core.nnx.nodes.contents import key_of
from linnet.module_core.nnx.nodes.kinds import ARRAY, DICT, LIST, OBJECT, TREE, VARIABLE, kind_of
from linnet.module_core.nnx.structure.contexts import (
    current_update_context as current_update_context,
)
from linnet.module_core.nnx.structure.written_by_flax import IndexesPytreeDef as IndexesPytreeDef
from linnet.module_core.nnx.structure.written_by_flax import (
    LeafAttribute,
    NodeAttribute,
    Value,
)
from linnet.module_core.typing import Key as Key
from linnet.module_core.typing import PathParts as PathParts
from linnet.nnx.graphlib import *  # noqa: F403

Index = int
Static = Value  # type: ignore[misc]  # not the annotation
LeafAttr = LeafAttribute
NodeAttr = NodeAttribute
Names = Iterable[Any] | None


class GenericPytree:
    """The class, in Flax's pickles, of a node that is registered only with jax."""


def is_graph_node(x: object) -> bool:
    """Whether `x` has an identity: a module or another nnx object, or a variable."""
    return kind_of(x) in (OBJECT, VARIABLE)


def is_node_leaf(x: object) -> bool:
    """Whether `x` is a variable or an array."""
    return kind_of(x) in (ARRAY, VARIABLE)


def is_node(x: object) -> bool:
    """Whether `x` has parts: an nnx object, or a jax pytree."""
    return kind_of(x) in (OBJECT, LIST, DICT, TREE)


def is_pytree_node(x: object) -> bool:
    """Whether `x` is a pytree but not an nnx object: a list, a dict or any other jax pytree."""
    return kind_of(x) in (LIST, DICT, TREE)


def is_array_ref(x: object) -> bool:
    """Whether `x` is a mutable-array reference, which no variable of Linnet is."""
    return isinstance(x, getattr(jax, "Ref", ()))


def jax_to_nnx_path(path: Iterable[object], /) -> tuple[Key, ...]:
    """The nnx form of a path of jax's keys.

    >>> import jax
    >>> ((path, _),), _ = jax.tree_util.tree_flatten_with_path({"a": [1]})
    >>> jax_to_nnx_path(path)
    ('a', 0)
    """
    return tuple(key_of(entry) for entry in path)
