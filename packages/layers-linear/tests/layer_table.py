"""The table of layers: one row per layer, over which every contract test runs.

A row says how the layer is made, what it is called with and what it declares. The contract of every
layer, regardless of what it computes, is tested in `test_contract.py` over all rows; a layer class
without a row fails there.
"""

import jax
import jax.numpy as jnp
import numpy as np

from contracts import Input, Layer
from linnet.layers_linear import linen

VECTORS = (Input((3, 4)),)
SEQUENCE = (Input((3, 6, 4)),)
IMAGES = (Input((2, 5, 4, 6)),)
GLU = {
    "gate": {"kernel": (4, 10), "bias": (10,)},
    "up": {"kernel": (4, 10), "bias": (10,)},
    "down": {"kernel": (10, 6), "bias": (6,)},
}


def affine(variables, x):
    params = variables["params"]
    return x @ params["kernel"] + params["bias"]


def convolution(variables, x):
    params = variables["params"]
    layout = ("NHWC", "HWIO", "NHWC")
    y = jax.lax.conv_general_dilated(x, params["kernel"], (2, 1), "SAME", dimension_numbers=layout)
    return y + params["bias"]


LAYERS = [
    Layer(
        "Dense",
        lambda **fields: linen.Dense(10, **fields),
        VECTORS,
        {"kernel": (4, 10), "bias": (10,)},
        by_hand=affine,
    ),
    Layer(
        "Dense without bias",
        lambda **fields: linen.Dense(10, use_bias=False, **fields),
        SEQUENCE,
        {"kernel": (4, 10)},
        by_hand=lambda v, x: x @ v["params"]["kernel"],
    ),
    Layer(
        "DenseGeneral",
        lambda **fields: linen.DenseGeneral((2, 3), axis=(1, -1), **fields),
        SEQUENCE,
        {"kernel": (6, 4, 2, 3), "bias": (2, 3)},
        by_hand=lambda v, x: jnp.tensordot(x, v["params"]["kernel"], 2) + v["params"]["bias"],
    ),
    Layer(
        "Conv",
        lambda **fields: linen.Conv(2, (3, 2), strides=(2, 1), **fields),
        IMAGES,
        {"kernel": (3, 2, 6, 2), "bias": (2,)},
        by_hand=convolution,
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
        share=1.15,  # group by group on a mesh, where XLA counts the padding differently
    ),
    Layer(
        "ConvTranspose",
        lambda **fields: linen.ConvTranspose(2, (3, 2), strides=(2, 1), **fields),
        IMAGES,
        {"kernel": (3, 2, 6, 2), "bias": (2,)},
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
        by_hand=lambda v, x: (
            jnp.einsum("...a,ahd->...hd", x, v["params"]["kernel"]) + v["params"]["bias"]
        ),
    ),
    Layer(
        "Embed",
        lambda **fields: linen.Embed(8, 6, **fields),
        (Input((3, 4), below=7),),
        {"embedding": (8, 6)},
        by_hand=lambda v, ids: v["params"]["embedding"][ids],
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
        lambda **fields: linen.GLU(10, 6, use_bias=True, **fields),
        VECTORS,
        GLU,
    ),
    Layer(
        "GLU, fused, GELU",
        lambda **fields: linen.GLU(6, activation=jax.nn.gelu, fused=True, **fields),
        VECTORS,
        {"gate_up": {"kernel": (4, 12)}, "down": {"kernel": (6, 4)}},
    ),
    Layer(
        "MLP",
        lambda **fields: linen.MLP((6, 2), 8, **fields),
        SEQUENCE,
        {
            "layers_0": {"kernel": (4, 6), "bias": (6,)},
            "layers_1": {"kernel": (6, 2), "bias": (2,)},
            "layers_2": {"kernel": (2, 8), "bias": (8,)},
        },
    ),
]
