"""The table of layers: one row a layer, from which every contract test follows.

A row says how the layer is made, what it is called with and what it declares. What a layer must
promise, whatever it computes, is tested in `test_contract.py` over all rows; a layer class without
a row fails there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from linnet.layers_linear import linen


class Input(NamedTuple):
    """An input by its shape and kind: floats, or integers below a bound."""

    shape: tuple[int, ...]
    below: int | None = None

    def array(self, dtype: Any = np.float32, *, seed: int = 0, batch: int | None = None) -> Any:
        """Values as a training set has them: no zeros, no two alike."""
        shape = self.shape if batch is None else (batch, *self.shape[1:])
        rng = np.random.default_rng(seed)
        if self.below is not None:
            return rng.integers(0, self.below, shape).astype(np.int32)
        return rng.normal(0.3, 1.0, shape).astype(dtype)


class Layer(NamedTuple):
    """A layer and what it declares.

    Attributes:
      name: of the row.
      linen: makes the module; takes fields to set besides.
      inputs: what it is called with; the first dimension is the batch.
      params: shapes of the parameters.
      random: whether it draws from the stream "dropout".
      state: shapes of the variables in other collections.
      call: keyword arguments of the call.
    """

    name: str
    linen: Callable[..., Any]
    inputs: tuple[Input, ...]
    params: Mapping[str, tuple[int, ...]]
    random: bool = False
    state: Mapping[str, Mapping[str, tuple[int, ...]]] = {}
    call: Mapping[str, Any] = {}


VECTORS = (Input((3, 4)),)
SEQUENCE = (Input((3, 6, 4)),)
IMAGES = (Input((2, 5, 4, 3)),)

LAYERS = [
    Layer(
        "Dense",
        lambda **fields: linen.Dense(5, **fields),
        VECTORS,
        {"kernel": (4, 5), "bias": (5,)},
    ),
    Layer(
        "Dense without bias",
        lambda **fields: linen.Dense(5, use_bias=False, **fields),
        SEQUENCE,
        {"kernel": (4, 5)},
    ),
    Layer(
        "DenseGeneral",
        lambda **fields: linen.DenseGeneral((2, 3), axis=(1, -1), **fields),
        SEQUENCE,
        {"kernel": (6, 4, 2, 3), "bias": (2, 3)},
    ),
    Layer(
        "Conv",
        lambda **fields: linen.Conv(2, (3, 2), strides=(2, 1), **fields),
        IMAGES,
        {"kernel": (3, 2, 3, 2), "bias": (2,)},
    ),
    Layer(
        "Conv circular",
        lambda **fields: linen.Conv(2, 3, padding="CIRCULAR", **fields),
        SEQUENCE,
        {"kernel": (3, 4, 2), "bias": (2,)},
    ),
    Layer(
        "Conv causal, in groups, masked",
        lambda **fields: linen.Conv(
            4,
            3,
            padding="CAUSAL",
            kernel_dilation=2,
            feature_group_count=2,
            mask=np.tril(np.ones((3, 2, 4))) > 0,
            **fields,
        ),
        SEQUENCE,
        {"kernel": (3, 2, 4), "bias": (4,)},
    ),
    Layer(
        "ConvTranspose",
        lambda **fields: linen.ConvTranspose(2, (3, 2), strides=(2, 1), **fields),
        IMAGES,
        {"kernel": (3, 2, 3, 2), "bias": (2,)},
    ),
    Layer(
        "ConvTranspose circular",
        lambda **fields: linen.ConvTranspose(
            2, 3, strides=2, padding="CIRCULAR", transpose_kernel=True, **fields
        ),
        SEQUENCE,
        {"kernel": (3, 2, 4), "bias": (2,)},
    ),
    Layer(
        "ConvLocal",
        lambda **fields: linen.ConvLocal(2, 3, strides=2, **fields),
        SEQUENCE,
        {"kernel": (3, 12, 2), "bias": (3, 2)},
    ),
    Layer(
        "Einsum",
        lambda **fields: linen.Einsum((4, 2, 3), "...a,ahd->...hd", **fields),
        SEQUENCE,
        {"kernel": (4, 2, 3), "bias": (2, 3)},
    ),
    Layer(
        "Embed",
        lambda **fields: linen.Embed(7, 3, **fields),
        (Input((3, 4), below=7),),
        {"embedding": (7, 3)},
    ),
    Layer(
        "PReLU",
        lambda **fields: linen.PReLU(**fields),
        VECTORS,
        {"negative_slope": ()},
    ),
    Layer(
        "Dropout",
        lambda **fields: linen.Dropout(0.4, **fields),
        SEQUENCE,
        {},
        random=True,
        call={"deterministic": False},
    ),
]
