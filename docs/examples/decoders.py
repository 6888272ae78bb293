"""Decoders whose blocks differ from Llama's: attention in parallel with the MLP, and more.

    python docs/examples/decoders.py [CHECKPOINT]

CHECKPOINT is a folder with the config.json and model.safetensors of a model of one of these
families: GPT-NeoX (Pythia), GPT-Neo, GPT-J, CodeGen, Phi 1 to 2, OPT, BioGPT, XGLM, Falcon, BLOOM,
MPT, Persimmon, Nemotron, Cohere's Command R, StableLM, StarCoder 1 and 2, OLMo 1 to 3, EXAONE 4,
GLM 4, ERNIE 4.5, Helium, Arcee, SmolLM 3 and HunYuan's dense models. If it is omitted, a tiny model
with random weights is loaded. One class implements all of them. They differ in

- the normalization, which comes before a layer, after it, or both, with or without mean and bias;
- whether the feed-forward layer reads attention's input or its output (Wang & Komatsuzaki 2021);
- how queries and keys are normalized: each head, or all features together, or after the rotation;
- positions: all or some features of a head are rotated, in pairs of neighbors or of halves, in all
  or some layers; or distances are penalized (ALiBi, arXiv:2108.12409); or positions are embedded,
  by a table or by sines and cosines (XGLM);
- the names of the tensors.

Falcon with penalties is computed as in PyTorch by default, with `attn_implementation="sdpa"`;
"eager" scales differently. The code shared with llama.py is imported from there: reading a
checkpoint and generating text. If CHECKPOINT has an expected.npz, outputs are compared with
PyTorch's.

Shapes: B batch, T time (tokens), W width, H heads, D depth of a head, V tokens of the vocabulary.
"""

import dataclasses
import sys
from collections.abc import Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import llama
from configs import ACTIVATIONS, Config
from llama import Checkpoint, Ids, try_out
from program import read_options
from reports import print_kept

from linnet import nnx
from linnet.module_core.layers.torch_layout import Layout, Rule, divided
from linnet.weights import from_torch, to_torch

IGNORED = ["*.inv_freq", "*.attn.bias", "*.attn.masked_bias", "*.attention.bias", "*.masked_bias"]
IGNORED += ["*.causal_mask", "*.embed_positions.weights"]

NAMES = {  # PyTorch's names, and ours; each family has some of these
    **dict.fromkeys(("model", "transformer", "gpt_neox", "biogpt", "decoder"), ""),
    **dict.fromkeys(("word_embeddings", "embed_in", "wte"), "embed_tokens"),
    "wpe": "embed_positions",
    "word_embeddings_layernorm": "embed_norm",
    **dict.fromkeys(("h", "blocks"), "layers"),
    **dict.fromkeys(
        ("final_layernorm", "final_layer_norm", "layer_norm", "ln_f", "norm_f"), "norm"
    ),
    **dict.fromkeys(("lm_head", "embed_out", "output_projection"), "head"),
    **dict.fromkeys((".attn.attention", ".self_attn", ".self_attention", ".attn"), "attention"),
    **dict.fromkeys((".input_layernorm", ".ln_1", ".ln_attn", ".norm_1"), "attention_norm"),
    ".self_attn_layer_norm": "attention_norm",
    ".post_self_attn_layernorm": "attention_post_norm",
    **dict.fromkeys((".post_attention_layernorm", ".ln_mlp", ".ln_2", ".norm_2"), "mlp_norm"),
    ".final_layer_norm": "mlp_norm",
    **dict.fromkeys((".post_feedforward_layernorm", ".post_mlp_layernorm"), "mlp_post_norm"),
    **dict.fromkeys((".fc1", ".fc_in", ".c_fc", ".dense_h_to_4h"), "layers.0"),
    **dict.fromkeys((".fc2", ".fc_out", ".dense_4h_to_h"), "layers.1"),
    ".mlp.c_proj": "mlp.layers.1",
    **dict.fromkeys((".q_norm", ".q_layernorm"), "query_ln"),
    **dict.fromkeys((".k_norm", ".k_layernorm"), "key_ln"),
    ".query_ln.norms.{n}": "query_ln[{n}]",
    ".key_ln.norms.{n}": "key_ln[{n}]",
    ".query_layernorm": "attention_fn.query_ln",
    ".key_layernorm": "attention_fn.key_ln",
}
OUTPUTS = (".o_proj", ".out_proj", "attn.dense", "attention.dense", "attn.c_proj")
PARALLEL = (
    "phi",
    "gptj",
    "codegen",
    "cohere",
    "cohere2",
)  # other families have an option for this, or never do it
NEIGHBORS = ("gptj", "codegen", "cohere", "cohere2", "glm", "glm4", "ernie4_5", "helium")
PENALIZED = ("bloom", "mpt")  # have penalties for distances; others have an option for it
EMBEDDED = ("opt", "biogpt", "gpt_neo", "gpt_bigcode", "xglm")  # have a table of positions
UNTURNED = (*PENALIZED, *EMBEDDED)
FAMILIES: tuple[str, ...] = (
    "gpt_neox",
    "phi",
    "falcon",
    "persimmon",
    "nemotron",
    "stablelm",
    "starcoder2",
    "olmo",
)
FAMILIES += ("olmo2", "olmo3", "exaone4", "arcee", "smollm3", "hunyuan_v1_dense")
FAMILIES += (*NEIGHBORS, *UNTURNED)
POSITIONS = ("wpe.weight", "embed_positions.weight")
SKIPPED = {
    "opt": 2,
    "biogpt": 2,
    "xglm": 2,
}  # rows of the table of positions, before the first position's
# Our names of options, and those that they have in older configurations.
SPELLINGS = {
    "hidden_size": ("n_embd", "n_embed", "d_model"),
    "num_hidden_layers": ("n_layer", "n_layers", "num_layers"),
    "num_attention_heads": ("n_head", "n_heads", "num_heads", "attention_heads"),
    "intermediate_size": ("n_inner", "ffn_hidden_size", "ffn_dim"),
    "layer_norm_eps": ("layer_norm_epsilon", "norm_epsilon", "norm_eps"),
    "hidden_act": ("activation_function", "activation"),
}

# What a checkpoint says about its model ----------------------------------------------------------


def usual(of: Checkpoint) -> Checkpoint:
    """The checkpoint, with options by their usual names."""
    config = Config(of.config, "decoders.py", FAMILIES, SPELLINGS)
    width, heads = config["hidden_size"], config["num_attention_heads"]
    hidden = int(config.get("expansion_ratio", 4) * width)
    config["intermediate_size"] = config.get("intermediate_size") or hidden
    config.setdefault("hidden_act", "gelu" if config["model_type"] == "mpt" else "gelu_new")
    config["head_dim"] = config.get("head_dim") or width // heads
    if config.get("rotary_dim"):
        config["partial_rotary_factor"] = config["rotary_dim"] / config["head_dim"]
    config.knows("multi_query")
    if config["model_type"] == "falcon" and not config.get("new_decoder_architecture"):
        config["num_kv_heads"] = 1 if config["multi_query"] else heads
        norm = ".post_attention_layernorm."
        if config.get("parallel_attn", True) and of.has(norm):
            raise ValueError(
                f"config.json has parallel_attn = True, and the checkpoint has {norm[1:-1]}, which"
                " PyTorch ignores then. Which is right? Set the option, or leave the tensors out."
            )
    if config["model_type"] == "mpt" and "attn_config" in config:
        inner = config.part("attn_config")
        inner.one_of("alibi", [True], True)
        inner.one_of("alibi_bias_max", [8], 8)
        config.one_of("logit_scale", [None])
        config.update(clip_qkv=inner.get("clip_qkv"))
        config["attention_multiplier"] = inner.get("softmax_scale")
    if config["model_type"] == "gpt_bigcode":
        config["num_kv_heads"] = 1 if config.get("multi_query", True) else heads
    if config["model_type"] == "gpt_neo":
        names = {"global": "full_attention", "local": "sliding_attention"}
        config["layer_types"] = [names[kind] for kind in config["attention_layers"]]
        config.knows("attention_types")  # contains the same information
        config.update(sliding_window=config["window_size"], attention_multiplier=1.0)
    config.setdefault("num_key_value_heads", config.get("num_kv_heads", heads))
    return Checkpoint(config, of.tensors)


def kinds_of(config: Mapping[str, Any], length: int | None = None) -> list[dict[str, Any]]:
    """The options of attention in the first layers, which the layers after them repeat."""
    kinds, family = llama.kinds_of(config, length), config["model_type"]
    every = config.get("no_rope_layer_interval") or 4  # SmolLM 3 leaves positions out
    turns = config.get("no_rope_layers") or [True] * len(kinds)
    if family == "smollm3" and not config.get("no_rope_layers"):
        turns = [(i + 1) % every > 0 for i in range(config["num_hidden_layers"])]
    kinds *= max(1, len(turns) // len(kinds))
    turns *= max(1, len(kinds) // len(turns))
    found = []
    for kind, turned in zip(kinds, turns, strict=True):
        rotary = dataclasses.replace(kind["rotary"], interleaved=family in NEIGHBORS)
        # Layers that see all tokens are fixed, where others have a window.
        fixed = family in ("cohere2", "exaone4") and kind["window"] is None
        fixed = fixed and config.get("sliding_window") is not None
        has_none = fixed or not turned or family in UNTURNED or config.get("alibi")
        found.append({"rotary": None if has_none else rotary, "window": kind["window"]})
    return next(
        found[:k] for k in range(1, len(found) + 1) if found == found[:k] * (len(found) // k)
    )


def norm_of(of: Checkpoint, rngs: nnx.Rngs) -> Any:
    """A constructor of the normalization layers."""
    rest: dict[str, Any] = {"param_dtype": of.dtype, "rngs": rngs}
    if "rms_norm_eps" in of.config:
        return partial(nnx.RMSNorm, epsilon=of.config["rms_norm_eps"], **rest)
    norms = [name for name in of.tensors if "norm" in name or ".ln_" in name]
    scale, bias = (any(name.endswith(end) for name in norms) for end in (".weight", ".bias"))
    rest |= {"epsilon": of.config.get("layer_norm_eps", 1e-5)}
    if of.config["model_type"] == "nemotron":  # stores the scales without the 1 that is added
        rest["promote_dtype"] = plus_one
    return partial(nnx.LayerNorm, use_scale=scale, use_bias=bias, **rest)


def plus_one(arrays: tuple[jax.Array, ...], dtype: Any) -> tuple[jax.Array, ...]:
    """The input of a normalization, 1 + its scale, and its bias."""
    x, scale, bias = arrays
    return x, 1 + scale, bias


# The model ---------------------------------------------------------------------------------------


class AllHeads(nnx.Module):
    """Normalizes the features of all heads together."""

    def __init__(self, norm: Any, heads: int, depth: int) -> None:
        self.norm = norm(heads * depth)

    def __call__(self, x: jax.Array) -> jax.Array:
        """The features [..., H, D], normalized."""
        return self.norm(x.reshape(*x.shape[:-2], -1)).reshape(x.shape)


class NormalizedLast(nnx.Module):
    """Attention whose queries and keys are normalized after their rotation: HunYuan's."""

    def __init__(self, norm: Any, depth: int) -> None:
        self.query_ln, self.key_ln = norm(depth), norm(depth)

    def __call__(
        self,
        query: jax.Array,
        key: jax.Array,
        value: jax.Array,
        mask: jax.Array | None = None,
        is_causal: bool = False,
        query_offset: Any = 0,
    ) -> jax.Array:
        """[B, Q, H, D] for queries [B, Q, H, D], keys and values [B, K, G, D]."""
        options: dict[str, Any] = {"is_causal": is_causal, "query_offset": query_offset}
        query, key = self.query_ln(query), self.key_ln(key)
        return nnx.dot_product_attention(query, key, value, mask=mask, **options)


def in_parts(name: str) -> Rule:
    """Queries, values and keys of one device after another; CodeGen was trained on four."""
    usual = divided(name, [f"{part}/kernel" for part in ("query", "key", "value")], of_kernel=True)

    def load(layer: object, tensors: Any, shapes: Any) -> Any:
        (x,) = tensors
        parts = x.reshape(4, 3, -1, x.shape[1])[:, [0, 2, 1]].swapaxes(0, 1)
        return usual.load(layer, [parts.reshape(x.shape)], shapes)

    def save(layer: object, ours: Any, like: Any) -> Any:
        (x,) = usual.save(layer, ours, None)
        parts = x.reshape(3, 4, -1, x.shape[1]).swapaxes(0, 1)[:, [0, 2, 1]]
        return [parts.reshape(x.shape)]

    return Rule((name,), usual.ours, load, save)


class CodeGenAttention(nnx.MultiHeadAttention):
    """Attention, stored as CodeGen (arXiv:2203.13474) stores it."""

    __torch_layout__ = Layout(
        (in_parts("qkv_proj.weight"), *nnx.MultiHeadAttention.__torch_layout__.rules)
    )


class Block(nnx.Module):
    """Attention and a feed-forward layer, one after the other or side by side.

    Args:
      kind: the options of attention in which layers may differ.
      of: the checkpoint, which has the sizes and shows which parts exist.
    """

    def __init__(self, kind: dict[str, Any], of: Checkpoint, *, rngs: nnx.Rngs) -> None:
        config, norm, family = of.config, norm_of(of, rngs), of.config["model_type"]
        options: dict[str, Any] = {"param_dtype": of.dtype, "rngs": rngs}
        width, depth = config["hidden_size"], config["head_dim"]
        heads, keys = config["num_attention_heads"], config["num_key_value_heads"]
        attention = CodeGenAttention if family == "codegen" else nnx.MultiHeadAttention
        self.attention = attention(
            heads,
            width,
            qkv_features=heads * depth,
            num_kv_heads=keys,
            use_bias=of.has(".q_proj.bias", ".query_key_value.bias", ".c_attn.bias"),
            use_out_bias=of.has(*(f"{name}.bias" for name in OUTPUTS)),
            scale=config.get("attention_multiplier"),
            cache_options=nnx.CacheOptions(of.dtype, per_row=True, ring=kind["window"] is not None),
            decode=False,
            qkv_dot_general=clipped(config.get("clip_qkv")),
            **kind,
            **options,
        )
        if of.has(".query_layernorm."):
            self.attention.attention_fn = NormalizedLast(norm, depth)
        if of.has(".q_norm.", ".q_layernorm."):
            alike = "rms_norm_eps" in config or of.has(".q_layernorm.weight")
            each = partial(norm, reduction_axes=-1, feature_axes=(-2, -1), use_bias=False)
            for name, n in (("query_ln", heads), ("key_ln", keys)):
                one = AllHeads(norm, n, depth) if normalizes_all(of) else norm(depth)
                setattr(self.attention, name, one if alike else each((n, depth)))
        act = config.one_of("hidden_act", ACTIVATIONS)
        gated = of.has(".gate_proj.", ".gate_up_proj.")
        biased = of.has("up_proj.bias", "fc1.bias", "fc_in.bias", "c_fc.bias", "h_to_4h.bias")
        feed_forward: Any = partial(nnx.GLU if gated else nnx.MLP, use_bias=biased)
        self.mlp = feed_forward(width, config["intermediate_size"], activation=act, **options)
        self.parallel = config.get(
            "use_parallel_residual", config.get("parallel_attn", family in PARALLEL)
        )
        self.normalizes_sums = not config.get("do_layer_norm_before", True)
        after = of.has(".post_feedforward_layernorm.", ".post_mlp_layernorm.")
        before = not after or of.has(".input_layernorm.")
        shared = self.parallel and not of.has(".post_attention_layernorm.", ".ln_mlp.")
        self.attention_norm = norm(width) if before else None
        self.attention_post_norm = norm(width) if after else None
        self.mlp_norm = norm(width) if before and not shared else None
        self.mlp_post_norm = norm(width) if after else None

    def __call__(self, x: jax.Array, *, lengths: Any, bias: Any) -> jax.Array:
        """The features [B, T, W], given the previous layer's."""
        if self.normalizes_sums:  # the smallest OPT of those with 24 layers
            y = self.attention(x, is_causal=True, lengths=lengths, bias=bias)
            x = either(self.attention_norm, x + y)
            return either(self.mlp_norm, x + self.mlp(x))
        first = either(self.attention_norm, x)
        y = self.attention(first, is_causal=True, lengths=lengths, bias=bias)
        y = either(self.attention_post_norm, y)
        if self.parallel:
            return x + y + self.mlp(first if self.mlp_norm is None else self.mlp_norm(x))
        x = x + y
        return x + either(self.mlp_post_norm, self.mlp(either(self.mlp_norm, x)))


def clipped(limit: float | None) -> Any:
    """A product whose numbers are limited, as OLMo does for queries, keys and values."""
    if limit is None:
        return None

    def product(*args: Any, **options: Any) -> jax.Array:
        return jnp.clip(jax.lax.dot_general(*args, **options), -limit, limit)

    return product


def either(layer: Any, x: jax.Array) -> jax.Array:
    """The layer's output for `x`, or `x` itself if the layer does not exist."""
    return x if layer is None else layer(x)


class Decoder(llama.Decoder):
    """Predicts each next token."""

    def __init__(self, of: Checkpoint, *, rngs: nnx.Rngs) -> None:
        config, norm = of.config, norm_of(of, rngs)
        options: dict[str, Any] = {"param_dtype": of.dtype, "rngs": rngs}
        width, words, layers = (
            config[n] for n in ("hidden_size", "vocab_size", "num_hidden_layers")
        )
        inner = config.get("word_embed_proj_dim") or width
        self.embed_tokens = nnx.Embed(words, inner, **options)
        self.skipped = SKIPPED.get(config["model_type"], 0)
        count = next((x.shape[0] for n, x in of.tensors.items() if n.endswith(POSITIONS)), 0)
        self.embed_positions = nnx.Embed(count, width, **options) if count else None
        self.waves = width if config["model_type"] == "xglm" else 0
        if self.waves:  # the embedding of that position would be zeros
            config.one_of("pad_token_id", (None, 0, 1))
        linear: Any = partial(nnx.Linear, use_bias=False, **options)
        self.project_in = linear(inner, width) if inner != width else None
        self.project_out = linear(width, inner) if inner != width else None
        self.factor = width**0.5 if config.get("scale_embedding") else 1.0
        self.embed_norm = norm(width) if of.has("word_embeddings_layernorm.") else None
        blocks = [partial(Block, kind, of) for kind in kinds_of(config)]
        self.layers = nnx.Repeat(blocks, layers, rngs=rngs)
        self.trained = llama.trained_length(config)
        self.kinds = None if self.trained is None else partial(kinds_of, config)
        before = config.get("do_layer_norm_before", True)
        bare = config.get("_remove_final_layer_norm", False) or not before
        self.norm: Any = None if bare else norm(width)
        head = partial(nnx.Linear, inner, words, use_bias=of.has("lm_head.bias"), **options)
        has_head = of.has("lm_head.", "embed_out.", "output_projection.")
        self.head = head() if has_head else None  # otherwise, the embedding is used
        penalized = config["model_type"] in PENALIZED or config.get("alibi")
        self.penalized_heads = config["num_attention_heads"] if penalized else 0
        scaled = config["model_type"] == "falcon"  # penalties are scaled like products
        self.penalty = config["head_dim"] ** -0.5 if scaled else 1.0
        self.divisor, self.soft_cap = 1 / (config.get("logit_scale") or 1.0), None

    def hidden(self, tokens: Ids, lengths: Ids | None = None) -> jax.Array:
        """The features [B, T, W] for `tokens` [B, T], with `lengths` [B] tokens in each row."""
        x = self.embed_tokens(jnp.asarray(tokens)) * self.factor
        x = either(self.embed_norm, either(self.project_in, x))
        if self.embed_positions is not None:
            x = x + self.embed_positions(self.skipped + self.first() + jnp.arange(x.shape[1]))
        if self.waves:
            x = x + waves(self.skipped + self.first() + jnp.arange(x.shape[1]), self.waves)
        bias = None
        if self.penalized_heads:
            bias = nnx.ALiBi(nnx.alibi(self.penalized_heads).slopes * self.penalty)
        x = either(self.norm, self.layers_for(x.shape[1])(x, lengths=lengths, bias=bias))
        return either(self.project_out, x)

    def first(self) -> Any:
        """The position of the first new token in each row, from the caches: [B, 1], or 0."""
        blocks: Any = self.layers
        block = blocks.block if blocks.layers_per_block == 1 else blocks.block_0
        filled = block.attention.cache_index
        return 0 if filled is None or not block.attention.decode else filled[0][:, None]


def waves(positions: jax.Array, width: int) -> jax.Array:
    """The sines, then the cosines of positions [...] at several frequencies: [..., W]."""
    half = width // 2
    angles = positions[..., None] * 10_000.0 ** (-jnp.arange(half) / (half - 1))
    return jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], axis=-1)


def normalizes_all(of: Checkpoint) -> bool:
    """Whether the features of all heads are normalized together, as in OLMo 2."""
    config = Config(of.config, "decoders.py", spellings=SPELLINGS)
    depth = config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]
    return any(x.shape[0] > depth for name, x in of.tensors.items() if ".q_norm." in name)


def names_of(of: Checkpoint) -> dict[str, str]:
    """The renames for `from_torch` and `to_torch`."""
    names = NAMES.copy()
    if not of.has(".mlp."):  # OPT and BioGPT have no module around the two layers
        names |= {".fc1": "mlp.layers.0", ".fc2": "mlp.layers.1"}
    if not of.has(".gate_proj.", ".gate_up_proj."):
        names |= {".up_proj": "layers.0", ".down_proj": "layers.1", ".ffn": "mlp"}
    if of.config["model_type"] == "gpt_bigcode" and not of.config.get("multi_query", True):
        names[".c_attn"] = "query_key_value"
    if not of.has(".input_layernorm.") and of.has(".post_feedforward_layernorm."):
        names[".post_attention_layernorm"] = "attention_post_norm"
    if "rms_norm_eps" in of.config and normalizes_all(of):
        names |= {".q_norm": "query_ln.norm", ".k_norm": "key_ln.norm"}
    return names


def load_model(of: Checkpoint) -> Decoder:
    """The model with the checkpoint's values."""
    known = usual(of)
    model = nnx.eval_shape(lambda: Decoder(known, rngs=nnx.Rngs(0)))
    known.config.check(of.tensors)
    return from_torch(model, of.tensors, rename=names_of(of), ignore=IGNORED)


def main() -> int:
    """Loads the model, compares outputs, generates, and returns the exit status."""
    options = read_options(__doc__.partition("\n")[0], steps=0, checkpoint="gpt_neox")
    of = Checkpoint.read(options.checkpoint)
    model = load_model(of)
    try_out(model, of, options.checkpoint, options.seed)
    print_kept(to_torch(model, like=of.tensors, rename=names_of(of), ignore=IGNORED), of.tensors)
    return 0


if __name__ == "__main__":
    sys.exit(main())
