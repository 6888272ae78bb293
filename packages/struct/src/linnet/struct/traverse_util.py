"""Flattening of nested dicts, and traversals of nested data.

The first half represents a nested dict as a flat dict whose keys are paths, so that a rule about
parameter names becomes a rule about keys. The second half, `Traversal`s, describes places in any
nested data; see `_traversal`.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any, overload

from linnet.struct._dataclass import dataclass
from linnet.struct._errors import message
from linnet.struct._traversal import (
    Traversal,
    TraverseAttr,
    TraverseCompose,
    TraverseEach,
    TraverseFilter,
    TraverseId,
    TraverseItem,
    TraverseMerge,
    TraverseTree,
    t_identity,
)
from linnet.struct.frozen_dict import FrozenDict

__all__ = [
    "ModelParamTraversal",
    "PathParts",
    "Traversal",
    "TraverseAttr",
    "TraverseCompose",
    "TraverseEach",
    "TraverseFilter",
    "TraverseId",
    "TraverseItem",
    "TraverseMerge",
    "TraverseTree",
    "VariableDict",
    "empty_node",
    "flatten_dict",
    "path_aware_map",
    "t_identity",
    "unflatten_dict",
]

PathParts = tuple[Any, ...]
VariableDict = Mapping[str, Mapping[str, Any]]


@dataclass
class _EmptyNode:
    """The type of `empty_node`."""


empty_node = _EmptyNode()
"""Represents an empty dict in a flat one."""


@overload
def flatten_dict(
    xs: Mapping[Any, Any],
    keep_empty_nodes: bool = False,
    is_leaf: Callable[[PathParts, Any], Any] | None = None,
    sep: None = None,
) -> dict[PathParts, Any]: ...
@overload
def flatten_dict(
    xs: Mapping[Any, Any],
    keep_empty_nodes: bool = False,
    is_leaf: Callable[[PathParts, Any], Any] | None = None,
    *,
    sep: str,
) -> dict[str, Any]: ...
def flatten_dict(
    xs: Mapping[Any, Any],
    keep_empty_nodes: bool = False,
    is_leaf: Callable[[PathParts, Any], Any] | None = None,
    sep: str | None = None,
) -> dict[Any, Any]:
    """Flattens a nested dict into one keyed by path.

    Args:
      xs: nested dicts and FrozenDicts.
      keep_empty_nodes: True to keep empty dicts as `empty_node`; False to omit them.
      is_leaf: takes a path and a dict and returns whether to keep the dict whole.
      sep: the separator that joins the keys of a path into a string; None keeps them as a tuple.

    Returns:
      Leaves by path.

    Raises:
      TypeError: `xs` is not a dict, or `sep` is given and a key is not a string.
      ValueError: two paths are the same when joined by `sep`.

    >>> from linnet.struct import traverse_util
    >>> params = {"dense": {"kernel": 1, "bias": 2}, "scale": 3}
    >>> traverse_util.flatten_dict(params)
    {('dense', 'kernel'): 1, ('dense', 'bias'): 2, ('scale',): 3}
    >>> traverse_util.flatten_dict(params, sep="/")
    {'dense/kernel': 1, 'dense/bias': 2, 'scale': 3}
    """
    _check_dict("flatten_dict", xs)
    flat: dict[Any, Any] = {}

    def visit(x: object, path: PathParts) -> None:
        if not isinstance(x, dict | FrozenDict) or (is_leaf is not None and is_leaf(path, x)):
            leaf = x
        elif x or not path:
            for key, value in x.items():
                visit(value, (*path, key))
            return
        elif keep_empty_nodes:
            leaf = empty_node
        else:
            return
        name = path if sep is None else _joined(path, sep)
        if name in flat:
            raise ValueError(
                message(
                    f"flatten_dict: two values have the path {name!r}.",
                    f"A key contains {sep!r}; use another separator, or none.",
                )
            )
        flat[name] = leaf

    visit(xs, ())
    return flat


def unflatten_dict(xs: Mapping[Any, Any], sep: str | None = None) -> dict[Any, Any]:
    """Rebuilds the nested dict from the result of `flatten_dict`.

    Args:
      xs: leaves by path; `empty_node` becomes an empty dict.
      sep: the separator that joined the paths; None if they are tuples.

    Raises:
      TypeError: `xs` is not a dict, a path is a tuple although `sep` is given, or a path is not a
        tuple although `sep` is None.
      ValueError: one path extends another, which is a leaf.

    >>> from linnet.struct import traverse_util
    >>> traverse_util.unflatten_dict({("dense", "kernel"): 1, ("scale",): 3})
    {'dense': {'kernel': 1}, 'scale': 3}
    """
    _check_dict("unflatten_dict", xs)
    root: dict[Any, Any] = {}
    made = {id(root)}  # the dicts made here; dicts among the leaves are not entered
    for name, leaf in xs.items():
        path = _split(name, sep)
        value = {} if leaf is empty_node else leaf
        if not path:  # the whole dict was a leaf, or empty
            if len(xs) > 1:
                raise _conflict(name)
            whole: dict[Any, Any] = value
            return whole
        node = root
        for key in path[:-1]:
            if key not in node:
                node[key] = {}
                made.add(id(node[key]))
            node = node[key]
            if id(node) not in made:
                raise _conflict(name)
        if path[-1] in node:
            raise _conflict(name)
        node[path[-1]] = value
    return root


def path_aware_map(
    f: Callable[[PathParts, Any], Any], nested_dict: Mapping[str, Mapping[str, Any]]
) -> Mapping[str, Mapping[str, Any]]:
    """Replaces each leaf of a nested dict with `f(path, leaf)`.

    Args:
      f: takes the path, a tuple of keys, and the leaf.
      nested_dict: nested dicts and FrozenDicts; lists are leaves.

    Returns:
      Plain dicts; empty ones are kept.

    Raises:
      TypeError: `nested_dict` is not a dict.

    Warns:
      UserWarning: `nested_dict` is flat, so that `f` would look for names in a tuple of tuples.

    >>> from linnet.struct import traverse_util
    >>> params = {"dense": {"kernel": 1.0, "bias": 2.0}}
    >>> traverse_util.path_aware_map(lambda path, x: 0.0 if "kernel" in path else x, params)
    {'dense': {'kernel': 0.0, 'bias': 2.0}}
    """
    _check_dict("path_aware_map", nested_dict)
    _warn_if_flat("path_aware_map", nested_dict)
    flat = flatten_dict(nested_dict, keep_empty_nodes=True)
    return unflatten_dict({p: x if x is empty_node else f(p, x) for p, x in flat.items()})


class ModelParamTraversal(Traversal):
    """The parameters of a nested dict whose path and value pass a test.

    Args:
      filter_fn: takes a path such as "/dense/kernel" and the value, and returns whether to select
        the parameter.

    >>> from linnet.struct import traverse_util
    >>> kernels = traverse_util.ModelParamTraversal(lambda path, _: path.endswith("kernel"))
    >>> kernels.update(lambda x: 0.9 * x, {"dense": {"kernel": 1.0, "bias": 2.0}})
    {'dense': {'bias': 2.0, 'kernel': 0.9}}
    """

    def __init__(self, filter_fn: Callable[[str, Any], Any]) -> None:
        self._filter_fn = filter_fn

    def iterate(self, inputs: object) -> Iterator[Any]:
        """The selected parameters, sorted by path."""
        for path, value in _sorted_flat(inputs).items():
            if value is not empty_node and self._filter_fn(_slashed(path), value):
                yield value

    def update(self, fn: Callable[[Any], Any], inputs: object) -> Any:
        """A copy of `inputs` with `fn` applied to the selected parameters."""

        def change(path: PathParts, value: object) -> object:
            meant = value is not empty_node and self._filter_fn(_slashed(path), value)
            return fn(value) if meant else value

        flat = {path: change(path, value) for path, value in _sorted_flat(inputs).items()}
        updated = unflatten_dict(flat)
        return FrozenDict(updated) if isinstance(inputs, FrozenDict) else updated


def _sorted_flat(inputs: object) -> dict[PathParts, Any]:
    if not isinstance(inputs, dict | FrozenDict):
        # A ValueError, because callers that catch Flax's error expect one.
        raise ValueError(
            f"ModelParamTraversal: expected a nested dict, got {type(inputs).__name__}."
        )
    _warn_if_flat("ModelParamTraversal", inputs)
    return dict(sorted(flatten_dict(inputs, keep_empty_nodes=True).items(), key=_first))


def _first(item: tuple[PathParts, Any]) -> PathParts:
    return item[0]


def _slashed(path: PathParts) -> str:
    return "".join(f"/{key}" for key in path)


def _check_dict(function: str, xs: object) -> None:
    if not isinstance(xs, dict | FrozenDict):
        raise TypeError(f"{function}: expected a dict or a FrozenDict, got {type(xs).__name__}.")


def _warn_if_flat(function: str, xs: Mapping[Any, Any]) -> None:
    """Warns about keys that are paths: a test such as `"head" in path` would find nothing."""
    flat = next((key for key in xs if isinstance(key, tuple) and len(key) > 1), None)
    if flat is not None:
        warnings.warn(
            message(
                f"{function}: the dict is flat; the path of its key {flat!r} is {(flat,)!r}, in "
                f"which no name is found.",
                "Pass a nested dict: unflatten_dict(...).",
            ),
            stacklevel=3,
        )


def _joined(path: PathParts, sep: str) -> str:
    for key in path:
        if not isinstance(key, str):
            raise TypeError(
                message(
                    f"flatten_dict: the key {key!r} of {path} is not a string; "
                    f"it cannot be joined with sep={sep!r}.",
                    "Leave sep out to get tuples.",
                )
            )
    return sep.join(path)


def _split(name: object, sep: str | None) -> PathParts:
    if sep is not None and isinstance(name, str):
        return tuple(name.split(sep))
    if sep is None and isinstance(name, tuple):
        return name
    wanted = "a tuple, as there is no sep" if sep is None else f"a string, as sep={sep!r}"
    raise TypeError(f"unflatten_dict: each key must be {wanted}; got {name!r}.")


def _conflict(name: object) -> ValueError:
    return ValueError(
        message(
            f"unflatten_dict: the path {name!r} starts with another path, or another path starts "
            "with it.",
            "A leaf cannot also be a dict.",
        )
    )
