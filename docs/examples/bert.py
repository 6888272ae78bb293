"""BERT and its relatives from a Hugging Face checkpoint: used to compare sentences.

    python docs/examples/bert.py [CHECKPOINT]

CHECKPOINT is a folder with the config.json and model.safetensors of a BERT, RoBERTa
(arXiv:1907.11692), XLM-R, DistilBERT (arXiv:1910.01108), ELECTRA (arXiv:2003.10555), MPNet
(arXiv:2004.09297), whose logits also depend on distances, or ALBERT (arXiv:1909.11942) model, whose
layers are all the same one. If it is omitted, a tiny model with random weights is loaded. Layers
are traced and compiled once (`nnx.Repeat`), and padding is masked. If CHECKPOINT has an
expected.npz, outputs are compared with PyTorch's. The program needs linnet.

Shapes: B batch, T time (tokens), W width.
"""

import json
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from configs import ACTIVATIONS, Config
from program import read_options
from reports import expected_of, print_kept, print_size

from linnet import nnx
from linnet.weights import from_torch, load, to_torch

NAMES = {  # PyTorch's names, and ours; the first are of models with a head, such as BertForMaskedLM
    **dict.fromkeys(("bert", "roberta", "distilbert", "electra", "albert", "mpnet"), ""),
    "embeddings": "",
    "LayerNorm": "norm",
    **dict.fromkeys(("embeddings_project", "encoder.embedding_hidden_mapping_in"), "project"),
    **dict.fromkeys(("encoder.layer", "transformer.layer"), "layers"),
    "encoder.albert_layer_groups.0.albert_layers.0": "layer",
    "encoder.relative_attention_bias": "bias",
    **dict.fromkeys((".attention.self", ".attention.attn"), "attention"),
    ".attention.output.dense": "attention.out",
    **dict.fromkeys((".attention.output.LayerNorm", ".attention.LayerNorm"), "attention_norm"),
    **dict.fromkeys((".intermediate.dense", ".ffn.lin1"), "mlp.layers.0"),
    **dict.fromkeys((".output.dense", ".ffn.lin2", ".ffn_output"), "mlp.layers.1"),
    "layer.ffn": "layer.mlp.layers.0",
    **dict.fromkeys((".output.LayerNorm", ".full_layer_layer_norm"), "mlp_norm"),
    "pooler.dense": "pooler",
    **{f".{part[0]}_lin": part for part in ("query", "key", "value")},  # DistilBERT
    **{f".{part[0]}": part for part in ("query", "key", "value")},  # MPNet
    **dict.fromkeys((".out_lin", ".o"), "out"),
    ".sa_layer_norm": "attention_norm",
    ".output_layer_norm": "mlp_norm",
}
# Heads that predict words; numbers that aren't learned.
IGNORED = ["cls.*", "*lm_head.*", "vocab_*", "predictions.*", "*_predictions.*", "*.position_ids"]
# Our names of options, and DistilBERT's.
SPELLINGS = {
    "hidden_size": ("dim",),
    "num_hidden_layers": ("n_layers",),
    "num_attention_heads": ("n_heads",),
    "intermediate_size": ("hidden_dim",),
    "hidden_act": ("activation",),
}
SKIPPING = (
    "roberta",
    "xlm-roberta",
    "camembert",
    "mpnet",
)  # positions begin after the padding's
FAMILIES = (*SKIPPING, "bert", "distilbert", "electra", "albert")

# The model ---------------------------------------------------------------------------------------


class Layer(nnx.Module):
    """Attention, then two dense layers; each adds to its input, and the sum is normalized."""

    def __init__(self, config: Config, *, rngs: nnx.Rngs) -> None:
        width = config["hidden_size"]
        norm = partial(nnx.LayerNorm, width, epsilon=config["layer_norm_eps"], rngs=rngs)
        heads, act = config["num_attention_heads"], config.one_of("hidden_act", ACTIVATIONS)
        self.attention = nnx.MultiHeadAttention(heads, width, decode=False, rngs=rngs)
        self.attention_norm = norm()
        self.mlp = nnx.MLP(width, config["intermediate_size"], activation=act, rngs=rngs)
        self.mlp_norm = norm()

    def __call__(self, x: jax.Array, mask: jax.Array | None, bias: Any = None) -> jax.Array:
        """The features [B, T, W], given the previous layer's; `mask` is [B, 1, T, T]."""
        x = self.attention_norm(x + self.attention(x, mask=mask, bias=bias))
        return self.mlp_norm(x + self.mlp(x))


class Outputs(NamedTuple):
    """The output of a BERT.

    Attributes:
      hidden: the features of each token, [B, T, W].
      pooled: those of each text, [B, W]; those of its first token if the model has no pooler.
    """

    hidden: jax.Array
    pooled: jax.Array


class Bert(nnx.Module):
    """Features of texts and of their tokens, each of which sees all the others in its text.

    Args:
      config: sizes and options.
      parts: the names of tensors, which show which parts exist.
    """

    def __init__(self, config: Config, parts: str, *, rngs: nnx.Rngs) -> None:
        width, inner = config["hidden_size"], config.get("embedding_size", config["hidden_size"])
        embed = partial(nnx.Embed, features=inner, rngs=rngs)
        self.word_embeddings = embed(config["vocab_size"])
        self.position_embeddings = embed(config["max_position_embeddings"])
        config.one_of("is_decoder", (None, False))
        has_kinds = "token_type_embeddings" in parts
        self.token_type_embeddings = embed(config["type_vocab_size"]) if has_kinds else None
        self.norm = nnx.LayerNorm(inner, epsilon=config["layer_norm_eps"], rngs=rngs)
        has_project = "embeddings_project" in parts or "embedding_hidden_mapping_in" in parts
        self.project = nnx.Linear(inner, width, rngs=rngs) if has_project else None
        self.count, one = config["num_hidden_layers"], "albert_layers" in parts
        self.layer = Layer(config, rngs=rngs) if one else None
        self.layers: Any = None if one else nnx.Repeat(Layer, self.count, config, rngs=rngs)
        self.pooler = nnx.Linear(width, width, rngs=rngs) if "pooler." in parts else None
        self.bias: Any = None
        if "relative_attention_bias" in parts:
            heads, buckets = config["num_attention_heads"], config["relative_attention_num_buckets"]
            self.bias = nnx.RelativePositionBias(
                heads, buckets, bidirectional=True, max_distance=128, rngs=rngs
            )
        self.padding = config["pad_token_id"] if config["model_type"] in SKIPPING else None

    def __call__(
        self,
        tokens: jax.Array | np.ndarray,
        is_real: jax.Array | np.ndarray | None = None,
        kinds: jax.Array | np.ndarray | None = None,
    ) -> Outputs:
        """Features of `tokens` [B, T].

        Args:
          tokens: [B, T].
          is_real: [B, T], 0 for padding; None if there is none.
          kinds: [B, T], 0 for the first sentence of a pair and 1 for the second; None for 0.
        """
        x = self.word_embeddings(jnp.asarray(tokens))
        if self.token_type_embeddings is not None:
            kinds = jnp.zeros_like(tokens) if kinds is None else jnp.asarray(kinds)
            x = x + self.token_type_embeddings(kinds)
        positions = jnp.arange(tokens.shape[1])
        if self.padding is not None:  # tokens' positions follow it, and padding's equal it
            real = jnp.asarray(tokens) != self.padding
            positions = self.padding + jnp.cumsum(real, axis=1) * real
        x = self.norm(x + self.position_embeddings(positions))
        x = x if self.project is None else self.project(x)
        mask = None
        if is_real is not None:
            mask = nnx.make_attention_mask(jnp.ones_like(tokens), jnp.asarray(is_real))
        if self.layer is None:
            x = self.layers(x, mask, None if self.bias is None else self.bias())
        else:
            for _ in range(self.count):
                x = self.layer(x, mask)
        return Outputs(x, x[:, 0] if self.pooler is None else jnp.tanh(self.pooler(x[:, 0])))


def load_model(folder: Path) -> Bert:
    """The model in a folder; it is created without values, and the folder's are loaded into it."""
    return filled(json.loads((folder / "config.json").read_text("utf-8")), load(folder))


def filled(config: Mapping[str, Any], tensors: Mapping[str, Any]) -> Bert:
    """The model with these values."""
    usual = Config({"layer_norm_eps": 1e-12, **config}, "bert.py", FAMILIES, SPELLINGS)
    model = nnx.eval_shape(lambda: Bert(usual, " ".join(tensors), rngs=nnx.Rngs(0)))
    usual.check()
    return from_torch(model, tensors, rename=NAMES, ignore=IGNORED)


# The program -------------------------------------------------------------------------------------


@nnx.jit
def features(
    model: Bert, tokens: np.ndarray, is_real: np.ndarray, kinds: np.ndarray | None = None
) -> Outputs:
    """The outputs of the model, compiled once for texts of one size."""
    return model(tokens, is_real, kinds)


def text_vectors(model: Bert, texts: list[np.ndarray]) -> np.ndarray:
    """The mean features of texts of different lengths, as unit vectors: [B, W]."""
    longest = max(len(text) for text in texts)
    tokens = np.stack([np.pad(text, (0, longest - len(text))) for text in texts])
    is_real = np.stack([np.arange(longest) < len(text) for text in texts])
    x = np.asarray(features(model, tokens, is_real).hidden)  # [B, T, W]
    mean = (x * is_real[..., None]).sum(1) / is_real.sum(1, keepdims=True)
    return mean / np.linalg.norm(mean, axis=-1, keepdims=True)


def main() -> int:
    """Loads the model, compares its outputs, and returns the exit status."""
    options = read_options(__doc__.partition("\n")[0], steps=0, checkpoint="bert")
    folder = options.checkpoint
    model = load_model(folder)
    print_size(model, folder.name)

    rng = np.random.default_rng(options.seed)
    words = model.word_embeddings.num_embeddings
    if torch := expected_of(folder):
        inputs = [torch[f"in.{key}"] for key in ("input_ids", "attention_mask", "token_type_ids")]
        outputs = features(model, *inputs)
        for name, ours in zip(("last_hidden_state", "pooler_output"), outputs, strict=True):
            error = np.abs(ours - torch[f"out.{name}"]).max()
            print(f"{name:18} differs by {error:.1e} from PyTorch's")

    first = rng.integers(1, words, 12)
    texts = [first, first[:-2], rng.permutation(first), rng.integers(1, words, 12)]
    vectors = text_vectors(model, texts)
    names = ["itself", "without its end", "in a different order", "other words"]
    for name, cosine in zip(names, vectors @ vectors[0], strict=True):
        print(f"{name:18} {cosine:.3f} similar to the first text")
    tensors = load(folder)
    print_kept(to_torch(model, like=tensors, rename=NAMES, ignore=IGNORED), tensors)
    return 0


if __name__ == "__main__":
    sys.exit(main())
