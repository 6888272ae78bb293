"""Whisper from a Hugging Face checkpoint: transcribes the spectrogram of speech.

    python docs/examples/whisper.py [CHECKPOINT]

CHECKPOINT is a folder with config.json and model.safetensors (Radford et al. 2022,
arXiv:2212.04356). If it is omitted, a tiny model with random weights is loaded. The encoder reads a
spectrogram, and the decoder attends to the encoder's features while it generates the text. The keys
and values of these features are computed once per text; those of the text itself are in a cache.
If CHECKPOINT has an expected.npz, outputs are compared with PyTorch's. The program needs linnet.

Shapes: B batch, F frames of the spectrogram, M its frequencies, S = F / 2 features, T tokens,
W width, H heads, D depth of a head, L layers, V tokens of the vocabulary.
"""

import json
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from configs import ACTIVATIONS, EXACT_GELU, Config
from llama import Ids, tokens_in
from program import read_options
from reports import expected_of, print_difference, print_kept, print_size

from linnet import nnx
from linnet.weights import from_torch, load, to_torch

NAMES = {  # PyTorch's names, and ours
    "model": "",
    "{stack}.layer_norm": "{stack}.norm",
    ".self_attn": "attention",
    ".self_attn_layer_norm": "attention_norm",
    ".encoder_attn": "cross",
    ".encoder_attn_layer_norm": "cross_norm",
    ".final_layer_norm": "mlp_norm",
    ".fc1": "mlp.layers.0",
    ".fc2": "mlp.layers.1",
}
Memory: TypeAlias = tuple[jax.Array, jax.Array]
"""Keys and values [L, B, S, H, D] of the encoder's features, in each layer of the decoder."""

# The model ---------------------------------------------------------------------------------------


class Layer(nnx.Module):
    """Attention (in the decoder, also to the encoder's features), then two dense layers."""

    def __init__(self, config: Config, stack: str, *, rngs: nnx.Rngs) -> None:
        width, heads = config["d_model"], config[f"{stack}_attention_heads"]
        norm = partial(nnx.LayerNorm, width, epsilon=1e-5, rngs=rngs)
        attention = partial(nnx.MultiHeadAttention, heads, width, decode=False, rngs=rngs)
        self.attention_norm, self.attention = norm(), attention()
        self.cross_norm = norm() if stack == "decoder" else None
        self.cross = attention() if stack == "decoder" else None
        self.mlp_norm = norm()
        act = config.one_of("activation_function", ACTIVATIONS)
        self.mlp = nnx.MLP(width, config[f"{stack}_ffn_dim"], activation=act, rngs=rngs)

    def __call__(self, x: jax.Array, *, memory: Memory | None, is_causal: bool) -> jax.Array:
        """The features [B, T, W], given the previous layer's.

        Args:
          x: [B, T, W].
          memory: in the decoder, keys and values [B, S, H, D] of the encoder's features.
          is_causal: whether position t attends only to positions up to t.
        """
        x = x + self.attention(self.attention_norm(x), is_causal=is_causal)
        if self.cross is not None and self.cross_norm is not None and memory is not None:
            query = self.cross.query(self.cross_norm(x))  # [B, T, H, D]
            x = x + self.cross.out(nnx.dot_product_attention(query, *memory))
        return x + self.mlp(self.mlp_norm(x))


class Encoder(nnx.Module):
    """Two convolutions over time, the second with stride 2, then layers of attention."""

    def __init__(self, config: Config, *, rngs: nnx.Rngs) -> None:
        width = config["d_model"]
        conv = partial(nnx.Conv, kernel_size=(3,), padding=1, rngs=rngs)
        self.conv1 = conv(config["num_mel_bins"], width)
        self.conv2 = conv(width, width, strides=2)
        self.embed_positions = nnx.Embed(config["max_source_positions"], width, rngs=rngs)
        self.layers = nnx.Repeat(Layer, config["encoder_layers"], config, "encoder", rngs=rngs)
        self.norm = nnx.LayerNorm(width, epsilon=1e-5, rngs=rngs)
        self.act = EXACT_GELU

    def __call__(self, sound: jax.Array) -> jax.Array:
        """The features [B, S, W] of a spectrogram [B, F, M]."""
        x = self.act(self.conv2(self.act(self.conv1(sound))))
        x = x + self.embed_positions(jnp.arange(x.shape[1]))
        return self.norm(self.layers(x, memory=None, is_causal=False))


class Decoder(nnx.Module):
    """Predicts each next token of the text."""

    def __init__(self, config: Config, *, rngs: nnx.Rngs) -> None:
        embed = partial(nnx.Embed, features=config["d_model"], rngs=rngs)
        self.embed_tokens = embed(config["vocab_size"])
        self.embed_positions = embed(config["max_target_positions"])
        layers: dict[str, Any] = {"per_layer": ["memory"], "rngs": rngs}
        self.layers = nnx.Repeat(Layer, config["decoder_layers"], config, "decoder", **layers)
        self.norm = nnx.LayerNorm(config["d_model"], epsilon=1e-5, rngs=rngs)
        config.one_of("scale_embedding", (None, False))

    def remember(self, features: jax.Array) -> Memory:
        """The keys and values of the encoder's features [B, S, W], for all layers."""

        def keys_and_values(cross: nnx.MultiHeadAttention, x: jax.Array) -> Memory:
            return cross.key(x), cross.value(x)

        cross: Any = self.layers.block.cross  # of all layers, stacked
        return nnx.vmap(keys_and_values, in_axes=(0, None))(cross, features)

    def __call__(self, tokens: Ids, memory: Memory, first: Any = 0) -> jax.Array:
        """The logits [B, T, V] for `tokens` [B, T], which begin at position `first`."""
        x = self.embed_tokens(jnp.asarray(tokens))
        x = x + self.embed_positions(first + jnp.arange(tokens.shape[1]))
        x = self.norm(self.layers(x, memory=memory, is_causal=True))
        return self.embed_tokens.attend(x)


class Whisper(nnx.Module):
    """Transcribes the spectrogram of speech."""

    def __init__(self, config: Config, *, rngs: nnx.Rngs) -> None:
        config.knows("num_hidden_layers")
        self.encoder, self.decoder = Encoder(config, rngs=rngs), Decoder(config, rngs=rngs)

    def __call__(self, sound: Any, tokens: Ids) -> jax.Array:
        """The logits [B, T, V] for `tokens` [B, T], after a spectrogram [B, F, M]."""
        return self.decoder(tokens, self.decoder.remember(self.encoder(sound)))


def load_model(folder: Path) -> tuple[Whisper, Mapping[str, Any]]:
    """The model in a folder, and its config.json."""
    config = json.loads((folder / "config.json").read_text("utf-8"))
    return filled(config, load(folder)), config


def filled(config: Mapping[str, Any], tensors: Mapping[str, Any]) -> Whisper:
    """The model with these values."""
    known = Config(config, "whisper.py", ["whisper"])
    model = nnx.eval_shape(lambda: Whisper(known, rngs=nnx.Rngs(0)))
    known.check()
    return from_torch(model, tensors, rename=NAMES)


# Writing -----------------------------------------------------------------------------------------


@nnx.jit
def logits(model: Whisper, sound: Any, tokens: Ids) -> jax.Array:
    """The model's logits for a spectrogram [B, F, M] and tokens [B, T]: [B, T, V]."""
    return model(sound, tokens)


@nnx.jit
def listen(model: Whisper, sound: Any) -> Memory:
    """The keys and values of a spectrogram [B, F, M], for the decoder."""
    return model.decoder.remember(model.encoder(sound))


@nnx.jit
def next_tokens(decoder: Decoder, tokens: Ids, memory: Memory, first: Any) -> jax.Array:
    """Reads `tokens` [B, T] from position `first` on; returns the likeliest next tokens, [B]."""
    return decoder(tokens, memory, first)[:, -1].argmax(-1)


def write(model: Whisper, sound: Any, prompts: np.ndarray, count: int) -> np.ndarray:
    """Generates `count` tokens [B, count] after the prompts [B, T], which name the language.

    Each is the likeliest one after those before it.

    Args:
      model: the model.
      sound: [B, F, M].
      prompts: [B, T].
      count: the number of tokens to generate.
    """
    memory, (rows, length) = listen(model, sound), prompts.shape
    own = nnx.Not(nnx.PathContains("cross"))  # only attention to the text has a cache
    size: dict[str, Any] = {"batch_size": rows, "max_length": length + count}
    writer = nnx.view(model.decoder, decode=True, only=own, **size)
    written = [next_tokens(writer, prompts, memory, 0)]
    for position in range(length, length + count - 1):
        written.append(next_tokens(writer, written[-1][:, None], memory, position))
    return np.stack(written, axis=1)


def main() -> int:
    """Loads the model, compares outputs, generates, and returns the exit status."""
    options = read_options(__doc__.partition("\n")[0], steps=0, checkpoint="whisper")
    folder = options.checkpoint
    model, config = load_model(folder)
    print_size(model, folder.name)
    rng, start = np.random.default_rng(options.seed), config["decoder_start_token_id"]
    frames = 2 * config["max_source_positions"]
    sound = rng.normal(size=(2, frames, config["num_mel_bins"])).astype(np.float32)
    if torch := expected_of(folder):
        sound = torch["in.input_features"].swapaxes(1, 2)  # PyTorch has time last
        found = logits(model, sound, torch["in.decoder_input_ids"])
        print_difference(found, torch["out.logits"])
    written = write(model, sound, np.full((len(sound), 1), start), 12)
    print("writes    ", tokens_in(written))
    again = np.full((len(sound), 13), start)
    for i in range(12):  # recomputes everything; no logits depend on later tokens
        again[:, i + 1] = logits(model, sound, again)[:, i].argmax(-1)
    same = np.array_equal(again[:, 1:], written)
    print(f"           {'the same' if same else 'DIFFERENT'} without the cache")
    tensors = load(folder)
    print_kept(to_torch(model, like=tensors, rename=NAMES), tensors)
    return 0


if __name__ == "__main__":
    sys.exit(main())
