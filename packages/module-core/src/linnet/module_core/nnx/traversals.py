"""Flattens and unflattens nested mappings: `struct.traverse_util` for states and other mappings."""

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
    """Converts a nested mapping to a flat dict with paths as keys.

    Args:
      xs: nested mappings, such as dicts and states.
      keep_empty_nodes: keeps empty mappings as `empty_node`; otherwise they are left out.
      is_leaf: takes a path and a mapping, and returns whether to keep the mapping whole.
      sep: joins the keys of a path into a string; None keeps them as a tuple.

    Raises:
      TypeError: `xs` is not a mapping, or `sep` is given and a key is not a string.
      ValueError: two paths become equal when joined by `sep`.

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
    """Converts a nested mapping to a list of paths and leaves.

    Args:
      xs: nested mappings; empty ones are left out.
      is_leaf: takes a path and a mapping, and returns whether to keep the mapping whole.

    >>> flatten_to_sequence({"dense": {"kernel": 1}, "scale": 3})
    [(('dense', 'kernel'), 1), (('scale',), 3)]
    """
    return list(flatten_mapping(xs, is_leaf=is_leaf).items())


def unflatten_mapping(xs: PyTree, /, *, sep: str | None = None) -> dict[Any, Any]:
    """Converts a flat mapping of paths to a nested dict.

    Args:
      xs: a mapping of paths to leaves, or pairs of these; `empty_node` becomes an empty dict.
      sep: separator that joins the paths; None if they are tuples.

    Raises:
      TypeError: a path is a tuple although `sep` is given, or not a tuple without `sep`.
      ValueError: a path continues below another, which is a leaf.

    >>> unflatten_mapping({("dense", "kernel"): 1, ("scale",): 3})
    {'dense': {'kernel': 1}, 'scale': 3}
    """
    return unflatten_dict(dict(xs), sep)


def _as_dicts(x: object, path: tuple[Any, ...], is_leaf: IsLeaf | None) -> object:
    if not isinstance(x, Mapping) or (is_leaf is not None and is_leaf(path, x)):
        return x
    return {key: _as_dicts(value, (*path, key), is_leaf) for key, value in x.items()}
