"""How PyTorch stores the parameters of the layers; see `linnet.module_core.layers.torch_layout`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from linnet.module_core.layers.torch_layout import Layout, Numbers, Rule, same

NORM = Layout((same("weight", "scale"), same("bias", "bias")))
BATCH_NORM = Layout(
    (*NORM.rules, same("running_mean", "mean"), same("running_var", "var")),
    constants={"num_batches_tracked": np.asarray(0, np.int64)},
)


def _spectral(weight: Rule) -> Rule:
    """The kernel with the vectors of its largest singular value; u and v of unit length.

    We store u and σ = u W v; PyTorch stores u and v, with W as the matrix [outputs, the rest].
    """

    def load(
        layer: object, tensors: Sequence[Numbers], shapes: Sequence[tuple[int, ...]]
    ) -> list[Numbers]:
        original, u, v = tensors
        (kernel,) = weight.load(layer, [original], shapes[:1])
        sigma = u @ original.reshape(original.shape[0], -1) @ v
        return [kernel, u.reshape(shapes[1]), np.asarray(sigma)]

    def save(
        layer: object, ours: Sequence[Numbers], like: Sequence[Numbers] | None
    ) -> list[Numbers]:
        kernel, u, _ = ours
        (original,) = weight.save(layer, [kernel], None)
        v = u.reshape(-1) @ original.reshape(original.shape[0], -1)
        return [original, u.reshape(-1), v / max(np.linalg.norm(v), 1e-12)]

    names = [
        f"{new}|{old}"
        for new, old in (
            ("parametrizations.weight.original", "weight_orig"),
            ("parametrizations.weight.0._u", "weight_u"),
            ("parametrizations.weight.0._v", "weight_v"),
        )
    ]
    return Rule(tuple(names), ("kernel", "kernel:u", "kernel:sigma"), load, save)


def _weight(weight: Rule) -> Rule:
    """The direction of a kernel, and its length for each output: [outputs, 1, …] in PyTorch."""

    def load(
        layer: object, tensors: Sequence[Numbers], shapes: Sequence[tuple[int, ...]]
    ) -> list[Numbers]:
        length, direction = tensors
        return [*weight.load(layer, [direction], shapes[:1]), length.reshape(shapes[1])]

    def save(
        layer: object, ours: Sequence[Numbers], like: Sequence[Numbers] | None
    ) -> list[Numbers]:
        (direction,) = weight.save(layer, ours[:1], None)
        return [ours[1].reshape(-1, *(1 for _ in direction.shape[1:])), direction]

    names = (
        "parametrizations.weight.original0|weight_g",
        "parametrizations.weight.original1|weight_v",
    )
    return Rule(names, ("kernel", "kernel:scale"), load, save)


WEIGHT_NORM = Layout(wraps=_weight)
SPECTRAL_NORM = Layout(wraps=_spectral)
