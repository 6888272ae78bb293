"""How a layer's parameters are stored in PyTorch: data that is declared next to each layer.

A layer class has an attribute `__torch_layout__`, a `Layout`: a list of rules, each of which says
which of PyTorch's tensors hold which of the layer's variables, and how their axes are arranged.
`linnet.module_core.weights` reads these; layers only declare them. Both styles of a layer share
one layout, and a subclass inherits it. Variables that no rule mentions have the same name and
shape on both sides.

Names of variables are paths within the layer ("query/kernel"). A rule applies if the layer has all
of its variables and the state dict has all of its tensors, so a layout may list alternatives: one
fused tensor, or several separate ones. Alternative names of a tensor are separated by "|".
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np

Numbers: TypeAlias = np.ndarray[Any, np.dtype[Any]]  # numpy.typing takes 1 ms to import

Loading: TypeAlias = Callable[[object, Sequence[Numbers], Sequence[tuple[int, ...]]], list[Numbers]]
"""(layer, PyTorch's tensors, shapes of the variables) -> the variables."""

Saving: TypeAlias = Callable[[object, Sequence[Numbers], Sequence[Numbers] | None], list[Numbers]]
"""(layer, the variables, the tensors they were loaded from or None) -> PyTorch's tensors."""


@dataclass(frozen=True)
class Rule:
    """Which tensors hold which variables.

    Attributes:
      torch: names of PyTorch's tensors; alternatives are separated by "|".
      ours: paths of the layer's variables.
      load: converts tensors to variables.
      save: converts variables to tensors.
      problem: (layer, tensors) -> why they can't be loaded, if that depends on their values.
      or_zeros: the variables are zeros if the state dict has none of the tensors, and has others of
        the layer: biases that PyTorch's layer was made without, but that ours always has.
      outputs: the axis of the first tensor that runs over the layer's outputs.
    """

    torch: tuple[str, ...]
    ours: tuple[str, ...]
    load: Loading
    save: Saving
    problem: Callable[[object, Sequence[Numbers]], str | None] | None = None
    or_zeros: bool = False
    outputs: int = 0


@dataclass(frozen=True)
class Layout:
    """The rules of a layer.

    Attributes:
      rules: tried in this order.
      constants: tensors without a counterpart, with the value to save.
      wraps: for a layer that wraps another, in its attribute `layer_instance`: (this layer, the
        rule of the inner layer's kernel or embedding) -> the rule that replaces it.
    """

    rules: tuple[Rule, ...] = ()
    constants: Mapping[str, Numbers] = field(default_factory=dict)
    wraps: Callable[[Any, Rule], Rule] | None = None


def same(torch: str, ours: str) -> Rule:
    """A tensor with the elements of a variable, in the same order."""

    def load(
        layer: object, tensors: Sequence[Numbers], shapes: Sequence[tuple[int, ...]]
    ) -> list[Numbers]:
        return [tensors[0].reshape(shapes[0])]

    return Rule((torch,), (ours,), load, lambda layer, ours, like: [ours[0]])


def scalar_or_vector(torch: str, ours: str) -> Rule:
    """A vector, or a scalar that PyTorch stores as a vector of one element."""

    def load(
        layer: object, tensors: Sequence[Numbers], shapes: Sequence[tuple[int, ...]]
    ) -> list[Numbers]:
        return [tensors[0].reshape(shapes[0])]

    return Rule((torch,), (ours,), load, lambda layer, ours, like: [np.atleast_1d(ours[0])])


def flat(torch: str, ours: str) -> Rule:
    """A variable of several dimensions, flattened: the bias of several heads."""

    def load(
        layer: object, tensors: Sequence[Numbers], shapes: Sequence[tuple[int, ...]]
    ) -> list[Numbers]:
        return [tensors[0].reshape(shapes[0])]

    return Rule((torch,), (ours,), load, lambda layer, ours, like: [ours[0].reshape(-1)])


def matrix(torch: str, ours: str, inputs: Callable[[Any], int] = lambda layer: 1) -> Rule:
    """A kernel [*inputs, *outputs], as a matrix [outputs, inputs] in PyTorch.

    `inputs` gives the number of the kernel's input dimensions.
    """

    def load(
        layer: object, tensors: Sequence[Numbers], shapes: Sequence[tuple[int, ...]]
    ) -> list[Numbers]:
        return [tensors[0].T.reshape(shapes[0])]

    def save(
        layer: object, ours: Sequence[Numbers], like: Sequence[Numbers] | None
    ) -> list[Numbers]:
        return [_as_matrix(ours[0], inputs(layer))]

    return Rule((torch,), (ours,), load, save)


def _as_matrix(kernel: Numbers, inputs: int) -> Numbers:
    rows = math.prod(kernel.shape[:inputs])
    return kernel.reshape(rows, math.prod(kernel.shape[inputs:])).T


def divided(torch: str, ours: Sequence[str], *, of_kernel: bool) -> Rule:
    """The outputs of several kernels [inputs, *outputs], or biases, joined along the first axis."""

    def load(
        layer: object, tensors: Sequence[Numbers], shapes: Sequence[tuple[int, ...]]
    ) -> list[Numbers]:
        sizes = [math.prod(s[1:] if of_kernel else s) for s in shapes]
        parts = np.split(tensors[0], np.cumsum(sizes)[:-1])
        return [(p.T if of_kernel else p).reshape(s) for p, s in zip(parts, shapes, strict=True)]

    def save(
        layer: object, ours: Sequence[Numbers], like: Sequence[Numbers] | None
    ) -> list[Numbers]:
        return [np.concatenate([_as_matrix(k, 1) if of_kernel else k.reshape(-1) for k in ours])]

    return Rule((torch,), tuple(ours), load, save)


def grouped(torch: str, ours: Sequence[str], *, of_kernel: bool) -> Rule:
    """Projections of attention, grouped by key head: [K, G + 2, D] outputs.

    For each of K heads of keys, the tensor holds the G heads of queries that share it, its keys,
    and its values. With G = 1, queries, keys and values of a head follow one another. `ours` are
    the kernels [inputs, heads, D] or biases [heads, D] of queries, keys and values.
    """

    def load(
        layer: object, tensors: Sequence[Numbers], shapes: Sequence[tuple[int, ...]]
    ) -> list[Numbers]:
        heads, depth = shapes[1][-2:]
        shared = shapes[0][-2] // heads
        parts = tensors[0].reshape(heads, shared + 2, depth, *tensors[0].shape[1:])
        found = np.split(parts, (shared, shared + 1), axis=1)
        return [
            part.reshape(-1, *tensors[0].shape[1:]).T.reshape(shape)
            for part, shape in zip(found, shapes, strict=True)
        ]

    def save(
        layer: object, ours: Sequence[Numbers], like: Sequence[Numbers] | None
    ) -> list[Numbers]:
        heads, depth = ours[1].shape[-2:]
        parts = [_as_matrix(k, 1) if of_kernel else k.reshape(-1) for k in ours]
        rest = parts[0].shape[1:]
        together = np.concatenate([p.reshape(heads, -1, depth, *rest) for p in parts], axis=1)
        return [together.reshape(-1, *rest)]

    return Rule((torch,), tuple(ours), load, save)


def joined(torch: Sequence[str], ours: str, *, of_kernel: bool) -> Rule:
    """Several tensors, whose outputs are side by side in one kernel [inputs, outputs] or bias."""

    def load(
        layer: object, tensors: Sequence[Numbers], shapes: Sequence[tuple[int, ...]]
    ) -> list[Numbers]:
        together = np.concatenate(tensors)
        return [together.T if of_kernel else together]

    def save(
        layer: object, ours: Sequence[Numbers], like: Sequence[Numbers] | None
    ) -> list[Numbers]:
        return np.split(ours[0].T if of_kernel else ours[0], len(torch))

    return Rule(tuple(torch), (ours,), load, save)


def summed(torch: tuple[str, str], ours: Sequence[str]) -> Rule:
    """Biases for which PyTorch has two where we have one: the second is zero when saved.

    If they are saved over the tensors that they were loaded from, the second one stays as it was.
    """

    def load(
        layer: object, tensors: Sequence[Numbers], shapes: Sequence[tuple[int, ...]]
    ) -> list[Numbers]:
        return np.split(tensors[0] + tensors[1], len(ours))

    def save(
        layer: object, ours: Sequence[Numbers], like: Sequence[Numbers] | None
    ) -> list[Numbers]:
        both = np.concatenate(ours)
        second = np.zeros_like(both) if like is None else like[1].astype(both.dtype)
        return [both - second, second]

    return Rule(torch, tuple(ours), load, save, or_zeros=True)


def convolution(torch: str, ours: str) -> Rule:
    """A kernel [*window, in, out] that is [out, in, *window] in PyTorch."""

    def load(
        layer: object, tensors: Sequence[Numbers], shapes: Sequence[tuple[int, ...]]
    ) -> list[Numbers]:
        return [np.moveaxis(tensors[0], (1, 0), (-2, -1))]

    def save(
        layer: object, ours: Sequence[Numbers], like: Sequence[Numbers] | None
    ) -> list[Numbers]:
        return [np.moveaxis(ours[0], (-2, -1), (1, 0))]

    return Rule((torch,), (ours,), load, save)


def transposed_convolution(torch: str, ours: str) -> Rule:
    """The kernel of a transposed convolution, [in, out / groups, *window] in PyTorch.

    PyTorch stores the kernel of the convolution whose transpose this is. So does our layer with
    `transpose_kernel`, as [*window, out / groups, in]. Without it, our layer stores the kernel of a
    convolution over the dilated inputs, which is flipped: [*window, in / groups, out].
    """

    def groups_of(layer: object) -> int:
        return int(getattr(layer, "feature_group_count", 1))

    def load(
        layer: object, tensors: Sequence[Numbers], shapes: Sequence[tuple[int, ...]]
    ) -> list[Numbers]:
        if getattr(layer, "transpose_kernel", False):
            return [np.moveaxis(tensors[0], (1, 0), (-2, -1))]
        return [_flipped(np.moveaxis(_regrouped(tensors[0], groups_of(layer)), (0, 1), (-2, -1)))]

    def save(
        layer: object, ours: Sequence[Numbers], like: Sequence[Numbers] | None
    ) -> list[Numbers]:
        if getattr(layer, "transpose_kernel", False):
            return [np.moveaxis(ours[0], (-2, -1), (1, 0))]
        kernel = np.moveaxis(_flipped(ours[0]), (-1, -2), (0, 1))  # [out, in / groups, *window]
        return [_regrouped(kernel, groups_of(layer)).swapaxes(0, 1)]

    return Rule((torch,), (ours,), load, save, outputs=1)


def _regrouped(kernel: Numbers, groups: int) -> Numbers:
    """[a, b, *window] in groups along a, as [a / groups, groups · b, *window]."""
    if groups == 1:
        return kernel
    a, b, *window = kernel.shape
    parts = kernel.reshape(groups, a // groups, b, *window).swapaxes(0, 1)
    return parts.reshape(a // groups, groups * b, *window)


def _flipped(kernel: Numbers) -> Numbers:
    return np.flip(kernel, tuple(range(kernel.ndim - 2)))


WEIGHT = "weight|parametrizations.weight.original|weight_orig"
"""The name of a weight, parametrized or not."""
