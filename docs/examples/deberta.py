"""DeBERTa V1 to V3 from a Hugging Face checkpoint: attention by content and by distance.

    python docs/examples/deberta.py [CHECKPOINT]

CHECKPOINT is a folder with the config.json and model.safetensors of a DeBERTa V1 or V2 (He et al.
2020, arXiv:2006.03654) or V3 (arXiv:2111.09543), which has the layers of V2. If it is omitted, a
tiny model with random weights is loaded. The logit of a query i and a key j is the sum of three
products:

    q(xᵢ)·k(xⱼ) + q(xᵢ)·k(r) + q(r)·k(xⱼ)        r: the embedding of the distance i - j

Large distances share embeddings. The other parts are imported from bert.py. If CHECKPOINT has an
expected.npz, outputs are compared with PyTorch's. The program needs linnet.

Shapes: B batch, T time (tokens), W width, H heads, D depth of a head, R embeddings of distances.
"""

import json
import math
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import bert
import jax
import jax.numpy as jnp
import numpy as np
from configs import ACTIVATIONS, Config
from program import read_options
from reports import print_kept, print_outputs, print_size

from linnet import nnx
from linnet.weights import from_torch, load, to_torch

NAMES = {  # PyTorch's names, and ours
    "deberta": "",
    "encoder.rel_embeddings": "distances",
    "encoder.LayerNorm": "distance_norm",
    "classifier": "head",
    ".query_proj": "query",
    ".key_proj": "key",
    ".value_proj": "value",
    **dict.fromkeys((".pos_key_proj", ".pos_proj"), "key_of_distance"),
    **dict.fromkeys((".pos_query_proj", ".pos_q_proj"), "query_of_distance"),
    ".in_proj": "query_key_value",  # V1 has one matrix, and no bias of the keys
    ".q_bias": "query.bias",
    ".v_bias": "value.bias",
    **bert.NAMES,
}
IGNORED = ["cls.*", "lm_predictions.*", "mask_predictions.*", "*.position_ids"]
FAMILIES = ("deberta", "deberta-v2")

# The model ---------------------------------------------------------------------------------------


class Attention(nnx.MultiHeadAttention):
    """Attention whose logits also depend on distances.

    Args:
      config: sizes and options.
    """

    def __init__(self, config: Config, *, rngs: nnx.Rngs) -> None:
        width, heads = config["hidden_size"], config["num_attention_heads"]
        depth = config.get("attention_head_size") or width // heads
        super().__init__(heads, width, heads * depth, decode=False, rngs=rngs)
        kinds = config.get("pos_att_type") or []
        self.kinds = tuple(kinds.lower().split("|") if isinstance(kinds, str) else kinds)
        if not set(self.kinds) <= {"c2p", "p2c"}:
            raise ValueError(f"pos_att_type is {self.kinds}, expected 'c2p' and 'p2c' only.")
        self.key_of_distance: Any = None
        self.query_of_distance: Any = None
        if not config.get("share_att_key", False):
            linear = partial(nnx.LinearGeneral, width, (heads, depth), rngs=rngs)
            biased = config["model_type"] != "deberta"
            self.key_of_distance = linear(use_bias=biased) if "c2p" in self.kinds else None
            self.query_of_distance = linear() if "p2c" in self.kinds else None

    def attend(
        self, x: jax.Array, mask: jax.Array | None, distances: jax.Array, index: np.ndarray
    ) -> jax.Array:
        """The features [B, T, W], given those of the previous layer.

        Args:
          x: [B, T, W].
          mask: [B, 1, T, T], or None.
          distances: the embeddings, [R, W].
          index: the row of `distances` for each query and key, [T, T].
        """
        query, key, value = self.query(x), self.key(x), self.value(x)  # [B, T, H, D]
        bias, at = jnp.zeros(()), jnp.asarray(index)[None, None]
        if "c2p" in self.kinds:
            of_distance = (self.key_of_distance or self.key)(distances)  # [R, H, D]
            products = jnp.einsum("bqhd,rhd->bhqr", query, of_distance)
            bias = bias + jnp.take_along_axis(products, at, axis=-1)
        if "p2c" in self.kinds:
            of_distance = (self.query_of_distance or self.query)(distances)
            products = jnp.einsum("bkhd,rhd->bhkr", key, of_distance)
            by_key = jnp.take_along_axis(products, at.swapaxes(-1, -2), axis=-1)
            bias = bias + by_key.swapaxes(-1, -2)
        scale = (self.head_dim * (1 + len(self.kinds))) ** -0.5
        bias = jnp.broadcast_to(bias * scale, (len(x), self.num_heads, *index.shape))
        options: dict[str, Any] = {"mask": mask, "bias": bias, "scale": scale}
        return self.out(nnx.dot_product_attention(query, key, value, **options))


class Layer(bert.Layer):
    """Attention, then two dense layers; each adds to its input, and the sum is normalized."""

    def __init__(self, config: Config, *, rngs: nnx.Rngs) -> None:
        super().__init__(config, rngs=rngs)
        self.attention: Attention = Attention(config, rngs=rngs)

    def __call__(self, x: jax.Array, mask: jax.Array | None, *distances: Any) -> jax.Array:
        """The features [B, T, W], given the previous layer's."""
        x = self.attention_norm(x + self.attention.attend(x, mask, *distances))
        return self.mlp_norm(x + self.mlp(x))


class Deberta(nnx.Module):
    """Features of tokens, and the logits of a text if the model classifies.

    Args:
      config: sizes and options.
      tensors: the checkpoint's tensors, whose names show which parts the model has.
    """

    def __init__(self, config: Config, tensors: Mapping[str, Any], *, rngs: nnx.Rngs) -> None:
        parts = " ".join(tensors)
        width, epsilon = config["hidden_size"], config["layer_norm_eps"]
        embed = partial(nnx.Embed, features=width, rngs=rngs)
        norm = partial(nnx.LayerNorm, width, epsilon=epsilon, rngs=rngs)
        config.one_of("embedding_size", (None, width))
        self.word_embeddings = embed(config["vocab_size"])
        last, kinds = config["max_position_embeddings"], config.get("type_vocab_size", 0)
        self.position_embeddings = (
            embed(last) if config.get("position_biased_input", True) else None
        )
        self.token_type_embeddings = embed(kinds) if kinds else None
        self.norm = norm()
        farthest = config.get("max_relative_positions", -1)
        self.farthest = last if farthest < 1 else farthest
        self.buckets = config.get("position_buckets", -1)
        self.span = self.buckets if self.buckets > 0 else self.farthest
        self.distances = embed(2 * self.span)
        kind = config.get("norm_rel_ebd", "none")
        self.distance_norm = norm() if "layer_norm" in kind else None
        self.layers = nnx.Repeat(Layer, config["num_hidden_layers"], config, rngs=rngs)
        act = ACTIVATIONS, "gelu"
        self.act = config.one_of("pooler_hidden_act", *act) if "pooler." in parts else None
        config.knows("pooler_hidden_act", "pooler_hidden_size", "conv_act", "legacy")
        self.pooler = nnx.Linear(width, width, rngs=rngs) if "pooler." in parts else None
        head = partial(nnx.Linear, width, config.classes, rngs=rngs)
        self.head = head() if "classifier." in parts else None

    def features(self, tokens: Any, is_real: Any = None, kinds: Any = None) -> jax.Array:
        """The features [B, T, W] of `tokens` [B, T]; the arguments are those of BERT."""
        tokens = jnp.asarray(tokens)
        x, mask, length = self.word_embeddings(tokens), None, tokens.shape[1]
        if self.position_embeddings is not None:
            x = x + self.position_embeddings(jnp.arange(length))
        if self.token_type_embeddings is not None:
            kinds = jnp.zeros_like(tokens) if kinds is None else jnp.asarray(kinds)
            x = x + self.token_type_embeddings(kinds)
        x = self.norm(x)
        if is_real is not None:
            is_real = jnp.asarray(is_real)
            x = x * is_real[..., None].astype(x.dtype)
            mask = nnx.make_attention_mask(is_real, is_real)
        distances = self.distances.embedding[...]
        if self.distance_norm is not None:
            distances = self.distance_norm(distances)
        apart = np.arange(length)[:, None] - np.arange(length)
        index = np.clip(
            bucket(apart, self.buckets, self.farthest) + self.span, 0, 2 * self.span - 1
        )
        return self.layers(x, mask, distances, index)

    def __call__(self, tokens: Any, is_real: Any = None, kinds: Any = None) -> jax.Array:
        """The logits [B, classes]; without a head, the features [B, T, W]."""
        x = self.features(tokens, is_real, kinds)
        if self.head is None or self.pooler is None or self.act is None:
            return x
        return self.head(self.act(self.pooler(x[:, 0])))


def bucket(apart: np.ndarray, buckets: int, farthest: int) -> np.ndarray:
    """The buckets of distances: exact up to half the number of buckets, logarithmic beyond it."""
    middle = buckets // 2
    far = np.abs(apart) > middle
    if buckets <= 0 or not far.any():
        return apart
    size = np.where(far, np.abs(apart), middle) / middle
    if farthest <= middle + 1:
        raise ValueError(
            f"config.json has position_buckets = {buckets}, and max_relative_positions must be"
            f" greater than {middle + 1}, got {farthest}."
        )
    growth = math.log((farthest - 1) / middle)
    logarithmic = np.ceil(np.log(size) / growth * (middle - 1)) + middle
    return np.where(far, logarithmic * np.sign(apart), apart).astype(int)


def load_model(folder: Path) -> Deberta:
    """The model of a folder."""
    return filled(json.loads((folder / "config.json").read_text("utf-8")), load(folder))


def filled(config: Mapping[str, Any], tensors: Mapping[str, Any]) -> Deberta:
    """The model with these values."""
    known = Config({"layer_norm_eps": 1e-7, **config}, "deberta.py", FAMILIES)
    model = nnx.eval_shape(lambda: Deberta(known, tensors, rngs=nnx.Rngs(0)))
    known.check()
    return from_torch(model, tensors, rename=NAMES, ignore=IGNORED)


@nnx.jit
def outputs(model: Deberta, tokens: Any, is_real: Any = None) -> jax.Array:
    """The outputs of the model, compiled once for texts of one size."""
    return model(tokens, is_real)


def main() -> int:
    """Loads the model, compares its outputs, and returns the exit status."""
    options = read_options(__doc__.partition("\n")[0], steps=0, checkpoint="deberta")
    folder = options.checkpoint
    model = load_model(folder)
    print_size(model, folder.name)
    words = model.word_embeddings.num_embeddings
    print_outputs(partial(outputs, model), words, folder, options.seed)
    tensors = load(folder)
    print_kept(to_torch(model, like=tensors, rename=NAMES, ignore=IGNORED), tensors)
    return 0


if __name__ == "__main__":
    sys.exit(main())
