"""The names of `flax.core.axes_scan`."""

from typing import Any

import jax

from linnet.module_core.functional.axes_scan import scan as scan
from linnet.module_core.linen import broadcast as broadcast
from linnet.module_core.typing import ScanAxis as ScanAxis


def build_shaped_array(x: Any, batch_dim: bool = False) -> jax.core.ShapedArray:
    """The shape and dtype of an array, or of one of its slices along the first axis."""
    return jax.core.ShapedArray(x.shape[1:] if batch_dim else x.shape, x.dtype)
