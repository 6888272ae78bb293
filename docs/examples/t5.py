"""A T5 from a Hugging Face checkpoint: encoder, decoder, and generation with a cache.

    python docs/examples/t5.py [CHECKPOINT]

CHECKPOINT is a folder with config.json and model.safetensors, of T5 or T5 1.1 (arXiv:1910.10683).
If it is omitted, a tiny model with random weights is loaded. Positions are learned biases by
distance, in buckets, which all layers of a stack share. The decoder generates text with a cache,
from inputs that differ in length; what it looks up in an input is computed once. If CHECKPOINT has
an expected.npz, outputs are compared with PyTorch's. The program needs linnet.

Shapes: B batch, S tokens of the input, T of the output, W width, H heads, D depth of a head,
L layers, V tokens of the vocabulary.
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
from configs import ACTIVATIONS, Config
from program import read_options
from reports import expected_of, print_difference, print_kept, print_size

from linnet import nnx
from linnet.weights import from_torch, load, to_torch

NAMES = {  # PyTorch's names, and ours
    "lm_head": "head",
    "{stack}.block.0.layer.0.SelfAttention.relative_attention_bias": "{stack}.bias",
    "{stack}.block.{i}": "{stack}.layers.{i}",
    "{stack}.final_layer_norm": "{stack}.norm",
    ".layer.0.SelfAttention": "attention",
    ".layer.0.layer_norm": "attention_norm",
    ".layer.1.EncDecAttention": "cross",
    "decoder.layers.{i}.layer.1.layer_norm": "decoder.layers.{i}.cross_norm",
    ".layer.{n}.layer_norm": "mlp_norm",
    ".layer.{n}.DenseReluDense": "mlp",
    ".wi_0": "gate",
    ".wi_1": "up",
    ".mlp.wi": "mlp.layers.0",
    ".q": "query",
    ".k": "key",
    ".v": "value",
    ".o": "out",
}
IGNORED = ["*EncDecAttention.relative*"]
FAMILIES = ("t5", "mt5")
Ids = jax.Array | np.ndarray
Memory: TypeAlias = tuple[jax.Array, jax.Array]
"""Keys and values [L, B, S, H, D] of the encoder's features, in each layer of the decoder."""

# The model ---------------------------------------------------------------------------------------


class Layer(nnx.Module):
    """Attention, in a decoder also to the encoder's features, then a feed-forward layer."""

    def __init__(self, config: Config, decodes: bool, *, rngs: nnx.Rngs) -> None:
        width, heads = config["d_model"], config["num_heads"]
        norm = partial(nnx.RMSNorm, width, epsilon=config["layer_norm_epsilon"], rngs=rngs)
        attention = partial(
            nnx.MultiHeadAttention,
            heads,
            width,
            qkv_features=heads * config["d_kv"],
            scale=1.0,
            use_bias=False,
            decode=False,
            cache_options=nnx.CacheOptions(per_row=True),
            rngs=rngs,
        )
        kind = config.get("feed_forward_proj", "relu")  # "gated-gelu" means the approximate one
        gated, usual = kind.startswith("gated-"), kind.removeprefix("gated-")
        usual = "gelu_new" if kind == "gated-gelu" else usual
        act = config.one_of("dense_act_fn", ACTIVATIONS, usual)
        mlp: Any = nnx.GLU if gated else nnx.MLP
        self.attention_norm, self.attention = norm(), attention()
        self.cross_norm = norm() if decodes else None
        self.cross = attention() if decodes else None
        self.mlp_norm = norm()
        self.mlp = mlp(width, config["d_ff"], activation=act, use_bias=False, rngs=rngs)

    def __call__(
        self, x: jax.Array, *, memory: Memory | None, read: jax.Array | None, **options: Any
    ) -> jax.Array:
        """The features [B, T, W], given the previous layer's; `options` are attention's.

        Args:
          x: [B, T, W].
          memory: in a decoder, keys and values [B, S, H, D] of the encoder's features.
          read: True for tokens that are not padding, [B, 1, 1, S]; None if none is padding.
          **options: for the attention of a stack to itself.
        """
        x = x + self.attention(self.attention_norm(x), **options)
        if self.cross is not None and self.cross_norm is not None and memory is not None:
            query = self.cross.query(self.cross_norm(x))  # [B, T, H, D]
            found = nnx.dot_product_attention(query, *memory, mask=read, scale=self.cross.scale)
            x = x + self.cross.out(found)
        return x + self.mlp(self.mlp_norm(x))


class Stack(nnx.Module):
    """The encoder or the decoder."""

    def __init__(self, config: Config, decodes: bool, *, rngs: nnx.Rngs) -> None:
        layers = config["num_layers"]
        layers = config.get("num_decoder_layers", layers) if decodes else layers
        self.bias = nnx.RelativePositionBias(
            config["num_heads"],
            config["relative_attention_num_buckets"],
            bidirectional=not decodes,
            max_distance=config.get("relative_attention_max_distance", 128),
            rngs=rngs,
        )
        per_layer = ["memory"] if decodes else []
        self.layers = nnx.Repeat(Layer, layers, config, decodes, rngs=rngs, per_layer=per_layer)
        epsilon = config["layer_norm_epsilon"]
        self.norm = nnx.RMSNorm(config["d_model"], epsilon=epsilon, rngs=rngs)

    def remember(self, features: jax.Array) -> Memory:
        """What all layers look up in the encoder's features [B, S, W]."""

        def keys_and_values(cross: nnx.MultiHeadAttention, x: jax.Array) -> Memory:
            return cross.key(x), cross.value(x)

        cross: Any = self.layers.block.cross  # of all layers, stacked
        return nnx.vmap(keys_and_values, in_axes=(0, None))(cross, features)

    def __call__(
        self,
        x: jax.Array,
        *,
        memory: Memory | None = None,
        read: jax.Array | None = None,
        **options: Any,
    ) -> jax.Array:
        """The features [B, T, W] of embeddings [B, T, W]."""
        options |= {"memory": memory, "read": read, "bias": self.bias()}
        return self.norm(self.layers(x, **options))


class T5(nnx.Module):
    """Reads a text, and predicts each next token of another."""

    def __init__(self, config: Config, has_head: bool, *, rngs: nnx.Rngs) -> None:
        width, words = config["d_model"], config["vocab_size"]
        self.shared = nnx.Embed(words, width, rngs=rngs)
        self.encoder = Stack(config, False, rngs=rngs)
        self.decoder = Stack(config, True, rngs=rngs)
        self.head = nnx.Linear(width, words, use_bias=False, rngs=rngs) if has_head else None
        scales = config.get("scale_decoder_outputs")
        if scales is None:
            scales = config["model_type"] == "t5" and config.get("tie_word_embeddings", True)
        self.factor = width**-0.5 if scales else 1.0

    def encode(self, tokens: Ids, is_real: Ids | None = None) -> Memory:
        """What the decoder looks up in `tokens` [B, S]; `is_real` [B, S] is 0 for padding."""
        features = self.encoder(self.shared(jnp.asarray(tokens)), mask=_mask(is_real))
        return self.decoder.remember(features)

    def decode(self, tokens: Ids, memory: Memory, is_real: Ids | None = None) -> jax.Array:
        """The logits [B, T, V] for `tokens` [B, T], after what `encode` returned."""
        x = self.shared(jnp.asarray(tokens))
        x = self.decoder(x, memory=memory, read=_mask(is_real), is_causal=True)
        x = x * self.factor
        return self.shared.attend(x) if self.head is None else self.head(x)

    def __call__(self, tokens: Ids, outputs: Ids, is_real: Ids | None = None) -> jax.Array:
        """The logits [B, T, V] for `outputs` [B, T], after reading `tokens` [B, S]."""
        return self.decode(outputs, self.encode(tokens, is_real), is_real)


def _mask(is_real: Ids | None) -> jax.Array | None:
    return None if is_real is None else jnp.asarray(is_real)[:, None, None, :]


def names_of(tensors: Mapping[str, Any]) -> dict[str, str]:
    """The renames; the feed-forward layer of T5 1.1 has a gate."""
    gated = any(".wi_0." in name for name in tensors)
    names = NAMES | {".mlp.wo": "mlp.down" if gated else "mlp.layers.1"}
    # Three tensors that are the same; a file may have any of them. Others raise an error.
    shared = ("shared", "encoder.embed_tokens", "decoder.embed_tokens")
    found = [name for name in shared if f"{name}.weight" in tensors]
    return names | ({found[0]: "shared"} if found else {})


def load_model(folder: Path) -> tuple[T5, Mapping[str, Any]]:
    """The model of a folder, and its config.json."""
    config = json.loads((folder / "config.json").read_text("utf-8"))
    return filled(config, load(folder)), config


def filled(config: Mapping[str, Any], tensors: Mapping[str, Any]) -> T5:
    """The model with these values."""
    known = Config(config, "t5.py", FAMILIES)
    model = nnx.eval_shape(lambda: T5(known, "lm_head.weight" in tensors, rngs=nnx.Rngs(0)))
    known.check()
    return from_torch(model, tensors, rename=names_of(tensors), ignore=IGNORED)


# Writing -----------------------------------------------------------------------------------------


@nnx.jit
def logits(model: T5, tokens: Ids, outputs: Ids) -> jax.Array:
    """The logits [B, T, V] for `tokens` [B, S] and `outputs` [B, T]."""
    return model(tokens, outputs)


@nnx.jit
def encode(model: T5, tokens: np.ndarray, is_real: np.ndarray) -> Memory:
    """What the decoder looks up in `tokens` [B, S]."""
    return model.encode(tokens, is_real)


@nnx.jit
def next_tokens(writer: T5, tokens: Ids, memory: Memory, is_real: np.ndarray) -> jax.Array:
    """The likeliest tokens [B] after `tokens` [B, 1], which the cache keeps."""
    return writer.decode(tokens, memory, is_real)[:, -1].argmax(-1)


def write(model: T5, texts: Sequence[np.ndarray], start: int, count: int) -> np.ndarray:
    """The likeliest `count` tokens for each text, which may differ in length: [B, count]."""
    longest = max(len(text) for text in texts)
    tokens = np.stack([np.pad(text, (0, longest - len(text))) for text in texts])
    is_real = np.stack([np.arange(longest) < len(text) for text in texts])
    memory = encode(model, tokens, is_real)
    # Only the decoder's attention to itself has a cache.
    own = nnx.All(nnx.PathContains("decoder"), nnx.Not(nnx.PathContains("cross")))
    size: dict[str, Any] = {"batch_size": len(texts), "max_length": count}
    writer = nnx.view(model, decode=True, only=own, **size)
    written = [jnp.full(len(texts), start)]
    for _ in range(count):
        written.append(next_tokens(writer, written[-1][:, None], memory, is_real))
    return np.stack(written[1:], axis=1)


def main() -> int:
    """Loads the model, compares outputs, generates, and returns the exit status."""
    options = read_options(__doc__.partition("\n")[0], steps=0, checkpoint="t5")
    folder = options.checkpoint
    model, config = load_model(folder)
    print_size(model, folder.name)

    rng, start = np.random.default_rng(options.seed), config["decoder_start_token_id"]
    texts = list(rng.integers(2, config["vocab_size"], (2, 8)))
    if torch := expected_of(folder):
        texts, outputs = list(torch["in.input_ids"]), torch["in.decoder_input_ids"]
        print_difference(logits(model, np.stack(texts), outputs), torch["out.logits"])
    texts[1] = texts[1][:-3]
    written = write(model, texts, start, 12)
    for row in written:
        print("writes    ", " ".join(f"{token:3}" for token in row))
    again = np.full((1, 13), start)
    for i in range(12):  # recomputed for each token, without a cache or padding
        again[:, i + 1] = logits(model, texts[1][None], again)[:, i].argmax(-1)
    same = np.array_equal(again[0, 1:], written[1])
    print(f"           the second row is {'the same' if same else 'DIFFERENT'} without the cache")
    tensors = load(folder)
    print_kept(to_torch(model, like=tensors, rename=names_of(tensors), ignore=IGNORED), tensors)
    return 0


if __name__ == "__main__":
    sys.exit(main())
