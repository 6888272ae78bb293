"""A vision transformer from a Hugging Face checkpoint: an image is a sequence of patches.

    python docs/examples/vit.py [CHECKPOINT]

CHECKPOINT is a folder with the config.json and model.safetensors of a ViT (arXiv:2010.11929),
DeiT (arXiv:2012.12877), DINOv2 (arXiv:2304.07193) or BEiT (arXiv:2106.08254) model. If it is
omitted, a tiny model with random weights is loaded. Images may be larger than in training: position
embeddings are interpolated. BEiT has biases for distances instead, and images of a fixed size. If
CHECKPOINT has an expected.npz, outputs are compared with PyTorch's. The program needs linnet.

Shapes: B batch; H height; W width; C channels, last here and first in PyTorch; h rows and w columns
of patches; T = 1 + h·w tokens, the first of which is for the image as a whole; F features.
"""

import json
import math
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
    **dict.fromkeys(("vit", "deit", "dinov2", "beit"), ""),
    "embeddings": "",
    "patch_embeddings.projection": "patches",
    "encoder.relative_position_bias.relative_position_bias_table": "table",
    "shared_position_bias.relative_position_bias_table": "table",
    "encoder.layer": "layers",
    **dict.fromkeys(("layernorm", "pooler.layernorm"), "norm"),
    "pooler.dense": "pooler",
    **dict.fromkeys(("classifier", "cls_classifier"), "head"),
    "distillation_classifier": "distilled_head",
    ".attention.attention.relative_position_bias.relative_position_bias_table": "table",
    ".relative_position_bias.relative_position_bias_table": "table",
    ".attention.attention": "attention",
    ".attention.output.dense": "attention.out",
    **dict.fromkeys((".layernorm_before", ".norm1"), "attention_norm"),
    **dict.fromkeys((".layernorm_after", ".norm2"), "mlp_norm"),
    **dict.fromkeys((".intermediate.dense", ".mlp.fc1"), "mlp.layers.0"),
    **dict.fromkeys((".output.dense", ".mlp.fc2"), "mlp.layers.1"),
    **dict.fromkeys((".layer_scale1.lambda1", ".lambda_1"), "attention_scale"),
    **dict.fromkeys((".layer_scale2.lambda1", ".lambda_2"), "mlp_scale"),
}
IGNORED = ["*mask_token"]  # for patches that a model has to guess in its training
FAMILIES = ("vit", "deit", "dinov2", "beit")

# The model ---------------------------------------------------------------------------------------


class Layer(nnx.Module):
    """Attention, then two dense layers; both are residual, in DINOv2 with a learned factor."""

    def __init__(self, config: Config, *, rngs: nnx.Rngs) -> None:
        width, hidden = config["hidden_size"], hidden_features(config)
        norm = partial(nnx.LayerNorm, width, epsilon=config["layer_norm_eps"], rngs=rngs)
        act = config.one_of("hidden_act", ACTIVATIONS)
        self.attention_norm, self.mlp_norm = norm(), norm()
        heads, biased = config["num_attention_heads"], config.get("qkv_bias", True)
        self.attention = nnx.MultiHeadAttention(
            heads, width, use_bias=biased, use_out_bias=True, decode=False, rngs=rngs
        )
        self.mlp = nnx.MLP(width, hidden, activation=act, rngs=rngs)
        # DINOv2 and BEiT; the latter may also have a table of biases in each layer.
        scaled = bool(config.get("layerscale_value") or config.get("layer_scale_init_value"))
        self.table = bias_table(config) if config.get("use_relative_position_bias") else None
        self.attention_scale = nnx.Param(jnp.ones(width)) if scaled else 1.0
        self.mlp_scale = nnx.Param(jnp.ones(width)) if scaled else 1.0

    def __call__(self, x: jax.Array, bias: jax.Array | None = None) -> jax.Array:
        """The features [B, T, F], given those of the previous layer; `bias` is [1, H, T, T]."""
        bias = bias if self.table is None else bias_of(self.table)
        x = x + self.attention_scale * self.attention(self.attention_norm(x), bias=bias)
        return x + self.mlp_scale * self.mlp(self.mlp_norm(x))


class ViT(nnx.Module):
    """Classifies images by the features of their patches.

    Args:
      config: sizes and options.
      tensors: the checkpoint's tensors, whose names say which parts the model has.
    """

    def __init__(self, config: Config, tensors: Mapping[str, Any], *, rngs: nnx.Rngs) -> None:
        def has(part: str) -> bool:
            return any(part in name for name in tensors)

        width, size, patch = config["hidden_size"], config["image_size"], config["patch_size"]
        token = partial(nnx.Param, jnp.zeros((1, 1, width)))
        self.cls_token = token()
        self.distillation_token = token() if has("distillation_token") else None
        self.grid = size // patch
        count = self.grid**2 + (1 if self.distillation_token is None else 2)
        self.position_embeddings: nnx.Param[jax.Array] | None = None
        if config.get("use_absolute_position_embeddings", True):
            self.position_embeddings = nnx.Param(jnp.zeros((1, count, width)))
        shared = config.get("use_shared_relative_position_bias", False)
        self.table = bias_table(config) if shared else None
        self.of_patches = config.get("use_mean_pooling", False)  # otherwise of the first token
        self.patches = nnx.Conv(
            config["num_channels"],
            width,
            (patch, patch),
            strides=patch,
            padding="VALID",
            rngs=rngs,
        )
        self.layers = nnx.Repeat(Layer, config["num_hidden_layers"], config, rngs=rngs)
        self.norm = nnx.LayerNorm(width, epsilon=config["layer_norm_eps"], rngs=rngs)
        pooled = config.get("pooler_output_size") or width
        self.pooler = nnx.Linear(width, pooled, rngs=rngs) if has("pooler.dense.") else None
        self.of_all = config["model_type"] == "dinov2"  # its head also gets the patches' mean
        head = partial(nnx.Linear, width * (1 + self.of_all), config.classes, rngs=rngs)
        self.head = head() if has("classifier.") else None
        self.distilled_head = head() if has("distillation_classifier.") else None

    def features(self, images: jax.Array) -> jax.Array:
        """The features [B, T, F] of images [B, H, W, C]; BEiT normalizes their mean instead."""
        x = self.patches(images)  # [B, h, w, F]
        batch, height, wide, width = x.shape
        tokens = [t for t in (self.cls_token, self.distillation_token) if t is not None]
        count = len(tokens)
        first, grid = jnp.zeros((1, count, width)), jnp.zeros((1, height * wide, width))
        if self.position_embeddings is not None:
            first, grid = jnp.split(self.position_embeddings[...], [count], axis=1)
        if (height, wide) != (self.grid, self.grid):
            if self.position_embeddings is None:
                raise ValueError(f"The images have {height} x {wide} patches, not {self.grid}².")
            grid = grid.reshape(self.grid, self.grid, width)
            rows, columns = cubic(self.grid, height), cubic(self.grid, wide)
            grid = jnp.einsum("yi,xj,ijf->yxf", rows, columns, grid).astype(x.dtype)
        x = x.reshape(batch, -1, width) + grid.reshape(1, -1, width)
        start = jnp.concatenate([t[...] for t in tokens], axis=1) + first
        start = jnp.broadcast_to(start, (batch, *start.shape[1:]))
        x = self.layers(
            jnp.concatenate([start, x], axis=1),
            None if self.table is None else bias_of(self.table),
        )
        return x if self.of_patches else self.norm(x)

    def __call__(self, images: jax.Array) -> jax.Array:
        """The logits [B, classes] of images [B, H, W, C]; without a head, the image's features."""
        x = self.features(images)
        y = self.norm(x[:, 1:].mean(1)) if self.of_patches else x[:, 0]
        if self.of_all:
            y = jnp.concatenate([y, x[:, 1:].mean(1)], axis=-1)
        if self.head is None:
            return y if self.pooler is None else jnp.tanh(self.pooler(y))
        if self.distilled_head is None:
            return self.head(y)
        return (self.head(y) + self.distilled_head(x[:, 1])) / 2


def bias_table(config: Config) -> nnx.Param[jax.Array]:
    """A bias for each distance between two patches and each head, then those of the first token."""
    side = 2 * (config["image_size"] // config["patch_size"]) - 1
    return nnx.Param(jnp.zeros((side**2 + 3, config["num_attention_heads"])))


def bias_of(table: nnx.Param[jax.Array]) -> jax.Array:
    """The bias of each query and key: [1, H, T, T]."""
    last = table.shape[0] - 3  # the first token to a patch, a patch to it, and it to itself
    side = math.isqrt(last)
    at = np.indices(2 * ((side + 1) // 2,)).reshape(2, -1)  # rows and columns
    rows, columns = at[:, :, None] - at[:, None] + side // 2
    index = np.pad(rows * side + columns, ((1, 0), (1, 0)))
    index[0], index[:, 0], index[0, 0] = last, last + 1, last + 2
    return table[...][index].transpose(2, 0, 1)[None]


def hidden_features(config: Config) -> int:
    """The width within a feed-forward layer."""
    config.knows("intermediate_size")
    if "mlp_ratio" in config:
        return int(config["hidden_size"] * config["mlp_ratio"])
    return int(config["intermediate_size"])


def cubic(old: int, new: int) -> np.ndarray:
    """Weights [new, old] that interpolate along an axis, as PyTorch does (Keys 1981, a = -0.75)."""
    at = (np.arange(new) + 0.5) * old / new - 0.5
    weights = np.zeros((new, old), np.float32)
    for tap in range(-1, 3):
        distance = np.abs(at - np.floor(at) - tap)
        near = 1.25 * distance**3 - 2.25 * distance**2 + 1
        far = -0.75 * (distance**3 - 5 * distance**2 + 8 * distance - 4)
        where = np.clip(np.floor(at) + tap, 0, old - 1).astype(int)
        np.add.at(weights, (np.arange(new), where), np.where(distance <= 1, near, far))
    return weights


def load_model(folder: Path) -> tuple[ViT, Mapping[str, Any]]:
    """The model of a folder, and its config.json."""
    config, tensors = json.loads((folder / "config.json").read_text("utf-8")), load(folder)
    return filled(config, tensors), config


def filled(config: Mapping[str, Any], tensors: Mapping[str, Any]) -> ViT:
    """The model with these values."""
    known = Config(config, "vit.py", FAMILIES)
    model = nnx.eval_shape(lambda: ViT(known, tensors, rngs=nnx.Rngs(0)))
    known.check()
    # The inputs of DINOv2's head are features of two kinds, not an image that was flattened.
    flattened = {"classifier": None} if model.of_all else None
    return from_torch(model, tensors, rename=NAMES, ignore=IGNORED, flattened=flattened)


@nnx.jit
def logits(model: ViT, images: Any) -> jax.Array:
    """The logits of the model, compiled once for each image size."""
    return model(images)


def main() -> int:
    """Loads the model, compares its outputs, and returns the exit status."""
    options = read_options(__doc__.partition("\n")[0], steps=0, checkpoint="vit")
    folder = options.checkpoint
    model, config = load_model(folder)
    print_size(model, folder.name)
    size, rng = config["image_size"], np.random.default_rng(options.seed)
    images = rng.normal(size=(2, size, size, config["num_channels"])).astype(np.float32)
    if torch := expected_of(folder):
        images = np.moveaxis(torch["in.pixel_values"], 1, -1)
        print_difference(logits(model, images), torch["out.logits"])
    larger = np.repeat(np.repeat(images, 2, axis=1), 2, axis=2)
    for name, shown in (("images", images), ("twice the size", larger)):
        print(f"{name:15}", " ".join(f"{x:7.3f}" for x in logits(model, shown)[0]))
    tensors = load(folder)
    print_kept(to_torch(model, like=tensors, rename=NAMES, ignore=IGNORED), tensors)
    return 0


if __name__ == "__main__":
    sys.exit(main())
