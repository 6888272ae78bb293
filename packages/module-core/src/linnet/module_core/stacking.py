"""Converts between the variables of a loop over layers and those of stacked layers.

A Python loop stores each layer's variables in a dict of its own, `Block_0`, `Block_1`, …; `Repeat`
and `scan` store one dict, whose arrays have the layers along the first axis. Both forms hold the
same numbers, so trained parameters, optimizer states and checkpoints convert in both directions.

A form is given by a path, such as "decoder/Block_{i}" and "decoder/Repeat_0/block", where {i} is
the number of a layer. Wherever a tree has a mapping with this path in it, at the top or inside
collections, optimizer states and tuples, it is converted.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from .boxes import add_axis, remove_axis
from .errors import ArgumentError, ShapeError, counted, did_you_mean
from .repeating import positive
from .typing import PyTree

T = TypeVar("T")


def stack_layers(
    tree: T,
    layers: str,
    stacked: str,
    *,
    layers_per_block: int = 1,
    axis_name: str | None = None,
) -> T:
    """Stacks the variables of a loop's layers as `Repeat` holds them.

    >>> import jax.numpy as jnp
    >>> from linnet.module_core.linen import stack_layers
    >>> params = {"Block_0": {"w": jnp.ones(2)}, "Block_1": {"w": jnp.zeros(2)}}
    >>> stack_layers(params, "Block_{i}", "Repeat_0/block")
    {'Repeat_0': {'block': {'w': Array([[1., 1.],
           [0., 0.]], dtype=float32)}}}

    Args:
      tree: variables, an nnx state, an optimizer state, or any tree with such mappings in it.
      layers: the path of a layer, with {i} for its number: "Block_{i}", or, for a list in an nnx
        module, "layers/{i}".
      stacked: the path of the stacked layers: "Repeat_0/block", "layers/block", or, for the layers
        of `nn.scan`, "ScanBlock_0". With `layers_per_block`, {j} is the number of a layer in its
        step: "Repeat_0/block_{j}".
      layers_per_block: as in `Repeat`.
      axis_name: the name of the layers' axis in partitioning metadata.

    Returns:
      A new tree; NumPy arrays stay NumPy arrays.

    Raises:
      ArgumentError: `tree` has no such layers, a number is missing, or layers have different
        variables.
      ShapeError: a variable has a different shape in one of the layers.
    """
    each = positive(layers_per_block, "layers_per_block")
    above, last = _path(layers, "layers", "{i}")
    into = _targets(stacked, each)

    def convert(mapping: PyTree) -> PyTree:
        holder = _below(mapping, above)
        numbered = _numbered(holder, last)
        if not numbered:
            return None
        n = len(numbered)
        missing = [i for i in range(n) if i not in numbered]
        if missing:
            raise ArgumentError(
                f"The tree has {counted(n, 'layer')} {layers!r}, but none with the number"
                f" {missing[0]}.",
                hint="Layers are numbered from 0, without gaps.",
            )
        if n % each:
            raise ArgumentError(
                f"The tree has {counted(n, 'layer')} {layers!r}, which is not a multiple of"
                f" layers_per_block={each}.",
            )
        found = [holder[numbered[i]] for i in range(n)]
        result = _without(mapping, above, numbered.values())
        for j, path in enumerate(into):
            one = _stack(found[j::each], layers, axis_name)
            result = _with(result, path, one)
        return result

    return _converted(tree, convert, layers)


def unstack_layers(
    tree: T,
    stacked: str,
    layers: str,
    *,
    axis_name: str | None = None,
) -> T:
    """Divides stacked variables among the layers of a loop; reverses `stack_layers`.

    >>> import jax.numpy as jnp
    >>> from linnet.module_core.linen import unstack_layers
    >>> params = {"Repeat_0": {"block": {"w": jnp.arange(2.0)}}}
    >>> unstack_layers(params, "Repeat_0/block", "Block_{i}")
    {'Block_0': {'w': Array(0., dtype=float32)}, 'Block_1': {'w': Array(1., dtype=float32)}}

    Args:
      tree: variables, an nnx state, an optimizer state, or any tree with such mappings in it.
      stacked: the path of the stacked layers, with {j} for the number of a layer in its step if a
        step has several.
      layers: the path of a layer, with {i} for its number.
      axis_name: the name of the layers' axis in partitioning metadata.

    Returns:
      A new tree; NumPy arrays stay NumPy arrays.

    Raises:
      ArgumentError: `tree` has no such layers.
      ShapeError: the variables have different numbers of layers.
    """
    above, last = _path(layers, "layers", "{i}")
    several = "{j}" in stacked

    def convert(mapping: PyTree) -> PyTree:
        paths: list[tuple[str, ...]] = []
        while True:
            path = tuple(stacked.replace("{j}", str(len(paths))).split("/"))
            if not isinstance(_below(mapping, path), Mapping):
                break
            paths.append(path)
            if not several:
                break
        if not paths:
            return None
        parts = [_unstack(_below(mapping, path), stacked, axis_name) for path in paths]
        steps = {len(part) for part in parts}
        if len(steps) > 1:
            raise ShapeError(
                f"The layers {stacked!r} have different numbers of steps: {sorted(steps)}."
            )
        result = mapping
        for path in paths:
            result = _without(result, path[:-1], path[-1:])
        each = len(parts)
        for i in range(each * steps.pop()):
            # The items of a list in an nnx module have numbers, not names.
            name: PyTree = i if last == "{i}" else last.replace("{i}", str(i))
            result = _with(result, (*above, name), parts[i % each][i // each])
        return result

    return _converted(tree, convert, stacked)


def _path(path: str, name: str, wanted: str) -> tuple[tuple[str, ...], str]:
    *above, last = path.split("/")
    if wanted not in last or any(wanted in part for part in above):
        raise ArgumentError(
            f"{name}={path!r} doesn't say where the number of a layer belongs.",
            hint=f'Write {wanted} once, in the last part of the path: "Block_{wanted}".',
        )
    return tuple(above), last


def _targets(stacked: str, each: int) -> list[tuple[str, ...]]:
    if each > 1 and "{j}" not in stacked:
        raise ArgumentError(
            f"stacked={stacked!r} is one place, but layers_per_block={each}.",
            hint=f'Write {{j}} for the number of a layer in its step: "{stacked}_{{j}}".',
        )
    return [tuple(stacked.replace("{j}", str(j)).split("/")) for j in range(each)]


def _converted(tree: T, convert: Callable[[Any], Any], what: str) -> T:
    """`tree` with its mappings converted, except those for which `convert` returns None."""
    names: set[str] = set()
    count = 0

    def visit(value: PyTree) -> PyTree:
        nonlocal count
        if not isinstance(value, Mapping):
            return value
        new = convert(value)
        if new is not None:
            count += 1
            return new
        names.update(map(str, value))
        return _rebuilt(value, {key: walk(item) for key, item in value.items()})

    def walk(value: PyTree) -> PyTree:
        return jax.tree.map(visit, value, is_leaf=lambda x: isinstance(x, Mapping))

    result: T = walk(tree)
    if not count:
        pattern = what.split("/")[0]
        raise ArgumentError(
            f"The tree has no {what!r}.",
            hint="Give the path of the layers within the collection. "
            + did_you_mean(pattern, names),
        )
    return result


def _below(mapping: PyTree, path: tuple[str, ...]) -> PyTree:
    for name in path:
        if not isinstance(mapping, Mapping) or name not in mapping:
            return None
        mapping = mapping[name]
    return mapping


def _numbered(holder: PyTree, last: str) -> dict[int, Any]:
    """The keys of a mapping that match the pattern, by the number in them."""
    if not isinstance(holder, Mapping):
        return {}
    head, tail = last.split("{i}")
    pattern = re.compile(f"{re.escape(head)}(0|[1-9][0-9]*){re.escape(tail)}")
    matches = ((key, pattern.fullmatch(str(key))) for key in holder)
    return {int(match[1]): key for key, match in matches if match}


def _rebuilt(like: PyTree, items: dict[Any, Any]) -> PyTree:
    return items if type(like) is dict else type(like)(items)


def _without(mapping: PyTree, path: tuple[str, ...], keys: Iterable[Any]) -> PyTree:
    """A copy without some keys of the mapping at a path, and without mappings that become empty."""
    items = dict(mapping.items())
    if not path:
        for key in keys:
            del items[key]
    else:
        inner = _without(items[path[0]], path[1:], keys)
        if len(inner):
            items[path[0]] = inner
        else:
            del items[path[0]]
    return _rebuilt(mapping, items)


def _with(mapping: PyTree, path: tuple[Any, ...], value: PyTree) -> PyTree:
    """A copy with a value at a path, which must be free."""
    items = dict(mapping.items())
    first, *rest = path
    if rest:
        inner = items.get(first)
        if not isinstance(inner, Mapping):
            inner = _rebuilt(mapping, {})
        items[first] = _with(inner, tuple(rest), value)
    elif first in items:
        raise ArgumentError(f"The tree has something else at {first!r}.")
    else:
        items[first] = value
    return _rebuilt(mapping, items)


def _stack(layers: list[Any], what: str, axis_name: str | None) -> PyTree:
    structures: list[Any] = [jax.tree.structure(layer) for layer in layers]
    for i, structure in enumerate(structures):
        if structure != structures[0]:
            raise ArgumentError(
                f"Layer {i} of {what!r} has different variables from layer 0: {structure} and"
                f" {structures[0]}.",
                hint="Only layers of one kind can be stacked. If kinds alternate, pass"
                " layers_per_block=.",
            )

    def stack(path: PyTree, *values: PyTree) -> PyTree:
        shapes = [np.shape(v) for v in values]
        for i, shape in enumerate(shapes):
            if shape != shapes[0]:
                raise ShapeError(
                    f"{jax.tree_util.keystr(path)} has the shape {shape} in layer {i} of {what!r},"
                    f" but {shapes[0]} in layer 0.",
                    hint="Only layers of one shape can be stacked.",
                )
        if isinstance(values[0], jax.ShapeDtypeStruct):
            return jax.ShapeDtypeStruct((len(values), *shapes[0]), values[0].dtype)  # type: ignore[no-untyped-call]
        if all(isinstance(v, np.ndarray | np.generic) for v in values):
            return np.stack(values)
        return jnp.stack(values)

    stacked = jax.tree_util.tree_map_with_path(stack, *layers)
    return _renamed(stacked, axis_name, add=True)


def _unstack(stacked: PyTree, what: str, axis_name: str | None) -> list[Any]:
    leaves = jax.tree_util.tree_leaves_with_path(stacked)
    sizes = {np.shape(x)[0] if np.ndim(x) else None: path for path, x in leaves}
    if len(sizes) != 1 or None in sizes:
        who = "; ".join(f"{jax.tree_util.keystr(p)} has {n or 'no axis'}" for n, p in sizes.items())
        raise ShapeError(
            f"The variables of {what!r} don't have the same number of layers along their first"
            f" axis: {who or 'there are none'}.",
        )
    n: int = leaves[0][1].shape[0]

    def part(x: PyTree, i: int) -> PyTree:
        if isinstance(x, jax.ShapeDtypeStruct):
            return jax.ShapeDtypeStruct(x.shape[1:], x.dtype)  # type: ignore[no-untyped-call]
        return x[i]

    named = _renamed(stacked, axis_name, add=False)
    return [jax.tree.map(lambda x, i=i: part(x, i), named) for i in range(n)]


def _renamed(tree: PyTree, axis_name: str | None, *, add: bool) -> PyTree:
    """`tree` with the name of the layers' axis in the metadata of its variables, or without it."""
    for rename in renaming:
        tree = rename(tree, axis_name, add)
    return tree


def _rename_boxes(tree: PyTree, axis_name: str | None, add: bool) -> PyTree:
    return (add_axis if add else remove_axis)(tree, 0, {"partition_name": axis_name})


renaming: list[Callable[[Any, str | None, bool], Any]] = [_rename_boxes]
"""Functions (tree, name, whether to add it) -> tree, one for each kind of metadata."""
