"""ModernBERT from a Hugging Face checkpoint: features of texts, masked words, classes.

    python docs/examples/modernbert.py [CHECKPOINT]

CHECKPOINT is a folder with the config.json and model.safetensors of a ModernBERT (Warner et al.
2024, arXiv:2412.13663). If it is omitted, a tiny model with random weights is loaded. Positions are
rotary, and most layers see only the tokens nearby. The names of the tensors show whether the model
has a head that guesses words, or one for classes. If CHECKPOINT has an expected.npz, outputs are
compared with PyTorch's. The program needs linnet.

Shapes: B batch, T time (tokens), W width, V tokens of the vocabulary.
"""

import json
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from configs import ACTIVATIONS, Config
from program import read_options
from reports import print_kept, print_outputs, print_size

from linnet import nnx
from linnet.weights import from_torch, load, to_torch

NAMES = {  # PyTorch's names, and ours
    "model": "",
    "embeddings.norm": "embed_norm",
    "embeddings.tok_embeddings": "embed",
    "layers.0": "first",
    "final_norm": "norm",
    "decoder.bias": "word_bias",
    ".attn_norm": "attention_norm",
    ".attn": "attention",
    ".mlp.Wi": "mlp.gate_up_proj",
    ".mlp.Wo": "mlp.down_proj",
}

# The model ---------------------------------------------------------------------------------------


class Layer(nnx.Module):
    """Attention, then a gated feed-forward layer; both are residual.

    Args:
      config: sizes and options.
      kind: the options of attention in which layers may differ.
      is_first: whether its inputs are the embeddings, which are already normalized.
    """

    def __init__(
        self, config: Config, kind: dict[str, Any], is_first: bool = False, *, rngs: nnx.Rngs
    ) -> None:
        width, heads = config["hidden_size"], config["num_attention_heads"]
        self.attention_norm = None if is_first else norm_of(config, rngs)
        self.attention = nnx.MultiHeadAttention(
            heads,
            width,
            use_bias=config.get("attention_bias", False),
            decode=False,
            rngs=rngs,
            **kind,
        )
        self.mlp_norm = norm_of(config, rngs)
        self.mlp = nnx.GLU(
            width,
            config["intermediate_size"],
            activation=config.one_of("hidden_activation", ACTIVATIONS, "gelu"),
            use_bias=config.get("mlp_bias", False),
            rngs=rngs,
        )

    def __call__(self, x: jax.Array, mask: jax.Array | None) -> jax.Array:
        """The features [B, T, W], given the previous layer's; `mask` is [B, 1, T, T]."""
        y = x if self.attention_norm is None else self.attention_norm(x)
        x = x + self.attention(y, mask=mask)
        return x + self.mlp(self.mlp_norm(x))


class Head(nnx.Module):
    """A dense layer, an activation and a normalization, before words or classes are chosen."""

    def __init__(self, config: Config, *, rngs: nnx.Rngs) -> None:
        width, biased = config["hidden_size"], config.get("classifier_bias", False)
        self.dense = nnx.Linear(width, width, use_bias=biased, rngs=rngs)
        self.act = config.one_of("classifier_activation", ACTIVATIONS, "gelu")
        self.norm = norm_of(config, rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """[..., W], as given."""
        return self.norm(self.act(self.dense(x)))


class ModernBert(nnx.Module):
    """Features of tokens, logits of words, or logits of a text's or its tokens' classes.

    Args:
      config: sizes and options.
      tensors: the checkpoint's tensors, whose names say which parts the model has.
    """

    def __init__(self, config: Config, tensors: Mapping[str, Any], *, rngs: nnx.Rngs) -> None:
        width, words = config["hidden_size"], config["vocab_size"]
        self.embed = nnx.Embed(words, width, rngs=rngs)
        self.embed_norm, self.norm = norm_of(config, rngs), norm_of(config, rngs)
        first, *kinds = kinds_of(config)
        self.first = Layer(config, first, is_first=True, rngs=rngs)
        period = next(
            kinds[:k] for k in range(1, len(kinds) + 1) if kinds == kinds[:k] * (len(kinds) // k)
        )
        layers: Any = [partial(Layer, config, kind) for kind in period]
        self.layers: nnx.Repeat[Any] = nnx.Repeat(layers, len(kinds), rngs=rngs)
        has_head, classifies = "head.dense.weight" in tensors, "classifier.weight" in tensors
        self.head = Head(config, rngs=rngs) if has_head else None
        self.word_bias: nnx.Param[jax.Array] | None = None
        if has_head and not classifies:
            config.one_of("tie_word_embeddings", [True], True)
            biased = config.get("decoder_bias", True)
            self.word_bias = nnx.Param(jnp.zeros(words)) if biased else None
        config.knows("classifier_bias", "classifier_activation", "decoder_bias")
        self.classifier = nnx.Linear(width, config.classes, rngs=rngs) if classifies else None
        kind = (config.get("architectures") or [""])[0]
        self.of_texts = not kind.endswith("ForTokenClassification")
        self.pooling = config.one_of("classifier_pooling", ["cls", "mean"], "cls")

    def features(self, tokens: Any, is_real: Any = None) -> jax.Array:
        """The features [B, T, W] of `tokens` [B, T]; `is_real` [B, T] is 0 for padding."""
        mask = None
        if is_real is not None:
            mask = nnx.make_attention_mask(jnp.ones_like(tokens), jnp.asarray(is_real))
        x = self.first(self.embed_norm(self.embed(jnp.asarray(tokens))), mask)
        return self.norm(self.layers(x, mask))

    def __call__(self, tokens: Any, is_real: Any = None) -> jax.Array:
        """The logits of words [B, T, V], or of classes; without a head, the features [B, T, W]."""
        x = self.features(tokens, is_real)
        if self.head is None:
            return x
        if self.classifier is None:
            y = self.embed.attend(self.head(x))
            return y if self.word_bias is None else y + self.word_bias
        if self.of_texts and self.pooling == "mean":
            real = None if is_real is None else jnp.asarray(is_real)[..., None] > 0
            x = x.mean(axis=1, where=real)
        elif self.of_texts:
            x = x[:, 0]
        return self.classifier(self.head(x))


def norm_of(config: Config, rngs: nnx.Rngs) -> nnx.LayerNorm:
    """A normalization layer."""
    epsilon, biased = config.get("norm_eps", 1e-5), config.get("norm_bias", False)
    return nnx.LayerNorm(config["hidden_size"], epsilon=epsilon, use_bias=biased, rngs=rngs)


def kinds_of(config: Config) -> list[dict[str, Any]]:
    """The options of attention in each layer: rotary positions, and a window or None."""
    every, half = config.get("global_attn_every_n_layers", 3), config["local_attention"] // 2
    count = config["num_hidden_layers"]
    kinds = config.get("layer_types") or [
        "sliding_attention" if i % every else "full_attention" for i in range(count)
    ]
    if len(kinds) != count:
        raise ValueError(f"config.json has {len(kinds)} layer_types for {count} layers.")
    bases = {
        "full_attention": config.get("global_rope_theta", 160_000.0),
        "sliding_attention": config.get("local_rope_theta", 10_000.0),
    }
    found = []
    for kind in kinds:
        if kind not in bases:
            raise ValueError(f"config.json has {kind!r} in layer_types, which isn't computed here.")
        rope = config.get("rope_parameters") or {"rope_theta": bases[kind], "rope_type": "default"}
        rotary = nnx.rotary_from_config({**config, "rope_parameters": rope}, kind)
        window = (half + 1, half + 1) if kind == "sliding_attention" else None
        found.append({"rotary": rotary, "window": window})
    return found


def names_of(config: Mapping[str, Any]) -> dict[str, str]:
    """The renames for `from_torch` and `to_torch`; the first layer is stored separately."""
    rest = range(1, config["num_hidden_layers"])
    return NAMES | {f"layers.{i}": f"layers.{i - 1}" for i in rest}


def load_model(folder: Path) -> tuple[ModernBert, Mapping[str, Any]]:
    """The model of a folder, and its config.json."""
    config = json.loads((folder / "config.json").read_text("utf-8"))
    return filled(config, load(folder)), config


def filled(config: Mapping[str, Any], tensors: Mapping[str, Any]) -> ModernBert:
    """The model with these values."""
    known = Config(config, "modernbert.py", ["modernbert"])
    model = nnx.eval_shape(lambda: ModernBert(known, tensors, rngs=nnx.Rngs(0)))
    known.check()
    return from_torch(model, tensors, rename=names_of(config))


@nnx.jit
def outputs(model: ModernBert, tokens: Any, is_real: Any = None) -> jax.Array:
    """The outputs of the model, compiled once for texts of one size."""
    return model(tokens, is_real)


def main() -> int:
    """Loads the model, compares its outputs, and returns the exit status."""
    options = read_options(__doc__.partition("\n")[0], steps=0, checkpoint="modernbert")
    folder = options.checkpoint
    model, config = load_model(folder)
    print_size(model, folder.name)
    words = model.embed.num_embeddings
    print_outputs(partial(outputs, model), words, folder, options.seed)
    tensors = load(folder)
    print_kept(to_torch(model, like=tensors, rename=names_of(config)), tensors)
    return 0


if __name__ == "__main__":
    sys.exit(main())
