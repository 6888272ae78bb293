"""Weights that the examples' tests draw instead of storing them.

PyTorch's results with the same weights are stored in tools/tests/data.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np


def drawn(shapes: Mapping[str, Sequence[int]]) -> dict[str, np.ndarray]:
    """Tensors of these shapes, drawn one after another, in the order of their names."""
    draw = np.random.default_rng(0)
    return {
        name: draw.normal(0.5 if len(shape) == 1 else 0, 0.4, shape).astype(np.float32)
        for name, shape in sorted(shapes.items())
    }
