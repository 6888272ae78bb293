"""BART and its relatives from a Hugging Face checkpoint: reads a text and writes another.

    python docs/examples/bart.py [CHECKPOINT]

CHECKPOINT is a folder with the config.json and model.safetensors of a BART (Lewis et al. 2019,
arXiv:1910.13461), mBART (arXiv:2001.08210), Marian (arXiv:1804.00344) or Pegasus
(arXiv:1912.08777) model. If it is omitted, a tiny model with random weights is loaded. The models
differ in where they normalize, and in whether positions are learned or sines and cosines. The keys
and values of the text that is read are computed once; those of the one that is written are in a
cache. If CHECKPOINT has an expected.npz, outputs are compared with PyTorch's. The program needs
linnet.

Shapes: B batch, S tokens to read, T tokens to write, W width, H heads, D depth of a head, L layers,
V tokens of the vocabulary.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
import whisper
from configs import Config
from llama import Ids, tokens_in
from program import read_options
from reports import expected_of, print_difference, print_kept, print_size

from linnet import nnx
from linnet.weights import from_torch, load, to_torch

NAMES = whisper.NAMES | {"{stack}.layernorm_embedding": "{stack}.embed_norm"}
FAMILIES = ("bart", "mbart", "marian", "pegasus")
BEFORE = ("mbart", "pegasus")  # normalize a layer's input; others its output
SKIPPED = {"bart": 2, "mbart": 2}  # rows of the table of positions, before the first position's
Memory: TypeAlias = tuple[jax.Array, jax.Array]
"""Keys and values [L, B, S, H, D] of the encoder's features, in each layer of the decoder."""

# The model ---------------------------------------------------------------------------------------


class Layer(whisper.Layer):
    """Attention, in the decoder also to the encoder's features, then two dense layers."""

    def __init__(self, config: Config, stack: str, *, rngs: nnx.Rngs) -> None:
        super().__init__(config, stack, rngs=rngs)
        self.normalizes_first = config["model_type"] in BEFORE

    def __call__(
        self,
        x: jax.Array,
        *,
        memory: Memory | None,
        is_causal: bool,
        mask: jax.Array | None = None,
        read: jax.Array | None = None,
    ) -> jax.Array:
        """The features [B, T, W], given the previous layer's.

        Args:
          x: [B, T, W].
          memory: in the decoder, keys and values [B, S, H, D] of the encoder's features.
          is_causal: whether position t attends only to positions up to t.
          mask: in the encoder, True for tokens that are not padding, [B, 1, 1, S].
          read: the same in the decoder, for the text that was read.
        """

        def of_memory(x: jax.Array) -> jax.Array:
            assert self.cross is not None
            assert memory is not None
            return self.cross.out(
                nnx.dot_product_attention(self.cross.query(x), *memory, mask=read)
            )

        parts: list[tuple[Any, Any]] = [
            (self.attention_norm, partial(self.attention, is_causal=is_causal, mask=mask))
        ]
        if self.cross is not None:
            parts.append((self.cross_norm, of_memory))
        for norm, layer in (*parts, (self.mlp_norm, self.mlp)):
            x = x + layer(norm(x)) if self.normalizes_first else norm(x + layer(x))
        return x


class Stack(nnx.Module):
    """The encoder or the decoder.

    Args:
      config: sizes and options.
      stack: "encoder" or "decoder".
      parts: the names of tensors, which show which parts exist.
    """

    def __init__(self, config: Config, stack: str, parts: str, *, rngs: nnx.Rngs) -> None:
        width, family = config["d_model"], config["model_type"]
        norm = partial(nnx.LayerNorm, width, epsilon=1e-5, rngs=rngs)
        self.skipped = SKIPPED.get(family, 0)
        count = config["max_position_embeddings"] + self.skipped
        stored = f"{stack}.embed_positions." in parts  # otherwise, they are computed
        self.embed_positions = nnx.Embed(count, width, rngs=rngs) if stored else None
        self.embed_norm = norm() if "layernorm_embedding" in parts else None
        layers, per_layer = config[f"{stack}_layers"], ["memory"] if stack == "decoder" else []
        self.layers = nnx.Repeat(Layer, layers, config, stack, per_layer=per_layer, rngs=rngs)
        self.norm = norm() if f"{stack}.layer_norm." in parts else None

    def __call__(self, x: jax.Array, first: Any = 0, **options: Any) -> jax.Array:
        """The features [B, T, W] of embeddings [B, T, W], which begin at position `first`."""
        at = first + jnp.arange(x.shape[1])
        if self.embed_positions is None:
            x = x + waves(at, x.shape[-1])
        else:
            x = x + self.embed_positions(self.skipped + at)
        x = x if self.embed_norm is None else self.embed_norm(x)
        x = self.layers(x, **options)
        return x if self.norm is None else self.norm(x)


def waves(positions: jax.Array, width: int) -> jax.Array:
    """The sines, then the cosines of positions [T] at several frequencies: [T, W]."""
    angles = positions[:, None] * 10_000.0 ** (-jnp.arange(0, width, 2) / width)
    return jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], axis=-1)


class Bart(nnx.Module):
    """Reads a text, and predicts each next token of another."""

    def __init__(self, config: Config, parts: str, *, rngs: nnx.Rngs) -> None:
        words, width = config["vocab_size"], config["d_model"]
        config.one_of("decoder_vocab_size", (None, words))
        config.knows("num_hidden_layers")
        self.shared = nnx.Embed(words, width, rngs=rngs)
        self.encoder = Stack(config, "encoder", parts, rngs=rngs)
        self.decoder = Stack(config, "decoder", parts, rngs=rngs)
        self.final_logits_bias = nnx.Param(jnp.zeros((1, words)))
        self.factor = width**0.5 if config.get("scale_embedding") else 1.0

    def encode(self, tokens: Ids, is_real: Ids | None = None) -> Memory:
        """What the decoder looks up in `tokens` [B, S]; `is_real` [B, S] is 0 for padding."""
        x = self.shared(jnp.asarray(tokens)) * self.factor
        x = self.encoder(x, memory=None, is_causal=False, mask=_mask(is_real))

        def keys_and_values(cross: nnx.MultiHeadAttention, x: jax.Array) -> Memory:
            return cross.key(x), cross.value(x)

        cross: Any = self.decoder.layers.block.cross  # of all layers, stacked
        return nnx.vmap(keys_and_values, in_axes=(0, None))(cross, x)

    def decode(
        self, tokens: Ids, memory: Memory, is_real: Ids | None = None, first: Any = 0
    ) -> jax.Array:
        """The logits [B, T, V] for `tokens` [B, T] from position `first` on."""
        x = self.shared(jnp.asarray(tokens)) * self.factor
        x = self.decoder(x, first, memory=memory, is_causal=True, read=_mask(is_real))
        return self.shared.attend(x) + self.final_logits_bias

    def __call__(self, tokens: Ids, outputs: Ids, is_real: Ids | None = None) -> jax.Array:
        """The logits [B, T, V] for `outputs` [B, T], after reading `tokens` [B, S]."""
        return self.decode(outputs, self.encode(tokens, is_real), is_real)


def _mask(is_real: Ids | None) -> jax.Array | None:
    return None if is_real is None else jnp.asarray(is_real)[:, None, None, :]


def load_model(folder: Path) -> tuple[Bart, Mapping[str, Any]]:
    """The model of a folder, and its config.json."""
    config = json.loads((folder / "config.json").read_text("utf-8"))
    return filled(config, load(folder)), config


def filled(config: Mapping[str, Any], tensors: Mapping[str, Any]) -> Bart:
    """The model with these values."""
    known = Config(config, "bart.py", FAMILIES)
    model = nnx.eval_shape(lambda: Bart(known, " ".join(tensors), rngs=nnx.Rngs(0)))
    known.check()
    return from_torch(model, tensors, rename=NAMES)


# Writing -----------------------------------------------------------------------------------------


@nnx.jit
def logits(model: Bart, tokens: Ids, outputs: Ids) -> jax.Array:
    """The model's logits for `tokens` [B, S] and `outputs` [B, T]: [B, T, V]."""
    return model(tokens, outputs)


@nnx.jit
def encode(model: Bart, tokens: Ids, is_real: Ids) -> Memory:
    """What the decoder looks up in `tokens` [B, S]."""
    return model.encode(tokens, is_real)


@nnx.jit
def next_tokens(writer: Bart, tokens: Ids, memory: Memory, is_real: Ids, first: Any) -> jax.Array:
    """The likeliest tokens [B] after `tokens` [B, 1] at position `first`; these enter the cache."""
    return writer.decode(tokens, memory, is_real, first)[:, -1].argmax(-1)


def write(model: Bart, texts: Sequence[np.ndarray], start: int, count: int) -> np.ndarray:
    """The likeliest `count` tokens for each text, which may differ in length: [B, count]."""
    longest = max(len(text) for text in texts)
    tokens = np.stack([np.pad(text, (0, longest - len(text))) for text in texts])
    is_real = np.stack([np.arange(longest) < len(text) for text in texts])
    memory = encode(model, tokens, is_real)
    own = nnx.All(nnx.PathContains("decoder"), nnx.Not(nnx.PathContains("cross")))
    size: dict[str, Any] = {"batch_size": len(texts), "max_length": count}
    writer = nnx.view(model, decode=True, only=own, **size)
    written = [jnp.full(len(texts), start)]
    for i in range(count):
        written.append(next_tokens(writer, written[-1][:, None], memory, is_real, i))
    return np.stack(written[1:], axis=1)


def main() -> int:
    """Loads the model, compares outputs, writes a text, and returns the exit status."""
    options = read_options(__doc__.partition("\n")[0], steps=0, checkpoint="bart")
    folder = options.checkpoint
    model, config = load_model(folder)
    print_size(model, folder.name)
    rng, start = np.random.default_rng(options.seed), config["decoder_start_token_id"]
    texts = list(rng.integers(3, config["vocab_size"], (2, 8)))
    if torch := expected_of(folder):
        texts, outputs = list(torch["in.input_ids"]), torch["in.decoder_input_ids"]
        print_difference(logits(model, np.stack(texts), outputs), torch["out.logits"])
    texts[1] = texts[1][:-3]
    print("writes    ", tokens_in(write(model, texts, start, 12)))
    tensors = load(folder)
    print_kept(to_torch(model, like=tensors, rename=NAMES), tensors)
    return 0


if __name__ == "__main__":
    sys.exit(main())
