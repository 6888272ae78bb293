"""Nested mappings as flat ones, and back: `struct.traverse_util` for states and all mappings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from linnet.struct.traverse_util import empty_node as empty_node
from linnet.struct.traverse_util import flatten_dict, unflatten_dict

from ..typing import PyTree

IsLeaf = Callable[[tuple[Any, ...], Any], Any]


def flatten_mapping(
    xs: Mapping[Any, Any],
    /,
    *,
    keep_empty_nodes: bool = False,
    is_leaf: IsLeaf | None = None,
    sep: str | None = None,
) -> dict[Any, Any]:
    """A nested mapping as a flat dict, by path.

    Args:
      xs: mappings in one another: dicts, states.
      keep_empty_nodes: keeps empty mappings, as `empty_node`; otherwise they are left out.
      is_leaf: takes a path and a mapping, returns whether the mapping is kept whole.
      sep: joins the keys of a path into a string; None keeps them as a tuple.

    Raises:
      TypeError: `xs` is not a mapping, or with `sep`, a key is not a string.
      ValueError: two paths are the same when joined by `sep`.

    >>> flatten_mapping({"dense": {"kernel": 1, "bias": 2}, "scale": 3})
    {('dense', 'kernel'): 1, ('dense', 'bias'): 2, ('scale',): 3}
    """
    plain: Any = _as_dicts(xs, (), is_leaf)
    flatten: Any = flatten_dict
    flat: dict[Any, Any] = flatten(plain, keep_empty_nodes, is_leaf, sep)
    return flat


def flatten_to_sequence(
    xs: Mapping[Any, Any], /, *, is_leaf: IsLeaf | None = None
) -> list[tuple[tuple[Any, ...], Any]]:
    """A nested mapping as a list of paths and leaves.

    Args:
      xs: mappings in one another; empty ones are left out.
      is_leaf: takes a path and a mapping, returns whether the mapping is kept whole.

    >>> flatten_to_sequence({"dense": {"kernel": 1}, "scale": 3})
    [(('dense', 'kernel'), 1), (('scale',), 3)]
    """
    return list(flatten_mapping(xs, is_leaf=is_leaf).items())


def unflatten_mapping(xs: PyTree, /, *, sep: str | None = None) -> dict[Any, Any]:
    """The nested dict of leaves by path.

    Args:
      xs: a mapping of paths to leaves, or pairs of them; `empty_node` becomes an empty dict.
      sep: what the paths are joined by; None if they are tuples.

    Raises:
      TypeError: a path is a tuple with `sep` or none without.
      ValueError: one path continues another, which is a leaf.

    >>> unflatten_mapping({("dense", "kernel"): 1, ("scale",): 3})
    {'dense': {'kernel': 1}, 'scale': 3}
    """
    return unflatten_dict(dict(xs), sep)


def _as_dicts(x: object, path: tuple[Any, ...], is_leaf: IsLeaf | None) -> object:
    if not isinstance(x, Mapping) or (is_leaf is not None and is_leaf(path, x)):
        return x
    return {key: _as_dicts(value, (*path, key), is_leaf) for key, value in x.items()}
