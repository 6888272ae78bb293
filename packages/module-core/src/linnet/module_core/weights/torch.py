"""Loads PyTorch's state dicts into modules, and makes state dicts from modules.

A state dict is any mapping of names to arrays; PyTorch itself isn't needed. Each layer's class
declares how PyTorch stores its parameters (`linnet.module_core.layers.torch_layout`).
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from ..errors import ArgumentError, ArgumentTypeError
from ..layers.torch_layout import Numbers, Rule, same
from .arrays import numbers, shape_of
from .matching import Arrangement, Slot, Step, layout_of, matched, twin_of, with_repeats
from .names import WRAPPED, Renames, canonical
from .safetensors import Tensor
from .targets import Leaf, Path, Target, target_of


def from_torch(
    target: object,
    state_dict: Mapping[str, Any],
    *,
    variables: Mapping[str, Any] | None = None,
    inputs: Sequence[Any] | None = None,
    options: Mapping[str, Any] | None = None,
    rename: Mapping[str, str] | None = None,
    flattened: Mapping[str, Sequence[int] | None] | None = None,
    transposed: Sequence[str] = (),
    ignore: Sequence[str] = (),
) -> Any:
    """Loads the parameters and statistics of a PyTorch model into a module.

    Every tensor and every variable must have a counterpart; otherwise nothing is loaded, and the
    error lists all that are left over or have a different shape. Tensors are read one after
    another, cast to the dtype of the variable, and placed on the devices of its old value.

    Args:
      target: an nnx module, or a linen module. An nnx module may be abstract, as from
        `nnx.eval_shape`.
      state_dict: names -> arrays: NumPy arrays, PyTorch tensors, or anything with `__array__`.
      variables: a linen module's variables; None for those of `init(…, *inputs)`.
      inputs: for a linen module that contains other modules, the arguments of a call, of which only
        shapes and dtypes matter. The call shows which layers the variables belong to.
      options: keyword arguments of that call.
      rename: PyTorch's names -> ours, applied in order: {"model.layers.{i}": "blocks/{i}",
        ".self_attn": "attention"}. Keys are prefixes or, with a dot at the beginning, parts of
        names anywhere; `{i}` matches a number; "blocks/block[{i}]" is layer i of variables that
        hold all layers. The layers of `Repeat` are found without it.
      flattened: names of dense layers -> (C, H, W), the shape that PyTorch flattens before them, or
        None for nothing.
      transposed: patterns of the names of matrices that are stored as [in, out], such as
        "*.c_attn.weight".
      ignore: patterns of the names of tensors that are left out, such as "*.inv_freq", and of
        variables that keep their values, such as "*/lora_?"; "head?*" is both, for a new head.

    Returns:
      The nnx module, whose variables were replaced, or the variables of the linen module.

    Raises:
      ArgumentError: the names don't match, or a flatten before a dense layer isn't declared.
      ShapeError: the names match, but shapes differ.
      ArgumentTypeError: an argument has the wrong type.

    >>> import numpy as np
    >>> from linnet.module_core import nnx
    >>> class Scale(nnx.Module):
    ...     def __init__(self):
    ...         self.gamma = nnx.Param(np.ones(2, np.float32))
    >>> model = from_torch(Scale(), {"gamma": np.array([3.0, 4.0], np.float32)})
    >>> model.gamma[...].tolist()
    [3.0, 4.0]
    """
    _require_mapping(state_dict)
    ignore = (ignore,) if isinstance(ignore, str) else ignore
    into = target_of(target, variables, inputs, options)
    arranged = _arrangement(flattened, transposed)
    steps = matched(into, state_dict, Renames(rename), arranged, ignore)
    loaded = [leaf for step in steps for leaf in step.leaves]
    for leaf in loaded:
        leaf.place()  # raises an error before anything is replaced
    if inputs is not None and variables is None:
        _require_all(into, loaded)
    for step in steps:
        _load(step, state_dict, arranged)
    return into.result()


def to_torch(
    target: object,
    *,
    variables: Mapping[str, Any] | None = None,
    inputs: Sequence[Any] | None = None,
    options: Mapping[str, Any] | None = None,
    like: Mapping[str, Any] | None = None,
    rename: Mapping[str, str] | None = None,
    flattened: Mapping[str, Sequence[int] | None] | None = None,
    transposed: Sequence[str] = (),
    ignore: Sequence[str] = (),
) -> dict[str, Numbers]:
    """The state dict of a module, as PyTorch has it; reverses `from_torch`.

    Args:
      target: an nnx module, or a linen module.
      variables: a linen module's variables.
      inputs, options: for a linen module, as in `from_torch`.
      like: the state dict that the module was loaded from. It determines names, dtypes and order;
        tensors whose variables have not changed are returned as they are, as are those that
        `ignore` names. Without it, layers have the names of the module, with `rename` applied in
        reverse, and a value that PyTorch divides among several tensors (the two biases of an LSTM)
        is all in the first.
      rename, flattened, transposed, ignore: as in `from_torch`.

    Returns:
      Names -> NumPy arrays.

    Raises:
      ArgumentError: `like` doesn't fit the module.
      ShapeError: shapes differ.

    >>> import numpy as np
    >>> from linnet.module_core import nnx
    >>> class Scale(nnx.Module):
    ...     def __init__(self):
    ...         self.gamma = nnx.Param(np.ones(2, np.float32))
    >>> to_torch(Scale(), rename={"layer.weight": "gamma"})
    {'layer.weight': array([1., 1.], dtype=float32)}
    """
    ignore = (ignore,) if isinstance(ignore, str) else ignore
    source = target_of(target, variables, inputs, options)
    for leaf in source.leaves.values():
        if isinstance(leaf.get(), jax.ShapeDtypeStruct):
            raise ArgumentError(
                f"{leaf.name} is only a shape and a dtype, without numbers.",
                hint="Pass the variables of a linen module as variables=, and load an abstract"
                " nnx module first.",
            )
    arranged = _arrangement(flattened, transposed)
    renames = Renames(rename)
    if like is None:
        return _named(source, renames, arranged)
    _require_mapping(like)
    steps = matched(source, like, renames, arranged, ignore)
    found: dict[str, Numbers] = {}
    for step in steps:
        values = [np.asarray(leaf.get()) for leaf in step.leaves]
        before = _loaded(step, like, arranged)
        same_as_before = [
            _bytes_equal(now, np.asarray(then, dtype=now.dtype))
            for now, then in zip(values, before, strict=True)
        ]
        for slot, names in step.names.items():
            tensors = [numbers(like[name], name) for name in names]
            if not all(same_as_before):
                usual = [arranged.usual(n, t) for n, t in zip(names, tensors, strict=True)]
                saved = step.rule.save(step.layer, [v[slot] for v in values], usual)
                tensors = [
                    arranged.stored(n, np.ascontiguousarray(t, dtype=old.dtype))
                    for n, t, old in zip(names, saved, tensors, strict=True)
                ]
            found.update(zip(names, tensors, strict=True))
    shapes: dict[tuple[int, ...], list[str]] = {}
    for name in found:
        shapes.setdefault(shape_of(like[name]), []).append(name)
    for name in like:
        if name not in found:
            twin = twin_of(name, shapes, like)
            found[name] = numbers(like[name], name) if twin is None else found[twin]
    return {name: found[name] for name in like}


def _require_all(target: Target, loaded: Sequence[Leaf]) -> None:
    """Checks that no variable of a linen module, of which only shapes are known, is left out."""
    names = {leaf.name for leaf in loaded}
    left = [leaf.name for leaf in target.leaves.values() if leaf.name not in names]
    if left:
        raise ArgumentError(
            f"The state dict has no tensors for {', '.join(sorted(left))}, and there are no other"
            " values.",
            hint="Pass variables=module.init(key, *inputs).",
        )


def _require_mapping(state_dict: object) -> None:
    if not isinstance(state_dict, Mapping):
        what = "a path" if isinstance(state_dict, str | os.PathLike) else type(state_dict).__name__
        raise ArgumentTypeError(
            f"The state dict is {what}, expected a mapping of names to arrays.",
            hint="Read a file with load(path), or pass model.state_dict().",
        )


def _arrangement(
    flattened: Mapping[str, Sequence[int] | None] | None, transposed: Sequence[str]
) -> Arrangement:
    if isinstance(transposed, str):
        transposed = (transposed,)
    for name, shape in (flattened or {}).items():
        sizes = () if shape is None else tuple(shape)
        if shape is not None and not (len(sizes) > 1 and all(isinstance(n, int) for n in sizes)):
            raise ArgumentError(
                f"flattened has {shape!r} for {name!r}, expected the sizes of several dimensions,"
                " channels first: (C, H, W)."
            )
    return Arrangement(dict(flattened or {}), tuple(transposed))


def _load(step: Step, tensors: Mapping[str, Any], arranged: Arrangement) -> None:
    """Gives the variables of a step their values; the tensors are freed at the end."""
    own = all(isinstance(tensors[n], Tensor) for names in step.names.values() for n in names)
    for leaf, value in zip(step.leaves, _loaded(step, tensors, arranged), strict=True):
        leaf.store(value, own=own)


def _loaded(step: Step, tensors: Mapping[str, Any], arranged: Arrangement) -> list[Numbers]:
    if not step.names:
        return [np.zeros(leaf.shape, leaf.dtype) for leaf in step.leaves]
    stacked: list[Numbers] = []
    for slot, names in step.names.items():
        parts = [arranged.usual(n, numbers(tensors[n], n)) for n in names]
        values = step.rule.load(step.layer, parts, step.shapes(slot))
        if not slot:
            return values
        if not stacked:
            stacked = [np.empty(leaf.shape, leaf.dtype) for leaf in step.leaves]
        for whole, value in zip(stacked, values, strict=True):
            whole[slot] = value
    return stacked


def _bytes_equal(one: Numbers, two: Numbers) -> bool:
    return one.shape == two.shape and one.tobytes() == two.tobytes()


def _named(source: Target, renames: Renames, arranged: Arrangement) -> dict[str, Numbers]:
    """The state dict with names made from the paths of the layers."""
    renames = with_repeats(renames, source)
    stacks = [canonical(path) for path in renames.stacked()]
    by_name = {canonical("/".join(path)): path for path in source.leaves}
    claimed: set[Path] = set()
    found: dict[str, Numbers] = {}

    def renamed(path: Path, names: Iterable[str]) -> bool:
        """Whether `rename` has one of these names within a layer."""
        own = renames.backward("/".join(path))
        return any(
            renames.backward("/".join((*path, name))) != f"{own}.{name}".strip(".")
            for name in names
        )

    def save(rule: Rule, layer: object, path: Path, prefix: Path, suffix: str) -> None:
        ours = [by_name.get(canonical("/".join((*path, *n.split("/"))))) for n in rule.ours]
        paths = [p for p in ours if p is not None]
        if len(paths) < len(ours) or claimed & set(paths):
            return
        if renamed(path, [names.split("|")[0] for names in rule.torch]):
            prefix, suffix = path, ""
        elif renamed(path, {name.partition("/")[0] for name in rule.ours if "/" in name}):
            return  # the layers within this one are saved instead
        values = [np.asarray(source.leaves[p].get()) for p in paths]
        depth = [s for s in stacks if f"{canonical('/'.join(path))}/".startswith(f"{s}/")]
        places = _places(prefix, depth, values[0].shape)
        try:
            saved = [rule.save(layer, [v[slot] for v in values], None) for slot, _ in places]
        except ValueError:  # parts of different sizes aren't in one tensor, but in several
            return
        claimed.update(paths)
        for tensors, (_, where) in zip(saved, places, strict=True):
            for names, tensor in zip(rule.torch, tensors, strict=True):
                parts = (*where, *(names.split("|")[0] + suffix).split("."))
                full = "/".join(part for part in parts if part != WRAPPED)
                name = renames.backward(full)
                found[name] = np.ascontiguousarray(arranged.stored(name, tensor))

    for path, layer in sorted(source.layers.items(), key=lambda item: len(item[0])):
        layout, (prefix, suffix) = layout_of(source, path), source.prefixes(path)[0]
        for rule in layout.rules:
            save(rule, layer, path, prefix, suffix)
        for name, value in layout.constants.items():
            found[renames.backward("/".join((*prefix, name)))] = value
    for path in sorted(set(source.leaves) - claimed):
        if source.leaves[path].required:
            save(same(path[-1], path[-1]), None, path[:-1], path[:-1], "")
    return found


def _places(path: Path, stacks: Sequence[str], shape: tuple[int, ...]) -> list[tuple[Slot, Path]]:
    """The index of each layer in a variable, and its path."""
    places: list[tuple[Slot, Path]] = []
    ends = sorted({len(s.split("/")) for s in stacks})
    for slot in itertools.product(*(range(n) for n in shape[: len(ends)])):
        parts = list(path)
        for end, i in zip(ends, slot, strict=True):
            at = _original(path, end)
            parts[at] += f"[{i}]"
        places.append((slot, tuple(parts)))
    return places


def _original(path: Path, end: int) -> int:
    """Which part of a path ends at a number of canonical parts."""
    for i in range(len(path)):
        if len(canonical("/".join(path[: i + 1])).split("/")) >= end:
            return i
    return len(path) - 1
