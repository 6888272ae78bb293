"""wav2vec 2.0, HuBERT and WavLM from a Hugging Face checkpoint: features and letters of speech.

    python docs/examples/wav2vec2.py [CHECKPOINT]

CHECKPOINT is a folder with the config.json and model.safetensors of a wav2vec 2.0 (Baevski et al.
2020, arXiv:2006.11477), a HuBERT (Hsu et al. 2021, arXiv:2106.07447) or a WavLM (Chen et al. 2021,
arXiv:2110.13900), whose attention also depends on distances. If it is omitted, a tiny model with
random weights is loaded. Convolutions turn the samples of a sound into frames, a
transformer encodes these, and a model for transcription returns the logits of each frame's letter
(CTC, Graves et al. 2006). If CHECKPOINT has an expected.npz, outputs are compared with PyTorch's.
The program needs linnet.

Shapes: B sounds, S samples, T frames, C channels, W width, V letters.
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
from linnet.module_core.layers.torch_layout import Layout, same
from linnet.weights import from_torch, load, to_torch

NAMES = {  # PyTorch's names, and ours
    **dict.fromkeys(("wav2vec2", "hubert", "wavlm"), ""),
    "encoder.layers.0.attention.rel_attn_embed": "distances",
    ".attention.gru_rel_pos_linear": "gate.linear",
    ".attention.gru_rel_pos_const": "gate.factor",
    "feature_extractor.conv_layers": "convolutions",
    "feature_projection": "project",
    "encoder.pos_conv_embed.conv": "positions",
    "encoder.layer_norm": "norm",
    "encoder.layers": "layers",
    "lm_head": "head",
    ".layer_norm": "norm",
    ".final_layer_norm": "mlp_norm",
    ".feed_forward.intermediate_dense": "mlp.layers.0",
    ".feed_forward.output_dense": "mlp.layers.1",
}
# The replacement for masked frames in training, and other parts that only training needs.
IGNORED = ["*masked_spec_embed", "quantizer.*", "project_q.*", "project_hid.*"]
FAMILIES = ("wav2vec2", "hubert", "wavlm")

# The model ---------------------------------------------------------------------------------------


class Frames(nnx.Module):
    """A convolution that shortens the sound, a normalization, and an activation.

    Args:
      config: sizes and options.
      i: the number of the convolution, from 0.
    """

    def __init__(self, config: Config, i: int, *, rngs: nnx.Rngs) -> None:
        into, out = [1, *config["conv_dim"]][i : i + 2]
        self.window, self.stride = config["conv_kernel"][i], config["conv_stride"][i]
        self.conv = nnx.Conv(
            into,
            out,
            (self.window,),
            strides=self.stride,
            padding="VALID",
            use_bias=config.get("conv_bias", False),
            rngs=rngs,
        )
        self.norm: Any = None
        if config.one_of("feat_extract_norm", ["group", "layer"]) == "layer":
            self.norm = nnx.LayerNorm(out, epsilon=1e-5, rngs=rngs)
        elif i == 0:  # each channel over all samples
            self.norm = nnx.GroupNorm(out, out, epsilon=1e-5, rngs=rngs)
        self.act = config.one_of("feat_extract_activation", ACTIVATIONS)

    def __call__(self, x: jax.Array) -> jax.Array:
        """[B, T, C] to [B, T / stride, out]."""
        x = self.conv(x)
        return self.act(x if self.norm is None else self.norm(x))

    def length(self, before: Any) -> Any:
        """The number of frames that the window covers."""
        return (before - self.window) // self.stride + 1


class Positions(nnx.Module):
    """Features of a frame's surroundings: a convolution of a wide window, in groups of channels.

    The kernel has a length for each step of the window (weight normalization, arXiv:1602.07868).
    """

    __torch_layout__ = Layout(
        (
            same("parametrizations.weight.original0|weight_g", "lengths"),
            same("parametrizations.weight.original1|weight_v", "directions"),
        )
    )

    def __init__(self, config: Config) -> None:
        width, window = config["hidden_size"], config["num_conv_pos_embeddings"]
        self.groups = config["num_conv_pos_embedding_groups"]
        self.lengths = nnx.Param(jnp.ones((1, 1, window)))
        self.directions = nnx.Param(jnp.ones((width, width // self.groups, window)))
        self.bias = nnx.Param(jnp.zeros(width))
        self.act = config.one_of("feat_extract_activation", ACTIVATIONS)

    def __call__(self, x: jax.Array) -> jax.Array:
        """[B, T, W], as given."""
        v = self.directions[...]
        kernel = v * self.lengths[...] / jnp.linalg.norm(v, axis=(0, 1), keepdims=True)
        half = v.shape[-1] // 2
        y = jax.lax.conv_general_dilated(
            x,
            kernel.transpose(2, 1, 0),
            window_strides=(1,),
            padding=[(half, v.shape[-1] - 1 - half)],
            dimension_numbers=("NTC", "TIO", "NTC"),
            feature_group_count=self.groups,
        )
        return self.act(y + self.bias[...])


class Project(nnx.Module):
    """From the channels of the last convolution to the width of the transformer."""

    def __init__(self, config: Config, *, rngs: nnx.Rngs) -> None:
        channels = config["conv_dim"][-1]
        normalizes = config.get("feat_proj_layer_norm", True)
        epsilon = config["layer_norm_eps"]
        self.norm = nnx.LayerNorm(channels, epsilon=epsilon, rngs=rngs) if normalizes else None
        self.projection = nnx.Linear(channels, config["hidden_size"], rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """[B, T, C] to [B, T, W]."""
        return self.projection(x if self.norm is None else self.norm(x))


class Gate(nnx.Module):
    """How much the distances from a query count: 2 + a · (b · factor - 1), a and b in [0, 1]."""

    def __init__(self, heads: int, width: int, *, rngs: nnx.Rngs) -> None:
        self.heads = heads
        self.linear = nnx.Linear(width // heads, 8, rngs=rngs)
        self.factor = nnx.Param(jnp.ones((1, heads, 1, 1)))

    def __call__(self, x: jax.Array) -> jax.Array:
        """[B, H, T, 1] for features [B, T, W]."""
        y = self.linear(x.reshape(*x.shape[:2], self.heads, -1))  # [B, T, H, 8]
        a, b = jnp.moveaxis(nnx.sigmoid(y.reshape(*y.shape[:3], 2, 4).sum(-1)), -1, 0)
        a, b = a.swapaxes(1, 2)[..., None], b.swapaxes(1, 2)[..., None]
        return 2 + a * (b * self.factor[...] - 1)


class Layer(nnx.Module):
    """Attention, then two dense layers; both are residual, and normalized before or after."""

    def __init__(self, config: Config, *, rngs: nnx.Rngs) -> None:
        width, heads = config["hidden_size"], config["num_attention_heads"]
        norm = partial(nnx.LayerNorm, width, epsilon=config["layer_norm_eps"], rngs=rngs)
        act = config.one_of("hidden_act", ACTIVATIONS)
        self.norm, self.mlp_norm = norm(), norm()
        self.attention = nnx.MultiHeadAttention(heads, width, decode=False, rngs=rngs)
        self.mlp = nnx.MLP(width, config["intermediate_size"], activation=act, rngs=rngs)
        self.gate: Any = None
        if config["model_type"] == "wavlm":
            self.gate = Gate(heads, width, rngs=rngs)
        self.normalizes_first = config.get("do_stable_layer_norm", False)

    def __call__(self, x: jax.Array, mask: jax.Array | None, distances: Any) -> jax.Array:
        """The features [B, T, W], given the previous layer's; `distances` is [1, H, T, T]."""

        def attention(x: jax.Array) -> jax.Array:
            bias = None if self.gate is None else self.gate(x) * distances
            return self.attention(x, mask=mask, bias=bias)

        layers: Any = ((self.norm, attention), (self.mlp_norm, self.mlp))
        for norm, layer in layers:
            x = x + layer(norm(x)) if self.normalizes_first else norm(x + layer(x))
        return x


class Wav2Vec2(nnx.Module):
    """Features of speech, and the logits of its letters if the model has a head.

    Args:
      config: sizes and options.
      letters: V; 0 without a head.
    """

    def __init__(self, config: Config, letters: int, *, rngs: nnx.Rngs) -> None:
        width = config["hidden_size"]
        config.knows("num_feat_extract_layers")
        count = len(config["conv_dim"])
        self.convolutions = nnx.List([Frames(config, i, rngs=rngs) for i in range(count)])
        self.project = Project(config, rngs=rngs)
        self.positions = Positions(config)
        self.norm = nnx.LayerNorm(width, epsilon=config["layer_norm_eps"], rngs=rngs)
        self.layers = nnx.Repeat(Layer, config["num_hidden_layers"], config, rngs=rngs)
        self.distances: Any = None
        if config["model_type"] == "wavlm":
            self.distances = nnx.RelativePositionBias(
                config["num_attention_heads"],
                config["num_buckets"],
                bidirectional=True,
                max_distance=config["max_bucket_distance"],
                rngs=rngs,
            )
        self.normalizes_last = config.get("do_stable_layer_norm", False)
        self.head = nnx.Linear(width, letters, rngs=rngs) if letters else None

    def features(self, sounds: Any, lengths: Any = None) -> jax.Array:
        """The features [B, T, W] of `sounds` [B, S], with `lengths` [B] samples each."""
        x, mask = jnp.asarray(sounds)[..., None], None
        for layer in self.convolutions:
            x = layer(x)
            lengths = None if lengths is None else layer.length(lengths)
        x = self.project(x)
        if lengths is not None:
            is_real = jnp.arange(x.shape[1]) < jnp.asarray(lengths)[:, None]  # [B, T]
            x, mask = x * is_real[..., None], is_real[:, None, None]
        x = x + self.positions(x)
        distances = None
        if self.distances is not None:
            every = jnp.arange(x.shape[1])
            distances = self.distances()(every - every[:, None])[None]  # [1, H, T, T]
        if self.normalizes_last:
            return self.norm(self.layers(x, mask, distances))
        return self.layers(self.norm(x), mask, distances)

    def __call__(self, sounds: Any, lengths: Any = None) -> jax.Array:
        """The logits [B, T, V]; without a head, the features [B, T, W]."""
        x = self.features(sounds, lengths)
        return x if self.head is None else self.head(x)


def load_model(folder: Path) -> tuple[Wav2Vec2, Mapping[str, Any]]:
    """The model of a folder, and its config.json."""
    config = json.loads((folder / "config.json").read_text("utf-8"))
    return filled(config, load(folder)), config


def filled(config: Mapping[str, Any], tensors: Mapping[str, Any]) -> Wav2Vec2:
    """The model with these values."""
    known = Config(config, "wav2vec2.py", FAMILIES)
    letters = known["vocab_size"] if "lm_head.weight" in tensors else 0
    model = nnx.eval_shape(lambda: Wav2Vec2(known, letters, rngs=nnx.Rngs(0)))
    known.check()
    return from_torch(model, tensors, rename=NAMES, ignore=IGNORED)


@nnx.jit
def logits(model: Wav2Vec2, sounds: Any, lengths: Any = None) -> jax.Array:
    """The logits of the model, compiled once for sounds of one size."""
    return model(sounds, lengths)


def letters_of(row: np.ndarray, blank: int) -> list[int]:
    """The letters of frames [T], without blanks and repetitions of the previous frame's letter."""
    changes = np.append(True, row[1:] != row[:-1])
    return [int(letter) for letter in row[changes] if letter != blank]


def main() -> int:
    """Loads the model, compares its outputs, and returns the exit status."""
    options = read_options(__doc__.partition("\n")[0], steps=0, checkpoint="wav2vec2")
    folder = options.checkpoint
    model, config = load_model(folder)
    print_size(model, folder.name)
    sounds = np.random.default_rng(options.seed).normal(size=(2, 400)).astype(np.float32)
    if torch := expected_of(folder):
        sounds = torch["in.input_values"]
        print_difference(logits(model, sounds), torch["out.logits"])
    for row in np.asarray(logits(model, sounds).argmax(-1)):
        print("letters   ", *letters_of(row, config["pad_token_id"]))
    tensors = load(folder)
    print_kept(to_torch(model, like=tensors, rename=NAMES, ignore=IGNORED), tensors)
    return 0


if __name__ == "__main__":
    sys.exit(main())
