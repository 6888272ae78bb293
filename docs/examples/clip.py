"""CLIP and SigLIP from a Hugging Face checkpoint: how well texts describe images.

    python docs/examples/clip.py [CHECKPOINT]

CHECKPOINT is a folder with the config.json and model.safetensors of a CLIP (Radford et al. 2021,
arXiv:2103.00020) or a SigLIP (Zhai et al. 2023, arXiv:2303.15343) model. If it is omitted, a tiny
model with random weights is loaded. One transformer reads images, another reads texts, and each
returns a vector of length 1; the product of two is large if they belong together. If CHECKPOINT has
an expected.npz, outputs are compared with PyTorch's. The program needs linnet.

Shapes: B images, Q texts, H height, W width, C channels: last here, first in PyTorch; T tokens of
a text or patches of an image, F features, P features of the vectors.
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
    "text_model.head": "text.projection",
    "vision_model.head": "vision.pool",
    "text_model": "text",
    "vision_model": "vision",
    "text_projection": "text.projection",
    "visual_projection": "vision.projection",
    ".embeddings": "",
    ".encoder": "",
    ".pre_layrnorm": "pre_norm",
    **dict.fromkeys((".post_layernorm", ".final_layer_norm"), "norm"),
    ".self_attn": "attention",
    **dict.fromkeys((".layer_norm1", ".layernorm"), "norm1"),
    ".layer_norm2": "norm2",
    ".fc1": "layers.0",
    ".fc2": "layers.1",
}
IGNORED = ["*.position_ids"]
FAMILIES = ("clip", "siglip")

# The model ---------------------------------------------------------------------------------------


class Layer(nnx.Module):
    """Attention, then two dense layers; both are residual."""

    def __init__(self, config: Config, *, rngs: nnx.Rngs) -> None:
        width, act = config["hidden_size"], config.one_of("hidden_act", ACTIVATIONS)
        norm = partial(nnx.LayerNorm, width, epsilon=config["layer_norm_eps"], rngs=rngs)
        heads = config["num_attention_heads"]
        self.norm1, self.norm2 = norm(), norm()
        self.attention = nnx.MultiHeadAttention(heads, width, decode=False, rngs=rngs)
        self.mlp = nnx.MLP(width, config["intermediate_size"], activation=act, rngs=rngs)

    def __call__(self, x: jax.Array, *, is_causal: bool) -> jax.Array:
        """The features [B, T, F], given the previous layer's."""
        x = x + self.attention(self.norm1(x), is_causal=is_causal)
        return x + self.mlp(self.norm2(x))


class Pool(nnx.Module):
    """One vector for an image, in which a learned query collects features of its patches."""

    def __init__(self, config: Config, *, rngs: nnx.Rngs) -> None:
        width, heads = config["hidden_size"], config["num_attention_heads"]
        self.probe = nnx.Param(jnp.zeros((1, 1, width)))
        self.attention = nnx.MultiHeadAttention(heads, width, decode=False, rngs=rngs)
        self.norm1 = nnx.LayerNorm(width, epsilon=config["layer_norm_eps"], rngs=rngs)
        act = config.one_of("hidden_act", ACTIVATIONS)
        self.mlp = nnx.MLP(width, config["intermediate_size"], activation=act, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """[B, F] for features [B, T, F]."""
        query = jnp.broadcast_to(self.probe[...], (len(x), 1, x.shape[-1]))
        y = self.attention(query, x)
        return (y + self.mlp(self.norm1(y)))[:, 0]


class Vision(nnx.Module):
    """The vectors of images.

    Args:
      config: sizes and options.
      features: P.
      is_clip: whether it is CLIP's, with a token for the image as a whole.
    """

    def __init__(self, config: Config, features: int, is_clip: bool, *, rngs: nnx.Rngs) -> None:
        width, patch = config["hidden_size"], config["patch_size"]
        norm = partial(nnx.LayerNorm, width, epsilon=config["layer_norm_eps"], rngs=rngs)
        count = (config["image_size"] // patch) ** 2 + is_clip
        self.class_embedding = nnx.Param(jnp.zeros(width)) if is_clip else None
        self.patch_embedding = nnx.Conv(
            config["num_channels"],
            width,
            (patch, patch),
            strides=patch,
            padding="VALID",
            use_bias=not is_clip,
            rngs=rngs,
        )
        self.position_embedding = nnx.Embed(count, width, rngs=rngs)
        self.pre_norm = norm() if is_clip else None
        self.layers = nnx.Repeat(Layer, config["num_hidden_layers"], config, rngs=rngs)
        self.norm = norm()
        linear = partial(nnx.Linear, width, features, use_bias=False, rngs=rngs)
        self.projection = linear() if is_clip else None
        self.pool = None if is_clip else Pool(config, rngs=rngs)

    def __call__(self, images: jax.Array) -> jax.Array:
        """The vectors [B, P] of images [B, H, W, C]."""
        x = self.patch_embedding(images)
        x = x.reshape(len(x), -1, x.shape[-1])
        if self.class_embedding is not None:
            first = jnp.broadcast_to(self.class_embedding[...], (len(x), 1, x.shape[-1]))
            x = jnp.concatenate([first, x], axis=1)
        x = x + self.position_embedding.embedding[...]
        x = x if self.pre_norm is None else self.pre_norm(x)
        x = self.layers(x, is_causal=False)
        if self.pool is not None:
            return self.pool(self.norm(x))
        x = self.norm(x[:, 0])
        return x if self.projection is None else self.projection(x)


class Text(nnx.Module):
    """The vectors of texts; the arguments are those of `Vision`."""

    def __init__(self, config: Config, features: int, is_clip: bool, *, rngs: nnx.Rngs) -> None:
        width, last = config["hidden_size"], config["max_position_embeddings"]
        self.token_embedding = nnx.Embed(config["vocab_size"], width, rngs=rngs)
        self.position_embedding = nnx.Embed(last, width, rngs=rngs)
        self.layers = nnx.Repeat(Layer, config["num_hidden_layers"], config, rngs=rngs)
        self.norm = nnx.LayerNorm(width, epsilon=config["layer_norm_eps"], rngs=rngs)
        self.projection = nnx.Linear(width, features, use_bias=not is_clip, rngs=rngs)
        self.is_clip, self.end = is_clip, config.get("eos_token_id", 2)

    def __call__(self, tokens: jax.Array | np.ndarray) -> jax.Array:
        """The vectors [Q, P] of tokens [Q, T]."""
        tokens = jnp.asarray(tokens)
        x = self.token_embedding(tokens) + self.position_embedding(jnp.arange(tokens.shape[1]))
        x = self.norm(self.layers(x, is_causal=self.is_clip))
        if not self.is_clip:
            return self.projection(x[:, -1])
        # The text's end. Early configs give 2, although the last token has the largest id.
        ends = tokens if self.end == 2 else tokens == self.end
        at = ends.argmax(-1)
        return self.projection(jnp.take_along_axis(x, at[:, None, None], axis=1)[:, 0])


class Clip(nnx.Module):
    """Compares images with texts."""

    def __init__(self, config: Config, is_clip: bool, *, rngs: nnx.Rngs) -> None:
        vision, text = config.part("vision_config"), config.part("text_config")
        features = config["projection_dim"] if is_clip else vision["hidden_size"]
        for one in (vision, text):
            one.knows("projection_dim")
        text.one_of("projection_size", (None, features))
        self.vision = Vision(vision, features, is_clip, rngs=rngs)
        self.text = Text(text, features, is_clip, rngs=rngs)
        shape = () if is_clip else (1,)
        self.logit_scale = nnx.Param(jnp.zeros(shape))
        self.logit_bias = None if is_clip else nnx.Param(jnp.zeros(shape))

    def __call__(self, images: jax.Array, tokens: jax.Array | np.ndarray) -> jax.Array:
        """The logits [B, Q] of images [B, H, W, C] and texts [Q, T].

        With CLIP, their softmax over the texts is the probability that a text belongs to the image;
        with SigLIP, their sigmoid is the probability that the text and the image belong together.
        """
        of_images, of_texts = unit(self.vision(images)), unit(self.text(tokens))
        y = of_images @ of_texts.T * jnp.exp(self.logit_scale[...])
        return y if self.logit_bias is None else y + self.logit_bias


def unit(x: jax.Array) -> jax.Array:
    """`x` [..., P] with length 1."""
    return x / jnp.linalg.norm(x, axis=-1, keepdims=True)


def load_model(folder: Path) -> Clip:
    """The model of a folder."""
    return filled(json.loads((folder / "config.json").read_text("utf-8")), load(folder))


def filled(config: Mapping[str, Any], tensors: Mapping[str, Any]) -> Clip:
    """The model with these values."""
    known, is_clip = Config(config, "clip.py", FAMILIES), "text_projection.weight" in tensors
    model = nnx.eval_shape(lambda: Clip(known, is_clip, rngs=nnx.Rngs(0)))
    known.check()
    return from_torch(model, tensors, rename=NAMES, ignore=IGNORED)


@nnx.jit
def logits(model: Clip, images: Any, tokens: Any) -> jax.Array:
    """The logits of the model, compiled once for images and texts of one size."""
    return model(images, tokens)


def main() -> int:
    """Loads the model, compares its outputs, and returns the exit status."""
    options = read_options(__doc__.partition("\n")[0], steps=0, checkpoint="clip")
    folder = options.checkpoint
    model = load_model(folder)
    print_size(model, folder.name)
    config = json.loads((folder / "config.json").read_text("utf-8"))
    size, rng = config["vision_config"]["image_size"], np.random.default_rng(options.seed)
    images = rng.normal(size=(2, size, size, 3)).astype(np.float32)
    tokens = rng.integers(0, config["text_config"]["vocab_size"], (3, 8))
    if torch := expected_of(folder):
        images, tokens = np.moveaxis(torch["in.pixel_values"], 1, -1), torch["in.input_ids"]
        print_difference(logits(model, images, tokens), torch["out.logits_per_image"])
    for row in logits(model, images, tokens):
        print("an image  ", " ".join(f"{x:7.3f}" for x in row))
    tensors = load(folder)
    print_kept(to_torch(model, like=tensors, rename=NAMES, ignore=IGNORED), tensors)
    return 0


if __name__ == "__main__":
    sys.exit(main())
