"""A Swin transformer from a Hugging Face checkpoint: attention within windows that shift.

    python docs/examples/swin.py [CHECKPOINT]

CHECKPOINT is a folder with the config.json and model.safetensors of a Swin (Liu et al. 2021,
arXiv:2103.14030) model. If it is omitted, a tiny model with random weights is loaded. Patches
attend to the others in a window of, say, 7 x 7. In every other layer the windows are shifted by
half their size, so that neighbors meet, and from stage to stage 2 x 2 patches become one. If
CHECKPOINT has an expected.npz, outputs are compared with PyTorch's. The program needs linnet.

Shapes: B batch, H height, W width, C channels: last here, first in PyTorch; S size of a window,
N = S² patches in it, D number of windows in a batch, A heads.
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
    "swin": "",
    "embeddings.patch_embeddings.projection": "patches",
    "embeddings": "",
    "encoder.layers": "stages",
    "layernorm": "last_norm",
    "classifier": "head",
    ".layernorm_before": "attention_norm",
    ".layernorm_after": "mlp_norm",
    ".attention.self.relative_position_bias_table": "table",
    ".attention.self": "attention",
    ".attention.output.dense": "attention.out",
    ".intermediate.dense": "mlp.layers.0",
    ".output.dense": "mlp.layers.1",
}
IGNORED = ["*.relative_position_index"]  # which row of the table is whose, not learned

# The model ---------------------------------------------------------------------------------------


class Block(nnx.Module):
    """Attention within windows, then two dense layers; both are residual.

    Args:
      config: sizes and options.
      channels: C.
      heads: A.
      size: S, of the windows.
      shift: how far the windows are shifted, down and to the right.
    """

    def __init__(
        self,
        config: Config,
        channels: int,
        heads: int,
        size: int,
        shift: int,
        *,
        rngs: nnx.Rngs,
    ) -> None:
        norm = partial(nnx.LayerNorm, channels, epsilon=config["layer_norm_eps"], rngs=rngs)
        hidden, act = int(config["mlp_ratio"] * channels), config.one_of("hidden_act", ACTIVATIONS)
        self.attention_norm, self.mlp_norm = norm(), norm()
        biased = config["qkv_bias"]
        self.attention = nnx.MultiHeadAttention(
            heads, channels, use_bias=biased, use_out_bias=True, decode=False, rngs=rngs
        )
        self.table = nnx.Param(jnp.zeros(((2 * size - 1) ** 2, heads)))  # by distance
        self.mlp = nnx.MLP(channels, hidden, activation=act, rngs=rngs)
        self.size, self.shift = size, shift

    def bias(self) -> jax.Array:
        """What is added to the logits, by the distance between two patches: [1, A, N, N]."""
        at = np.indices((self.size, self.size)).reshape(2, -1)  # rows and columns
        rows, columns = at[:, :, None] - at[:, None] + self.size - 1
        return self.table[...][rows * (2 * self.size - 1) + columns].transpose(2, 0, 1)[None]

    def meet(self, height: int, width: int) -> np.ndarray | None:
        """Whether two patches of a window are neighbors in the image, too: [D / B, 1, N, N].

        A shifted window at the border has patches from the image's opposite side.
        """
        if not self.shift:
            return None
        sides = [np.zeros(n, int) for n in (height, width)]
        for side in sides:
            side[-self.size :] = 1
            side[-self.shift :] = 2
        areas = sides[0][:, None] * 3 + sides[1]
        here = np.asarray(self.cut(areas[None, :, :, None]))[..., 0]  # [D / B, N]
        return (here[:, None, :] == here[:, :, None])[:, None]

    def cut(self, x: Any) -> Any:
        """The windows [D, N, C] of an image [B, H, W, C]."""
        batch, height, width, channels = x.shape
        s = self.size
        x = x.reshape(batch, height // s, s, width // s, s, channels).swapaxes(2, 3)
        return x.reshape(-1, s * s, channels)

    def joined(self, windows: jax.Array, height: int, width: int) -> jax.Array:
        """The image [B, H, W, C] of windows [D, N, C]."""
        s, channels = self.size, windows.shape[-1]
        x = windows.reshape(-1, height // s, width // s, s, s, channels).swapaxes(2, 3)
        return x.reshape(-1, height, width, channels)

    def __call__(self, x: jax.Array) -> jax.Array:
        """The features [B, H, W, C], given the previous layer's."""
        height, width = x.shape[1:3]
        down, right = -height % self.size, -width % self.size  # to whole windows
        y = jnp.pad(self.attention_norm(x), ((0, 0), (0, down), (0, right), (0, 0)))
        y = jnp.roll(y, (-self.shift, -self.shift), (1, 2))
        mask, windows = self.meet(*y.shape[1:3]), self.cut(y)
        of_all = None if mask is None else jnp.tile(mask, (len(x), 1, 1, 1))
        windows = self.attention(windows, mask=of_all, bias=self.bias())
        y = jnp.roll(self.joined(windows, *y.shape[1:3]), (self.shift, self.shift), (1, 2))
        x = x + y[:, :height, :width]
        return x + self.mlp(self.mlp_norm(x))


class Merging(nnx.Module):
    """Halves the image: 2 x 2 patches become one, with twice as many channels."""

    def __init__(self, channels: int, *, rngs: nnx.Rngs) -> None:
        self.norm = nnx.LayerNorm(4 * channels, epsilon=1e-5, rngs=rngs)
        self.reduction = nnx.Linear(4 * channels, 2 * channels, use_bias=False, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """[B, H, W, C] to [B, H / 2, W / 2, 2·C]."""
        x = jnp.pad(x, ((0, 0), (0, x.shape[1] % 2), (0, x.shape[2] % 2), (0, 0)))
        corners = [x[:, i::2, j::2] for j in (0, 1) for i in (0, 1)]  # down, then to the right
        return self.reduction(self.norm(jnp.concatenate(corners, axis=-1)))


class Stage(nnx.Module):
    """Blocks of one size, every other one of them shifted."""

    def __init__(self, config: Config, i: int, *, rngs: nnx.Rngs) -> None:
        channels, depth = config["embed_dim"] * 2**i, config["depths"][i]
        side = config["image_size"] // config["patch_size"] // 2**i
        size = min(config["window_size"], side)
        shift = size // 2 if side > size else 0  # a single window needs none
        block = partial(Block, config, channels, config["num_heads"][i], size, rngs=rngs)
        self.blocks = nnx.List([block(shift * (n % 2)) for n in range(depth)])
        last = i == len(config["depths"]) - 1
        self.downsample = None if last else Merging(channels, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """[B, H, W, C] to [B, H / 2, W / 2, 2·C], in the last stage to [B, H, W, C]."""
        for block in self.blocks:
            x = block(x)
        return x if self.downsample is None else self.downsample(x)


class Swin(nnx.Module):
    """Classifies images."""

    def __init__(self, config: Config, *, rngs: nnx.Rngs) -> None:
        config.knows("num_layers", "hidden_size")
        width, patch, stages = config["embed_dim"], config["patch_size"], len(config["depths"])
        window, channels = (patch, patch), config["num_channels"]
        self.patches = nnx.Conv(channels, width, window, strides=patch, padding="VALID", rngs=rngs)
        self.norm = nnx.LayerNorm(width, epsilon=1e-5, rngs=rngs)
        self.stages = nnx.List([Stage(config, i, rngs=rngs) for i in range(stages)])
        width *= 2 ** (stages - 1)
        self.last_norm = nnx.LayerNorm(width, epsilon=config["layer_norm_eps"], rngs=rngs)
        self.head = nnx.Linear(width, config.classes, rngs=rngs)

    def features(self, images: jax.Array) -> jax.Array:
        """The features [B, H, W, C] of the last stage, for images [B, H, W, C]."""
        x = self.norm(self.patches(images))
        for stage in self.stages:
            x = stage(x)
        return self.last_norm(x)

    def __call__(self, images: jax.Array) -> jax.Array:
        """The logits [B, classes] of images [B, H, W, C]."""
        return self.head(self.features(images).mean((1, 2)))


def load_model(folder: Path) -> Swin:
    """The model of a folder."""
    return filled(json.loads((folder / "config.json").read_text("utf-8")), load(folder))


def filled(config: Mapping[str, Any], tensors: Mapping[str, Any]) -> Swin:
    """The model with these values."""
    known = Config(config, "swin.py", ["swin"])
    model = nnx.eval_shape(lambda: Swin(known, rngs=nnx.Rngs(0)))
    known.check()
    return from_torch(model, tensors, rename=NAMES, ignore=IGNORED)


@nnx.jit
def logits(model: Swin, images: Any) -> jax.Array:
    """The logits of the model, compiled once for images of one size."""
    return model(images)


def main() -> int:
    """Loads the model, compares its outputs, and returns the exit status."""
    options = read_options(__doc__.partition("\n")[0], steps=0, checkpoint="swin")
    folder = options.checkpoint
    model = load_model(folder)
    print_size(model, folder.name)
    config = json.loads((folder / "config.json").read_text("utf-8"))
    shape = 2, config["image_size"], config["image_size"], config["num_channels"]
    images = np.random.default_rng(options.seed).normal(size=shape).astype(np.float32)
    if torch := expected_of(folder):
        images = np.moveaxis(torch["in.pixel_values"], 1, -1)
        print_difference(logits(model, images), torch["out.logits"])
    print("an image  ", " ".join(f"{x:7.3f}" for x in logits(model, images)[0]))
    tensors = load(folder)
    print_kept(to_torch(model, like=tensors, rename=NAMES, ignore=IGNORED), tensors)
    return 0


if __name__ == "__main__":
    sys.exit(main())
