"""The table of layers: one row a layer, from which every contract test follows.

A row says how the layer is made, what it is called with and what it declares. What a layer must
promise, whatever it computes, is tested in `test_contract.py` over all rows; a layer class without
a row fails there.
"""

import jax
import numpy as np

from contracts import Input, Layer
from linnet.layers_linear import linen

VECTORS = (Input((3, 4)),)
SEQUENCE = (Input((3, 6, 4)),)
IMAGES = (Input((2, 5, 4, 3)),)
GLU = {
    "gate": {"kernel": (4, 5), "bias": (5,)},
    "up": {"kernel": (4, 5), "bias": (5,)},
    "down": {"kernel": (5, 3), "bias": (3,)},
}

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
        share=1.15,  # group by group on a mesh, where XLA counts the padding otherwise
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
        "ConvTranspose grouped",
        lambda **fields: linen.ConvTranspose(6, 3, strides=2, feature_group_count=2, **fields),
        SEQUENCE,
        {"kernel": (3, 2, 6), "bias": (6,)},
        share=1.15,
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
        "PReLU per feature",
        lambda **fields: linen.PReLU(per_feature=True, **fields),
        VECTORS,
        {"negative_slope": (4,)},
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
    Layer(
        "GLU",
        lambda **fields: linen.GLU(5, 3, use_bias=True, **fields),
        VECTORS,
        GLU,
    ),
    Layer(
        "GLU, fused, GELU",
        lambda **fields: linen.GLU(5, activation=jax.nn.gelu, fused=True, **fields),
        VECTORS,
        {"gate_up": {"kernel": (4, 10)}, "down": {"kernel": (5, 4)}},
    ),
    Layer(
        "MLP",
        lambda **fields: linen.MLP((5, 6), 3, **fields),
        SEQUENCE,
        {
            "layers_0": {"kernel": (4, 5), "bias": (5,)},
            "layers_1": {"kernel": (5, 6), "bias": (6,)},
            "layers_2": {"kernel": (6, 3), "bias": (3,)},
        },
    ),
]
