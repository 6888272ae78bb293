"""How PyTorch stores the parameters of the layers; see `linnet.module_core.layers.torch_layout`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from linnet.module_core.layers.torch_layout import Layout, Numbers, Rule, same

NORM = Layout((same("weight", "scale"), same("bias", "bias")))
BATCH_NORM = Layout(
    (*NORM.rules, same("running_mean", "mean"), same("running_var", "var")),
    constants={"num_batches_tracked": np.asarray(0, np.int64)},
)


def _spectral(wrapper: object, weight: Rule) -> Rule:
    """The kernel with the vectors of its largest singular value; u and v have unit length.

    We store u and σ = u W v; PyTorch stores u and v, with W as the matrix [outputs, the rest]. The
    outputs of an embedding are its last axis for us and the first one for PyTorch, whose v is our
    u.
    """
    swapped = weight.ours == ("embedding",)
    outputs = 1 if swapped else weight.outputs

    def matrix(original: Numbers) -> Numbers:
        size = original.shape[outputs]
        return np.moveaxis(original, outputs, 0).reshape(size, math.prod(original.shape) // size)

    def load(
        layer: object, tensors: Sequence[Numbers], shapes: Sequence[tuple[int, ...]]
    ) -> list[Numbers]:
        original, u, v = tensors
        u, v = (v, u) if swapped else (u, v)
        (kernel,) = weight.load(layer, [original], shapes[:1])
        return [kernel, u.reshape(shapes[1]), np.asarray(u @ matrix(original) @ v)]

    def save(
        layer: object, ours: Sequence[Numbers], like: Sequence[Numbers] | None
    ) -> list[Numbers]:
        kernel, u, _ = ours
        (original,) = weight.save(layer, [kernel], None)
        u = u.reshape(-1)
        v = u @ matrix(original)
        v = v / max(np.linalg.norm(v), 1e-12)
        return [original, v, u] if swapped else [original, u, v]

    names = [
        f"{new}|{old}"
        for new, old in (
            ("parametrizations.weight.original", "weight_orig"),
            ("parametrizations.weight.0._u", "weight_u"),
            ("parametrizations.weight.0._v", "weight_v"),
        )
    ]
    ours = weight.ours[0]
    return Rule(tuple(names), (ours, f"{ours}:u", f"{ours}:sigma"), load, save)


def _weight(wrapper: Any, weight: Rule) -> Rule:
    """The direction of a kernel, and the lengths of its slices.

    PyTorch has a length for each index of one axis, in a tensor of as many dimensions as the
    kernel; we have one for each index of `feature_axes`. Both can be read from a tensor of the
    kernel's shape in which each number is the length of its slice.
    """

    def slices(kernel: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of our lengths among the kernel's dimensions."""
        axes = () if wrapper.feature_axes is None else wrapper.feature_axes
        axes = {a % len(kernel) for a in ((axes,) if isinstance(axes, int) else axes)}
        return tuple(n if a in axes else 1 for a, n in enumerate(kernel))

    def load(
        layer: object, tensors: Sequence[Numbers], shapes: Sequence[tuple[int, ...]]
    ) -> list[Numbers]:
        lengths, direction = tensors
        (kernel,) = weight.load(layer, [direction], shapes[:1])
        (each,) = weight.load(layer, [np.broadcast_to(lengths, direction.shape)], shapes[:1])
        firsts = each[tuple(map(slice, slices(shapes[0])))]
        return [kernel, firsts.reshape(shapes[1])]

    def save(
        layer: object, ours: Sequence[Numbers], like: Sequence[Numbers] | None
    ) -> list[Numbers]:
        kernel, lengths = ours
        (direction,) = weight.save(layer, [kernel], None)
        if not lengths.ndim:
            return [lengths, direction]
        shape = slices(kernel.shape)

        def each(numbers: Numbers) -> Numbers:
            numbers = np.broadcast_to(numbers.reshape(shape), kernel.shape)
            return weight.save(layer, [numbers], None)[0]

        numbered, firsts = each(np.arange(lengths.size)), each(lengths)
        for axis in range(firsts.ndim):
            if not np.diff(numbered, axis=axis).any():
                firsts = firsts.take([0], axis)
        return [firsts, direction]

    names = (
        "parametrizations.weight.original0|weight_g",
        "parametrizations.weight.original1|weight_v",
    )
    ours = weight.ours[0]
    return Rule(names, (ours, f"{ours}:scale"), load, save)


WEIGHT_NORM = Layout(wraps=_weight)
SPECTRAL_NORM = Layout(wraps=_spectral)
