"""How PyTorch stores the parameters of the cells; see `linnet.module_core.layers.torch_layout`.

PyTorch stores the kernels of all gates in one tensor, stacked: i, f, g, o in an LSTM and r, z, n in
a GRU. It adds a bias to the input's term and another to the hidden state's. One of them is enough,
except for the GRU's n, in which the reset gate multiplies the second:

    n = tanh(Wᵢₙ x + bᵢₙ + r · (Wₕₙ h + bₕₙ))
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from linnet.module_core.layers.torch_layout import (
    Layout,
    Numbers,
    Rule,
    divided,
    matrix,
    summed,
)

OF_INPUT, OF_STATE, BIASES = "weight_ih", "weight_hh", ("bias_ih", "bias_hh")


def _kernels(names: str, letter: str) -> list[str]:
    return [f"{letter}{gate}/kernel" for gate in names]


LSTM = Layout(
    (
        divided(OF_INPUT, _kernels("ifgo", "i"), of_kernel=True),
        divided(OF_STATE, _kernels("ifgo", "h"), of_kernel=True),
        summed(BIASES, [f"h{gate}/bias" for gate in "ifgo"]),
        matrix(OF_INPUT, "dense_i/kernel"),
        matrix(OF_STATE, "dense_h/kernel"),
        summed(BIASES, ["dense_h/bias"]),
    )
)


def _gru_biases(ours: Sequence[str]) -> Rule:
    """The biases of r and z, of n, and of n's hidden-state term if the cell has one."""
    has_last = len(ours) > 1

    def load(
        layer: object, tensors: Sequence[Numbers], shapes: Sequence[tuple[int, ...]]
    ) -> list[Numbers]:
        of_input, of_state = tensors
        r, z, _ = np.split(of_input + of_state, 3)
        n, last = np.split(of_input, 3)[2], np.split(of_state, 3)[2]
        return [r, z, n, last] if has_last else [np.concatenate([r, z, n])]

    def save(
        layer: object, ours: Sequence[Numbers], like: Sequence[Numbers] | None
    ) -> list[Numbers]:
        both = np.concatenate(ours[:3])
        size = both.size // 3
        of_state = np.zeros_like(both) if like is None else like[1].astype(both.dtype)
        of_state = np.concatenate(
            [of_state[: 2 * size], ours[3] if has_last else np.zeros_like(both[:size])]
        )
        of_input = both.copy()
        of_input[: 2 * size] -= of_state[: 2 * size]
        return [of_input, of_state]

    def problem(layer: object, tensors: Sequence[Numbers]) -> str | None:
        if has_last or not np.any(np.split(tensors[1], 3)[2]):
            return None
        return (
            "PyTorch adds a bias to the hidden state's part of n, and this cell has none there."
            " Make it with use_recurrent_bias=True"
        )

    return Rule(BIASES, tuple(ours), load, save, problem, or_zeros=True)


GRU = Layout(
    (
        divided(OF_INPUT, _kernels("rzn", "i"), of_kernel=True),
        divided(OF_STATE, _kernels("rzn", "h"), of_kernel=True),
        _gru_biases(["ir/bias", "iz/bias", "in/bias", "hn/bias"]),
        matrix(OF_INPUT, "dense_i/kernel"),
        matrix(OF_STATE, "dense_h/kernel"),
        Rule(
            BIASES,
            ("dense_i/bias", "dense_h/bias"),
            lambda layer, tensors, shapes: list(tensors),
            lambda layer, ours, like: list(ours),
            or_zeros=True,
        ),
        _gru_biases(["dense_i/bias"]),
    )
)
SIMPLE = Layout(
    (
        matrix(OF_INPUT, "i/kernel"),
        matrix(OF_STATE, "h/kernel"),
        summed(BIASES, ["i/bias"]),
        matrix(OF_INPUT, "dense_i/kernel"),
        matrix(OF_STATE, "dense_h/kernel"),
        summed(BIASES, ["dense_i/bias"]),
    )
)
