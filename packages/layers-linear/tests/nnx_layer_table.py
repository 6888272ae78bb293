"""The table of nnx layers: one row per layer, from which every contract test follows."""

import jax
import numpy as np

from contracts import Input
from linnet.layers_linear import linen, nnx
from nnx_contracts import Layer, twin


def add(module, prefix):
    """Linen's layer with a low-rank adapter next to it, written out."""

    def output(values, x):
        base = {k: v for k, v in values.items() if "lora" not in k}
        params = {k.removeprefix("base_module/"): v for k, v in base.items()}
        return module.apply({"params": params}, x) + low_rank(prefix)(values, x)

    return output


def low_rank(prefix):
    return lambda values, x: x @ (values[f"{prefix}lora_a"] @ values[f"{prefix}lora_b"])


VECTORS = (Input((3, 4)),)
SEQUENCE = (Input((3, 6, 4)),)
IMAGES = (Input((2, 5, 4, 6)),)
MASK = np.tril(np.ones((3, 2, 4), np.float32))
# A mask is an array, and an array is data of the module.
MASKED = {"mask": (3, 2, 4)}

LAYERS = [
    Layer(
        "Linear",
        lambda rngs, **options: nnx.Linear(4, 10, rngs=rngs, **options),
        VECTORS,
        {"kernel": (4, 10), "bias": (10,)},
        twin=twin(linen.Dense(10)),
    ),
    Layer(
        "Linear without bias",
        lambda rngs, **options: nnx.Linear(4, 10, use_bias=False, rngs=rngs, **options),
        SEQUENCE,
        {"kernel": (4, 10)},
        twin=twin(linen.Dense(10, use_bias=False)),
    ),
    Layer(
        "LinearGeneral",
        lambda rngs, **options: nnx.LinearGeneral(
            (6, 4), (2, 3), axis=(1, -1), rngs=rngs, **options
        ),
        SEQUENCE,
        {"kernel": (6, 4, 2, 3), "bias": (2, 3)},
        twin=twin(linen.DenseGeneral((2, 3), axis=(1, -1))),
    ),
    Layer(
        "Conv",
        lambda rngs, **options: nnx.Conv(6, 2, (3, 2), strides=(2, 1), rngs=rngs, **options),
        IMAGES,
        {"kernel": (3, 2, 6, 2), "bias": (2,)},
        twin=twin(linen.Conv(2, (3, 2), strides=(2, 1))),
    ),
    Layer(
        "Conv circular",
        lambda rngs, **options: nnx.Conv(4, 2, 3, padding="CIRCULAR", rngs=rngs, **options),
        SEQUENCE,
        {"kernel": (3, 4, 2), "bias": (2,)},
        twin=twin(linen.Conv(2, 3, padding="CIRCULAR")),
    ),
    Layer(
        "Conv causal, in groups, masked",
        lambda rngs, **options: nnx.Conv(
            4,
            4,
            3,
            padding="CAUSAL",
            kernel_dilation=2,
            feature_group_count=2,
            mask=MASK,
            rngs=rngs,
            **options,
        ),
        SEQUENCE,
        {"kernel": (3, 2, 4), "bias": (4,)},
        MASKED,
        twin=lambda values, x: linen.Conv(
            4, 3, padding="CAUSAL", kernel_dilation=2, feature_group_count=2, mask=values["mask"]
        ).apply({"params": values}, x),
        share=1.15,  # see linen's table
    ),
    Layer(
        "ConvTranspose",
        lambda rngs, **options: nnx.ConvTranspose(
            6, 2, (3, 2), strides=(2, 1), rngs=rngs, **options
        ),
        IMAGES,
        {"kernel": (3, 2, 6, 2), "bias": (2,)},
        twin=twin(linen.ConvTranspose(2, (3, 2), strides=(2, 1))),
    ),
    Layer(
        "ConvTranspose circular",
        lambda rngs, **options: nnx.ConvTranspose(
            4, 2, 3, strides=2, padding="CIRCULAR", transpose_kernel=True, rngs=rngs, **options
        ),
        SEQUENCE,
        {"kernel": (3, 2, 4), "bias": (2,)},
        twin=twin(linen.ConvTranspose(2, 3, strides=2, padding="CIRCULAR", transpose_kernel=True)),
    ),
    Layer(
        "ConvTranspose grouped",
        lambda rngs, **options: nnx.ConvTranspose(
            4, 6, 3, strides=2, feature_group_count=2, rngs=rngs, **options
        ),
        SEQUENCE,
        {"kernel": (3, 2, 6), "bias": (6,)},
        twin=twin(linen.ConvTranspose(6, 3, strides=2, feature_group_count=2)),
        share=1.15,
    ),
    Layer(
        "Einsum",
        lambda rngs, **options: nnx.Einsum(
            "...a,ahd->...hd", (4, 2, 3), (2, 3), rngs=rngs, **options
        ),
        SEQUENCE,
        {"kernel": (4, 2, 3), "bias": (2, 3)},
        twin=twin(linen.Einsum((4, 2, 3), "...a,ahd->...hd")),
    ),
    Layer(
        "Embed",
        lambda rngs, **options: nnx.Embed(8, 6, rngs=rngs, **options),
        (Input((3, 4), below=7),),
        {"embedding": (8, 6)},
        twin=twin(linen.Embed(8, 6)),
    ),
    Layer(
        "PReLU per feature",
        lambda rngs, **options: nnx.PReLU(num_features=4, **options),
        VECTORS,
        {"negative_slope": (4,)},
        twin=twin(linen.PReLU(per_feature=True)),
    ),
    Layer(
        "PReLU",
        lambda rngs, **options: nnx.PReLU(**options),
        VECTORS,
        {"negative_slope": ()},
        twin=twin(linen.PReLU()),
    ),
    Layer(
        "Dropout",
        lambda rngs, **options: nnx.Dropout(0.4, rngs=rngs, **options),
        SEQUENCE,
        {},
    ),
    Layer(
        "LoRA",
        lambda rngs, **options: nnx.LoRA(4, 2, 10, rngs=rngs, **options),
        SEQUENCE,
        {"lora_a": (4, 2), "lora_b": (2, 10)},
        twin=low_rank(""),
    ),
    Layer(
        "LoRA around a layer",
        lambda rngs, **options: nnx.LoRA(
            4,
            2,
            10,
            base_module=nnx.Linear(4, 10, rngs=rngs, **options),
            rngs=rngs,
            **options,
        ),
        VECTORS,
        {
            "base_module/kernel": (4, 10),
            "base_module/bias": (10,),
            "lora_a": (4, 2),
            "lora_b": (2, 10),
        },
        twin=add(linen.Dense(10), ""),
    ),
    Layer(
        "LoRALinear",
        lambda rngs, **options: nnx.LoRALinear(
            4,
            10,
            lora_rank=2,
            rngs=rngs,
            **{f"lora_{name}": value for name, value in options.items()},
            **options,
        ),
        VECTORS,
        {"kernel": (4, 10), "bias": (10,), "lora/lora_a": (4, 2), "lora/lora_b": (2, 10)},
        twin=add(linen.Dense(10), "lora/"),
    ),
    Layer(
        "GLU",
        lambda rngs, **options: nnx.GLU(4, 10, 6, use_bias=True, rngs=rngs, **options),
        VECTORS,
        {
            "gate/kernel": (4, 10),
            "gate/bias": (10,),
            "up/kernel": (4, 10),
            "up/bias": (10,),
            "down/kernel": (10, 6),
            "down/bias": (6,),
        },
        twin=twin(linen.GLU(10, 6, use_bias=True)),
    ),
    Layer(
        "GLU, fused, GELU",
        lambda rngs, **options: nnx.GLU(
            4, 6, activation=jax.nn.gelu, fused=True, rngs=rngs, **options
        ),
        VECTORS,
        {"gate_up/kernel": (4, 12), "down/kernel": (6, 4)},
        twin=twin(linen.GLU(6, activation=jax.nn.gelu, fused=True)),
    ),
    Layer(
        "MLP",
        lambda rngs, **options: nnx.MLP(4, (6, 2), 8, rngs=rngs, **options),
        SEQUENCE,
        {
            "layers/0/kernel": (4, 6),
            "layers/0/bias": (6,),
            "layers/1/kernel": (6, 2),
            "layers/1/bias": (2,),
            "layers/2/kernel": (2, 8),
            "layers/2/bias": (8,),
        },
        twin=twin(linen.MLP((6, 2), 8)),
    ),
]
