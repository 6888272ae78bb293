"""A ConvNeXt from a Hugging Face checkpoint: depthwise convolutions, normalized channels.

    python docs/examples/convnext.py [CHECKPOINT]

CHECKPOINT is a folder with the config.json and model.safetensors of a ConvNeXt (Liu et al. 2022,
arXiv:2201.03545) or ConvNeXt V2 (Woo et al. 2023, arXiv:2301.00808) model. If it is omitted, a tiny
model with random weights is loaded. If CHECKPOINT has an expected.npz, outputs are compared with
PyTorch's. The program needs linnet.

Shapes: B batch, H height, W width, C channels: last here, first in PyTorch.
"""

import json
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from configs import ACTIVATIONS, Config
from program import read_options
from reports import expected_of, print_difference, print_kept, print_size

from linnet import nnx
from linnet.weights import from_torch, load, to_torch

NAMES = {  # PyTorch's names, and ours
    **dict.fromkeys(("convnext", "convnextv2"), ""),
    "embeddings.patch_embeddings": "stem",
    "embeddings.layernorm": "stem_norm",
    "encoder": "",
    "layernorm": "norm",
    "classifier": "head",
}

# The model ---------------------------------------------------------------------------------------


class ResponseNorm(nnx.Module):
    """Scales each channel by its share in the whole image: x · (1 + weight · share) + bias."""

    def __init__(self, channels: int) -> None:
        self.weight = nnx.Param(jnp.zeros((1, 1, 1, channels)))
        self.bias = nnx.Param(jnp.zeros((1, 1, 1, channels)))

    def __call__(self, x: jax.Array) -> jax.Array:
        """[B, H, W, C], as given."""
        size = jnp.sqrt(jnp.sum(x**2, axis=(1, 2), keepdims=True))
        share = size / (size.mean(-1, keepdims=True) + 1e-6)
        return x + self.weight * (x * share) + self.bias


class Block(nnx.Module):
    """A depthwise convolution, then two dense layers; their output is added to the input."""

    def __init__(self, channels: int, act: Any, version: int, *, rngs: nnx.Rngs) -> None:
        self.dwconv = nnx.Conv(
            channels, channels, (7, 7), padding=3, feature_group_count=channels, rngs=rngs
        )
        self.layernorm = nnx.LayerNorm(channels, epsilon=1e-6, rngs=rngs)
        self.pwconv1 = nnx.Linear(channels, 4 * channels, rngs=rngs)
        self.grn = ResponseNorm(4 * channels) if version == 2 else None
        self.pwconv2 = nnx.Linear(4 * channels, channels, rngs=rngs)
        self.layer_scale_parameter = nnx.Param(jnp.ones(channels)) if version == 1 else 1.0
        self.act = act

    def __call__(self, x: jax.Array) -> jax.Array:
        """[B, H, W, C], as given."""
        y = self.act(self.pwconv1(self.layernorm(self.dwconv(x))))
        y = y if self.grn is None else self.grn(y)
        return x + self.layer_scale_parameter * self.pwconv2(y)


class Stage(nnx.Module):
    """Blocks of one size, after a layer that halves the image, or after the stem."""

    def __init__(
        self, into: int, out: int, depth: int, block: Any, halves: bool, *, rngs: nnx.Rngs
    ) -> None:
        self.downsampling_layer: nnx.List[Any] = nnx.List()
        if halves:
            norm = nnx.LayerNorm(into, epsilon=1e-6, rngs=rngs)
            conv = nnx.Conv(into, out, (2, 2), strides=2, padding="VALID", rngs=rngs)
            self.downsampling_layer += [norm, conv]
        self.layers = nnx.Repeat(block, depth, out, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """[B, H, W, into] to [B, H / 2, W / 2, out], or [B, H, W, out] in the first stage."""
        for layer in self.downsampling_layer:
            x = layer(x)
        return self.layers(x)


class ConvNeXt(nnx.Module):
    """Classifies images."""

    def __init__(self, config: Config, *, rngs: nnx.Rngs) -> None:
        config.knows("num_stages", "image_size")
        sizes, patch = config["hidden_sizes"], config["patch_size"]
        self.stem = nnx.Conv(
            config["num_channels"],
            sizes[0],
            (patch, patch),
            strides=patch,
            padding="VALID",
            rngs=rngs,
        )
        self.stem_norm = nnx.LayerNorm(sizes[0], epsilon=1e-6, rngs=rngs)
        version = 2 if config["model_type"] == "convnextv2" else 1
        block = partial(Block, act=config.one_of("hidden_act", ACTIVATIONS), version=version)
        self.stages: nnx.List[Stage] = nnx.List()
        for i, (into, out) in enumerate(zip([sizes[0], *sizes[:-1]], sizes, strict=True)):
            self.stages.append(Stage(into, out, config["depths"][i], block, i > 0, rngs=rngs))
        self.norm = nnx.LayerNorm(sizes[-1], epsilon=config["layer_norm_eps"], rngs=rngs)
        self.head = nnx.Linear(sizes[-1], config.classes, rngs=rngs)

    def __call__(self, images: jax.Array) -> jax.Array:
        """The logits [B, classes] of images [B, H, W, C]."""
        x = self.stem_norm(self.stem(images))
        for stage in self.stages:
            x = stage(x)
        return self.head(self.norm(x.mean((1, 2))))


def load_model(folder: Path) -> ConvNeXt:
    """The model of a folder."""
    return filled(json.loads((folder / "config.json").read_text("utf-8")), load(folder))


def filled(config: Mapping[str, Any], tensors: Mapping[str, Any]) -> ConvNeXt:
    """The model with these values."""
    known = Config(config, "convnext.py", ["convnext", "convnextv2"])
    model = nnx.eval_shape(lambda: ConvNeXt(known, rngs=nnx.Rngs(0)))
    known.check()
    return from_torch(model, tensors, rename=NAMES)


@nnx.jit
def logits(model: ConvNeXt, images: Any) -> jax.Array:
    """The logits of the model, compiled once for images of one size."""
    return model(images)


def main() -> int:
    """Loads the model, compares its outputs, and returns the exit status."""
    options = read_options(__doc__.partition("\n")[0], steps=0, checkpoint="convnext")
    folder = options.checkpoint
    model = load_model(folder)
    print_size(model, folder.name)
    images = np.random.default_rng(options.seed).normal(size=(2, 32, 32, 3)).astype(np.float32)
    if torch := expected_of(folder):
        images = np.moveaxis(torch["in.pixel_values"], 1, -1)
        print_difference(logits(model, images), torch["out.logits"])
    print("logits    ", " ".join(f"{x:7.3f}" for x in logits(model, images)[0]))
    tensors = load(folder)
    print_kept(to_torch(model, like=tensors, rename=NAMES), tensors)
    return 0


if __name__ == "__main__":
    sys.exit(main())
