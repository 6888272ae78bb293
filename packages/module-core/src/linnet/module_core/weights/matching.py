"""Which tensors of a state dict go into which variables, decided before anything is changed.

Layers are visited from the outside to the inside, and a rule of a layer's layout applies if the
layer has all of its variables and the state dict has all of its tensors. The remaining variables
and tensors are matched by name. Only shapes and names are needed, so tensors may be read later, one
by one.
"""

from __future__ import annotations

import fnmatch
import itertools
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any, TypeAlias

import jax.numpy as jnp
import numpy as np

from ..errors import (
    ArgumentError,
    ArgumentTypeError,
    LinnetError,
    ShapeError,
    counted,
    did_you_mean,
)
from ..layers.torch_layout import Layout, Numbers, Rule, same
from .arrays import dtype_of, numbers, shape_of
from .names import Renames, canonical, slots_of
from .targets import Leaf, Path, Target

Slot: TypeAlias = tuple[int, ...]
Index: TypeAlias = dict[str, dict[Slot, str]]

_MOST = 40  # lines of a list in a message
_PREFIXES = 3  # how many prefixes of the names are tried: "model", "model.module", …


@dataclass
class Step:
    """A rule applied to a layer.

    Attributes:
      rule: the rule.
      layer: the layer, or None.
      leaves: the variables.
      names: the tensors; if the variables hold several layers, those of each layer. Without any
        tensors, the variables are zeros.
    """

    rule: Rule
    layer: object
    leaves: list[Leaf]
    names: dict[Slot, list[str]]

    def shapes(self, slot: Slot) -> list[tuple[int, ...]]:
        """The shapes of one layer's variables."""
        return [leaf.shape[len(slot) :] for leaf in self.leaves]


@dataclass
class Arrangement:
    """How the tensors of one state dict differ from PyTorch's usual ones.

    Attributes:
      flattened: names of layers -> (C, H, W), the shape that was flattened before them.
      transposed: patterns of the names of matrices that are stored as [in, out].
    """

    flattened: Mapping[str, Sequence[int] | None] = field(default_factory=dict)
    transposed: Sequence[str] = ()

    def usual(self, name: str, tensor: Numbers) -> Numbers:
        """The tensor as PyTorch's layers have it, for inputs with channels last."""
        if self._is_transposed(name):
            tensor = tensor.T
        shape = self.flattened_shape(name)
        if shape is not None:
            tensor = np.moveaxis(tensor.reshape(-1, *shape), 1, -1).reshape(tensor.shape)
        return tensor

    def stored(self, name: str, tensor: Numbers) -> Numbers:
        """The reverse of `usual`."""
        shape = self.flattened_shape(name)
        if shape is not None:
            channels, *window = shape
            last = tensor.reshape(-1, *window, channels)
            tensor = np.moveaxis(last, -1, 1).reshape(tensor.shape)
        return tensor.T if self._is_transposed(name) else tensor

    def usual_shape(self, name: str, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape that `usual` returns."""
        return shape[::-1] if self._is_transposed(name) else shape

    def flattened_shape(self, name: str) -> tuple[int, ...] | None:
        """The shape (C, H, W) that was flattened before the layer whose weight is this tensor."""
        layer, _, last = name.rpartition(".")
        shape = self.flattened.get(layer) if last == "weight" else None
        return None if shape is None else tuple(shape)

    def _is_transposed(self, name: str) -> bool:
        return fits(name, self.transposed)


def matched(
    target: Target,
    tensors: Mapping[str, Any],
    renames: Renames,
    arranged: Arrangement,
    ignore: Sequence[str],
    *,
    suggests: bool = True,
) -> list[Step]:
    """The tensors to load into each variable.

    With `suggests`, an error names a prefix without which the names would match.

    Raises:
      ArgumentError: tensors or variables are left over, or don't belong together.
      ShapeError: nothing is left over, but shapes differ.
    """
    for layer_name in arranged.flattened:
        if f"{layer_name}.weight" not in tensors:
            raise ArgumentError(
                f"flattened has {layer_name!r}, and the state dict has no {layer_name}.weight.",
                hint=did_you_mean(f"{layer_name}.weight", tensors),
            )
    given, renames = renames, with_repeats(renames, target)
    kept = [name for name in tensors if not (isinstance(name, str) and fits(name, ignore))]
    index = _index(kept, tensors, renames)
    problems: list[str] = []
    steps: list[Step] = []
    taken: set[str] = set()
    claimed: set[Path] = set()
    by_name = {canonical("/".join(path)): path for path in target.leaves}

    def find(names: str, prefix: Path, suffix: str) -> dict[Slot, str] | None:
        for name in names.split("|"):
            found = index.get(canonical("/".join((*prefix, *(name + suffix).split(".")))))
            if found:
                return found
        return None

    def apply(rule: Rule, layer: object, path: Path, prefixes: Sequence[tuple[Path, str]]) -> None:
        ours = [by_name.get(canonical("/".join((*path, *n.split("/"))))) for n in rule.ours]
        paths = [p for p in ours if p is not None]
        if len(paths) < len(ours) or claimed & set(paths):
            return
        for prefix, suffix in prefixes:
            found = [find(names, prefix, suffix) for names in rule.torch]
            there = [f for f in found if f is not None]
            if len(there) < len(found):
                continue
            slots = set(there[0])
            if any(set(f) != slots for f in there):
                continue
            step = Step(
                rule,
                layer,
                [target.leaves[p] for p in paths],
                {slot: [f[slot] for f in there] for slot in sorted(slots)},
            )
            claimed.update(paths)
            taken.update(itertools.chain(*step.names.values()))
            wrong = _problems(step, tensors, arranged)
            problems.extend(wrong)
            if not wrong:
                steps.append(step)
            return

    def apply_zeros(rule: Rule, layer: object, path: Path, before: int) -> None:
        paths = [by_name.get(canonical("/".join((*path, *n.split("/"))))) for n in rule.ours]
        ours = [p for p in paths if p is not None and p not in claimed]
        if rule.or_zeros and len(steps) > before and len(ours) == len(rule.ours):
            claimed.update(ours)
            steps.append(Step(rule, layer, [target.leaves[p] for p in ours], {}))

    constants: set[str] = set()
    for path, layer in sorted(target.layers.items(), key=lambda item: len(item[0])):
        layout, prefixes = layout_of(target, path), target.prefixes(path)
        before = len(steps)
        for rule in layout.rules:
            apply(rule, layer, path, prefixes)
        for rule in layout.rules:
            apply_zeros(rule, layer, path, before)
        for name in layout.constants:
            found = find(name, path, "")
            constants.update((found or {}).values())
    for path in target.leaves:
        if path not in claimed:
            apply(same(path[-1], path[-1]), None, path[:-1], [(path[:-1], "")])
    missing = [
        leaf
        for path, leaf in target.leaves.items()
        if leaf.required and path not in claimed and not fits(leaf.name, ignore)
    ]
    unused = [name for name in kept if name not in taken | constants]
    unused = _untied(unused, sorted(taken), tensors)
    left_over = _left_over(missing, unused)
    if left_over or problems:
        hint = "Put names that differ into rename=, and names without a counterpart into ignore=."
        if missing and not target.complete:
            hint = (
                "The layers within a linen module are known from a call: pass inputs=, such as"
                " (jnp.ones((1, 8)),)."
            )
        elif missing and suggests:
            hint = _of_prefix(target, tensors, given, arranged, ignore) or hint
        error = ArgumentError if left_over else ShapeError
        raise error(
            "The state dict doesn't fit the module:" + _listed(left_over + problems),
            hint=hint if left_over else None,
        )
    _require_flattened(target, steps, tensors, arranged)
    return steps


def _of_prefix(
    target: Target,
    tensors: Mapping[str, Any],
    renames: Renames,
    arranged: Arrangement,
    ignore: Sequence[str],
) -> str | None:
    """A hint if everything fits except for a prefix that a wrapper has added to the names."""
    names = [name for name in tensors if not fits(name, ignore)]
    counts = Counter(
        name[:end] for name in names for end, letter in enumerate(name) if letter == "."
    )
    for prefix, _ in counts.most_common(_PREFIXES):
        others = [name for name in names if not name.startswith(f"{prefix}.")]
        shorter = Renames({prefix: ""})
        shorter.table += renames.table
        try:
            matched(target, tensors, shorter, arranged, [*ignore, *others], suggests=False)
        except LinnetError:
            continue
        if others:
            ignore = _patterns(others, prefix)
            return f'Some names begin with a prefix: pass rename={{"{prefix}": ""}} and {ignore=}.'
        return f'All names begin with a prefix: pass rename={{"{prefix}": ""}}.'
    return None


def _patterns(names: Sequence[str], prefix: str) -> list[str]:
    """Patterns that match these names, but not names with the prefix."""
    first = prefix.partition(".")[0]
    parts = [(name, *name.partition(".")[:2]) for name in names]
    return list(dict.fromkeys(f"{p}.*" if dot and p != first else n for n, p, dot in parts))


def fits(name: str, patterns: Sequence[str]) -> bool:
    """Whether a name fits one of the patterns."""
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


def layout_of(target: Target, path: Path) -> Layout:
    """The layout of a layer, with the rule that its wrapper derives from its kernel's rule."""
    layout: Layout = type(target.layers[path]).__torch_layout__
    wrapper = target.wrapped.get(path)
    wraps = None if wrapper is None else type(wrapper).__torch_layout__.wraps
    if wraps is None:
        return layout
    changed = [
        wraps(wrapper, rule) for rule in layout.rules if rule.ours in (("kernel",), ("embedding",))
    ]
    return Layout((*changed, *layout.rules), layout.constants)


def with_repeats(renames: Renames, target: Target) -> Renames:
    """The renames, and those of `Sequential` and `Repeat`, whose layer 3 PyTorch calls "3".

    What is inside a `Repeat` follows the index of its layer: "layers/block[{i}]/experts/{j}".
    """
    result = Renames({})
    result.table = list(renames.table)
    named = set(renames.stacked())
    repeated: dict[Path, str] = {}

    def inside(path: Path) -> tuple[str, str]:
        """The path with the indices of the layers that it is in, and a name for one more."""
        for end in range(len(path), 0, -1):
            if path[:end] in repeated:
                where = "/".join((repeated[path[:end]], *path[end:]))
                return where, "i" * (1 + where.count("[{"))
        return "/".join(path), "i"

    stacks = {path: (length, each) for path, length, each in target.stacks}
    sequences = dict(target.sequences)
    for path in sorted({*stacks, *sequences}, key=len):  # from the outside to the inside
        if path in sequences:
            where, i = inside(path)
            numbered = sequences[path].replace("{i}", f"{{{i}}}")
            result.add(f"{where}/{{{i}}}".strip("/"), f"{where}/{numbered}".strip("/"))
            continue
        length, each = stacks[path]
        whole = "/".join(path)
        where, i = inside(path)
        blocks = ["block"] if each == 1 else [f"block_{n}" for n in range(each)]
        repeated.update({(*path, b): f"{where}/{b}[{{{i}}}]".strip("/") for b in blocks})
        if f"{whole}/{blocks[0]}".strip("/") in named:
            continue
        if each == 1:
            result.add(f"{where}/{{{i}}}".strip("/"), repeated[(*path, "block")])
            continue
        for n in range(length):  # layer n is in step n // each
            step = f"{where}/block_{n % each}[{n // each}]"
            result.add(f"{where}/{n}".strip("/"), step.strip("/"))
    return result


def _inner(checkpoint: Mapping[str, Any]) -> str:
    """The name under which a checkpoint seems to hold a state dict."""
    found = (
        name
        for name, value in checkpoint.items()
        if isinstance(value, Mapping) and value and all(hasattr(x, "shape") for x in value.values())
    )
    return next(found, "model")


def _index(names: Sequence[str], tensors: Mapping[str, Any], renames: Renames) -> Index:
    index: Index = {}
    for name in names:
        if not isinstance(name, str):
            raise ArgumentTypeError(f"The state dict has the name {name!r}, expected a string.")
        if not hasattr(tensors[name], "shape"):
            raise ArgumentTypeError(
                f"The state dict has a {type(tensors[name]).__name__} called {name!r}, expected an"
                " array.",
                hint="A checkpoint often holds the state dict among other things: pass that"
                f" alone, such as checkpoint[{_inner(tensors)!r}].",
            )
        kind = dtype_of(tensors[name])
        unknown = kind is None and not hasattr(tensors[name], "detach")
        if unknown or (kind is not None and kind.kind in "OSUMm"):
            numbers(tensors[name], name)  # raises an error unless these are numbers
        path, slot = slots_of(renames.forward(name))
        layers = index.setdefault(canonical(path), {})
        if slot in layers:
            raise ArgumentError(
                f"{layers[slot]!r} and {name!r} are both called {path!r} after renaming."
            )
        layers[slot] = name
    return index


def _problems(step: Step, tensors: Mapping[str, Any], arranged: Arrangement) -> list[str]:
    slots = list(step.names)
    depth = len(slots[0])
    if any(len(slot) != depth for slot in slots):
        return [f"{step.names[slots[0]][0]}: some layers are stacked, others aren't"]
    layers = step.leaves[0].shape[:depth]
    if depth and (len(slots) != math.prod(layers) or any(max(s) >= max(layers) for s in slots)):
        return [
            f"{step.leaves[0].name} holds {counted(math.prod(layers), 'layer')}, and the state dict"
            f" has {len(slots)}, such as {step.names[slots[-1]][0]}"
        ]
    found: list[str] = []
    for slot, names in step.names.items():
        zeros = [np.broadcast_to(np.zeros((), np.int8), s) for s in step.shapes(slot)]
        try:
            expected = [np.shape(t) for t in step.rule.save(step.layer, zeros, None)]
        except (ValueError, IndexError, TypeError):
            found.append(f"{step.leaves[0].name}: {names[0]} can't be arranged for this layer")
            continue
        for name, shape in zip(names, expected, strict=True):
            got = arranged.usual_shape(name, shape_of(tensors[name]))
            if got != shape:
                leaves = " and ".join(f"{leaf.name} of shape {leaf.shape}" for leaf in step.leaves)
                found.append(f"{name} has shape {got}, expected {shape} for {leaves}")
                continue
            flat = arranged.flattened_shape(name)
            if flat is not None and (len(got) != 2 or math.prod(flat) != got[1]):
                found.append(f"{name} has shape {got}, and flattened= has {flat} for it")
        if found:
            continue
        for name in names:
            kind = dtype_of(tensors[name])
            for leaf in step.leaves:
                floating = jnp.issubdtype(leaf.dtype, jnp.inexact)
                if kind is not None and jnp.issubdtype(kind, jnp.inexact) != floating:
                    found.append(f"{name} has dtype {kind}, expected {leaf.dtype} for {leaf.name}")
        if not found and step.rule.problem is not None:
            reason = step.rule.problem(step.layer, [numbers(tensors[n], n) for n in names])
            if reason is not None:
                found.append(f"{names[-1]}: {reason}")
    return found


def _untied(unused: list[str], taken: list[str], tensors: Mapping[str, Any]) -> list[str]:
    """Leaves out tensors that equal a loaded one, such as a head tied to the embedding."""
    shapes: dict[tuple[int, ...], list[str]] = {}
    for name in taken if unused else ():
        shapes.setdefault(shape_of(tensors[name]), []).append(name)
    return [name for name in unused if twin_of(name, shapes, tensors) is None]


def twin_of(
    name: str, shapes: Mapping[tuple[int, ...], Sequence[str]], tensors: Mapping[str, Any]
) -> str | None:
    """The name of another tensor with the same numbers, or None."""
    shape = shape_of(tensors[name])
    if math.prod(shape) < 2:
        return None
    for other in shapes.get(shape, ()):
        if tensors[other] is tensors[name]:
            return other
        if len(shape) > 1:
            one, two = numbers(tensors[name], name), numbers(tensors[other], other)
            if one.dtype == two.dtype and np.array_equal(one, two):
                return other
    return None


def _left_over(missing: Sequence[Leaf], unused: Sequence[str]) -> list[str]:
    spelled = {canonical(name): name for name in unused}
    ours = {canonical(leaf.name): leaf.name for leaf in missing}
    found: list[str] = []
    for spelling, name in ours.items():
        near = get_close_matches(spelling, spelled, n=2, cutoff=0.4)
        also = f"; nearest: {', '.join(spelled[n] for n in near)}" if near else ""
        found.append(f"no tensor for {name}{also}")
    for spelling, name in spelled.items():
        near = get_close_matches(spelling, ours, n=2, cutoff=0.4)
        also = f"; nearest: {', '.join(ours[n] for n in near)}" if near else ""
        found.append(f"no place for {name}{also}")
    return found


def _listed(lines: Sequence[str]) -> str:
    more = f"\n  … and {len(lines) - _MOST} more" if len(lines) > _MOST else ""
    return "".join(f"\n  {line}" for line in lines[:_MOST]) + more


def _require_flattened(
    target: Target, steps: Sequence[Step], tensors: Mapping[str, Any], arranged: Arrangement
) -> None:
    """Checks that no dense layer seems to follow a flatten that isn't in `flattened`.

    A layer seems to follow one if the number of its inputs is a multiple of a convolution's
    channels, and no layer has that many outputs: C·H·W numbers, which PyTorch counts with the
    channel first.
    """
    channels: set[int] = set()
    outputs: set[int] = set()
    dense: list[tuple[str, int]] = []
    for step in steps:
        kernel = step.leaves[0]
        if not step.names:
            continue
        if step.rule.ours[0] != "kernel" or not hasattr(type(step.layer), "__torch_layout__"):
            outputs.update(leaf.shape[-1] for leaf in step.leaves if leaf.shape)
            continue
        for slot, names in step.names.items():
            shape = kernel.shape[len(slot) :]
            outputs.add(math.prod(shape[-1:]))
            window = getattr(step.layer, "kernel_size", None)
            if window is not None:
                transposed = getattr(step.layer, "transpose_kernel", False)
                channels.add(shape[-2] if transposed else shape[-1])
            elif len(shape) == 2:
                dense.append((names[0], shape[0]))
    for name, features in dense:
        layer = name.rpartition(".")[0]
        if features in outputs or layer in arranged.flattened:
            continue
        sources = sorted(c for c in channels if features % c == 0 and features > c > 1)
        if sources:
            c = sources[-1]
            error: LinnetError = ArgumentError(
                f"{name} has {counted(features, 'input')}, which no layer returns; a convolution"
                f" returns {counted(c, 'channel')}. If {features} = {c}·H·W numbers are"
                f" flattened before it, their order"
                " differs: PyTorch has the channels first, and these modules have them last.",
                hint=f'Pass flattened={{"{layer}": (C, H, W)}} with their sizes, or'
                f' {{"{layer}": None}} if nothing is flattened there.',
            )
            raise error
