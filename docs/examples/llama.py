"""Loads a Hugging Face checkpoint of the Llama family, generates text, fine-tunes and saves it.

    python docs/examples/llama.py [CHECKPOINT]

CHECKPOINT is a folder with config.json and model.safetensors, which may be split into several
files. If it is omitted, a tiny model with random weights is loaded. One class implements Llama,
Mistral, Qwen 2 and 3, Gemma 1 to 3, Phi-3, Granite and Seed-OSS: their sizes and options are in
config.json, and the names of the tensors show which parts they have. An option that isn't supported
raises an error. The layers are traced and compiled once (`nnx.Repeat`), or, if they alternate, once
for each kind.

The program generates twelve tokens after each of two prompts, with a cache. It then trains low-rank
adapters (LoRA, arXiv:2106.09685) on a text, adds them to the kernels, and saves a folder that
transformers can open: parameters that were not trained are the same bit for bit. If CHECKPOINT has
an expected.npz, outputs are compared with PyTorch's. The program needs linnet and optax.

Shapes: B batch, T time (tokens), W width, V tokens of the vocabulary.
"""

import json
import shutil
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from configs import ACTIVATIONS, Config
from program import read_options, show_progress, stop_on_ctrl_c
from reports import expected_of, print_difference, print_size

from linnet import nnx
from linnet.weights import from_torch, load, save, to_torch

FAMILIES: tuple[str, ...] = (
    "llama",
    "mistral",
    "qwen2",
    "qwen3",
    "gemma",
    "gemma2",
    "gemma3_text",
    "phi3",
)
FAMILIES += ("granite", "seed_oss")
# PyTorch's names, and ours; layers declare the names of their own parameters.
NAMES = {"model": "", "lm_head": "head", ".self_attn": "attention"}
NAMES |= {".q_norm": "query_ln", ".k_norm": "key_ln"}
# Gemma 2 and 3 also normalize the outputs of attention and of the feed-forward layer.
AROUND = {".post_attention_layernorm": "attention_post_norm"}
AROUND |= {".pre_feedforward_layernorm": "post_attention_layernorm"}
# If the configuration doesn't say which layers see all tokens, the last of every n layers does.
PATTERNS = {"gemma2": 2, "gemma3_text": 6, "cohere2": 4, "exaone4": 4, "olmo3": 4, "gpt_oss": 2}
IGNORED = ["*/lora_?", "*.inv_freq"]
Ids = jax.Array | np.ndarray

# The checkpoint ----------------------------------------------------------------------------------


class Checkpoint(NamedTuple):
    """A Hugging Face folder: the settings in config.json, and the tensors, read when needed."""

    config: Any
    tensors: Mapping[str, Any]

    @classmethod
    def read(cls, folder: Path) -> "Checkpoint":
        """Reads config.json, and the names and shapes of the tensors."""
        return cls(json.loads((folder / "config.json").read_text("utf-8")), load(folder))

    def has(self, *parts: str) -> bool:
        """Whether the name of any tensor contains one of `parts`."""
        return any(part in name for name in self.tensors for part in parts)

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype of the parameters."""
        return next(np.dtype(tensor.dtype) for tensor in self.tensors.values())

    def known(self, program: str, families: Sequence[str], spellings: Any = None) -> "Checkpoint":
        """A copy whose configuration reports the options that the program doesn't read."""
        return Checkpoint(Config(self.config, program, families, spellings), self.tensors)

    def names(self) -> dict[str, str]:
        """The renames for `from_torch` and `to_torch`."""
        return NAMES | AROUND if self.has(".post_feedforward_layernorm") else NAMES


def kinds_of(config: Mapping[str, Any], length: int | None = None) -> list[dict[str, Any]]:
    """The options of attention in the first layers, which the layers after them repeat.

    Args:
      config: the options.
      length: the number of tokens, on which the rotary positions of some models depend.
    """
    layers, window = config["num_hidden_layers"], config.get("sliding_window")
    rotary = partial(nnx.rotary_from_config, config, length=length)
    local = {"rotary": rotary("sliding_attention"), "window": window}
    glob = {"rotary": rotary(), "window": None}
    family, every = config["model_type"], config.get("sliding_window_pattern")
    every = every or config.get("_sliding_window_pattern")  # or a string, such as "LLLG"
    every = len(every) if isinstance(every, str) else every or PATTERNS.get(family)
    switched = config.get("use_sliding_window", not family.startswith("qwen"))  # Qwen has a switch
    begin = config.get("max_window_layers", 0)  # the first layer with a window
    if config.get("layer_types"):
        slides = [kind_of(kind) for kind in config["layer_types"]]
    elif every is not None:
        slides = [(i + 1) % every > 0 for i in range(layers)]
    else:
        slides = [window is not None and switched and i >= begin for i in range(layers)]
    kinds = [local if here else glob for here in slides]
    return next(kinds[:k] for k in range(1, layers + 1) if kinds == kinds[:k] * (layers // k))


def soft_cap_of(config: Config) -> float | None:
    """The bound on the attention logits, which Gemma 3 no longer has."""
    if config["model_type"] == "gemma3_text":
        config.one_of("attn_logit_softcapping", [None])
    cap: float | None = config.get("attn_logit_softcapping")
    return cap


def kind_of(layer_type: str) -> bool:
    """Whether layers of this type see only a window."""
    if layer_type not in ("full_attention", "sliding_attention"):
        raise ValueError(
            f"config.json has {layer_type!r} in layer_types, which isn't computed here."
        )
    return layer_type == "sliding_attention"


def trained_length(config: Mapping[str, Any]) -> int | None:
    """The number of tokens beyond which rotary positions change; None if they never change."""
    rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
    if rope.get("rope_type", rope.get("type")) not in ("longrope", "su", "dynamic"):
        return None
    both, name = {**config, **rope}, "original_max_position_embeddings"
    return None if rope.get("alpha") else int(both.get(name) or both["max_position_embeddings"])


def require_fixed_positions(config: Config) -> None:
    """Checks that rotary positions don't depend on the length, which some programs require."""
    if trained_length(config) is not None:
        rope = config.get("rope_parameters") or config["rope_scaling"]
        raise ValueError(
            f"config.json has rotary positions that depend on the number of tokens, {rope!r},"
            f" which {config.program} doesn't compute."
        )


# The model ---------------------------------------------------------------------------------------


class Block(nnx.Module):
    """Attention, then a feed-forward layer; each adds to its input.

    Args:
      kind: the options of attention in which layers may differ.
      of: the checkpoint, which has the sizes and shows which parts exist.
      rank: the rank of adapters around the projections of attention; 0 for none.
    """

    def __init__(self, kind: dict[str, Any], of: Checkpoint, rank: int, *, rngs: nnx.Rngs) -> None:
        config, norm = of.config, norm_of(of, rngs)
        options: dict[str, Any] = {"param_dtype": of.dtype, "rngs": rngs}
        width, heads = config["hidden_size"], config["num_attention_heads"]
        scalar = config.get("query_pre_attn_scalar")
        self.attention = nnx.MultiHeadAttention(
            heads,
            width,
            qkv_features=heads * (config.get("head_dim") or width // heads),
            num_kv_heads=config.get("num_key_value_heads"),
            use_bias=of.has(".q_proj.bias", ".qkv_proj.bias"),
            use_out_bias=of.has(".o_proj.bias"),
            normalize_qk=norm if of.has(".q_norm.") else False,
            scale=scalar**-0.5 if scalar else config.get("attention_multiplier"),
            soft_cap=soft_cap_of(config),
            cache_options=nnx.CacheOptions(of.dtype, per_row=True, ring=kind["window"] is not None),
            decode=False,
            **kind,
            **options,
        )
        named = "hidden_activation" if config.get("hidden_activation") else "hidden_act"
        act = config.one_of(named, ACTIVATIONS)
        if config["model_type"] == "gemma" and config[named] == "gelu":  # but the model uses
            act = ACTIVATIONS["gelu_pytorch_tanh"]
        config.knows("hidden_act")
        glu = partial(nnx.GLU, activation=act, use_bias=of.has("up_proj.bias"))
        self.mlp: Any = glu(width, config["intermediate_size"], **options)
        self.input_layernorm = norm(width)
        self.post_attention_layernorm = norm(width)
        around = of.has(".post_feedforward_layernorm")
        self.attention_post_norm = norm(width) if around else None
        self.post_feedforward_layernorm = norm(width) if around else None
        self.factor = config.get("residual_multiplier", 1.0)
        for part in ("query", "key", "value", "out") if rank else ():
            base = getattr(self.attention, part)
            sizes = base.in_features, rank, base.out_features
            adapted = nnx.LoRA(*sizes, base_module=base, dtype=of.dtype, rngs=rngs)
            setattr(self.attention, part, adapted)

    def __call__(self, x: jax.Array, *, lengths: Any) -> jax.Array:
        """The features [B, T, W], given the previous layer's."""
        y = self.attention(self.input_layernorm(x), is_causal=True, lengths=lengths)
        y = y if self.attention_post_norm is None else self.attention_post_norm(y)
        x = x + self.factor * y
        y = self.mlp(self.post_attention_layernorm(x))
        y = y if self.post_feedforward_layernorm is None else self.post_feedforward_layernorm(y)
        return x + self.factor * y


class Decoder(nnx.Module):
    """Predicts each next token."""

    def __init__(self, of: Checkpoint, rank: int = 0, *, rngs: nnx.Rngs) -> None:
        config, width, words = of.config, of.config["hidden_size"], of.config["vocab_size"]
        options: dict[str, Any] = {"param_dtype": of.dtype, "rngs": rngs}
        self.embed_tokens = nnx.Embed(words, width, **options)
        blocks = [partial(Block, kind, of, rank) for kind in kinds_of(config)]
        self.layers: nnx.Repeat[Any] = nnx.Repeat(blocks, config["num_hidden_layers"], rngs=rngs)
        self.trained = trained_length(config)
        self.kinds = None if self.trained is None else partial(kinds_of, config)
        self.norm = norm_of(of, rngs)(width)
        head = partial(nnx.Linear, width, words, use_bias=False, **options)
        self.head = head() if of.has("lm_head.") else None  # otherwise the embedding
        factor = width**0.5 if config["model_type"].startswith("gemma") else 1.0
        self.factor = config.get("embedding_multiplier", factor)
        self.divisor = config.get("logits_scaling", 1.0)
        self.soft_cap = config.get("final_logit_softcapping")

    def hidden(self, tokens: Ids, lengths: Ids | None = None) -> jax.Array:
        """The features [B, T, W] for `tokens` [B, T], with `lengths` [B] of them in each row."""
        x = self.embed_tokens(jnp.asarray(tokens))
        layers = self.layers_for(tokens.shape[1])
        return self.norm(layers(x * jnp.asarray(self.factor, x.dtype), lengths=lengths))

    def layers_for(self, length: int) -> Any:
        """The layers; without a cache, with the rotary positions of `length` tokens."""
        trained = self.trained
        if trained is None or length <= trained or self.blocks()[0].attention.decode:
            return self.layers
        other: Any = nnx.view(self, decode=False)  # shares the parameters
        other.set_length(length)
        return other.layers

    def set_length(self, length: int) -> None:
        """Sets the rotary positions to those of texts of `length` tokens."""
        kinds = [] if self.kinds is None else self.kinds(length)
        for block, kind in zip(self.blocks(), kinds, strict=True):
            block.attention.rotary = kind["rotary"]

    def blocks(self) -> list[Any]:
        """The layers that the others repeat."""
        layers, count = self.layers, self.layers.layers_per_block
        names = [f"block_{i}" for i in range(count)] if count > 1 else ["block"]
        return [getattr(layers, name) for name in names]

    def logits(self, x: jax.Array) -> jax.Array:
        """The logits [..., V] for features [..., W]."""
        y = (self.embed_tokens.attend(x) if self.head is None else self.head(x)) / self.divisor
        return y if self.soft_cap is None else self.soft_cap * jnp.tanh(y / self.soft_cap)

    def __call__(self, tokens: Ids) -> jax.Array:
        """The logits [B, T, V] for `tokens` [B, T]."""
        return self.logits(self.hidden(tokens))


def norm_of(of: Checkpoint, rngs: nnx.Rngs) -> Any:
    """A constructor of the normalization layers."""
    rest = {"epsilon": of.config["rms_norm_eps"], "param_dtype": of.dtype, "rngs": rngs}
    return partial(nnx.RMSNorm, zero_centered=of.config["model_type"].startswith("gemma"), **rest)


def load_model(of: Checkpoint, rank: int = 0, seed: int = 0) -> Decoder:
    """The model with the checkpoint's values; adapters are drawn, and add nothing at first."""
    of = of.known("llama.py", FAMILIES)
    abstract = nnx.eval_shape(lambda: Decoder(of, rngs=nnx.Rngs(0)))  # without any values
    of.config.check(of.tensors)
    model = Decoder(of, rank, rngs=nnx.Rngs(seed)) if rank else abstract
    return from_torch(model, of.tensors, rename=of.names(), ignore=IGNORED)


# Writing -----------------------------------------------------------------------------------------


@nnx.jit
def logits(model: Any, tokens: Ids) -> jax.Array:
    """A model's logits for `tokens` [B, T]: [B, T, V]."""
    found: jax.Array = model(tokens)
    return found


@nnx.jit
def next_tokens(reader: Decoder, tokens: Ids, lengths: Ids) -> jax.Array:
    """Reads the first `lengths` [B] of `tokens` [B, T]; returns the likeliest next ones, [B]."""
    x = reader.hidden(tokens, lengths)
    last = jnp.take_along_axis(x, lengths[:, None, None] - 1, axis=1)[:, 0]  # [B, W]
    return reader.logits(last).argmax(-1)


def write(model: Decoder, prompts: Sequence[np.ndarray], count: int) -> np.ndarray:
    """The likeliest `count` tokens after each prompt; prompts may differ in length: [B, count].

    Some models have different rotary positions for long texts. Once a text has become long, it is
    read again with the new positions. With "dynamic" scaling, these are the positions of the final
    length; in PyTorch, they change with each token.
    """
    longest = max(len(prompt) for prompt in prompts)
    short = count if model.trained is None else max(0, model.trained + 1 - longest)
    if 0 < short < count:
        first = write(model, prompts, short)
        longer = [np.concatenate(pair) for pair in zip(prompts, first, strict=True)]
        return np.concatenate([first, write(model, longer, count - short)], axis=1)
    lengths = np.array([len(prompt) for prompt in prompts], np.int32)
    padded = np.stack([np.pad(p, (0, longest - len(p))) for p in prompts])
    room = longest + count
    # Shares the parameters, and has a cache in each layer.
    reader = nnx.view(model, decode=True, batch_size=len(prompts), max_length=room)
    if model.trained is not None:
        reader.set_length(room - 1)  # the last token isn't read
    written = [next_tokens(reader, padded, lengths)]
    while len(written) < count:
        written.append(next_tokens(reader, written[-1][:, None], np.ones_like(lengths)))
    return np.stack(written, axis=1)


# Fine-tuning -------------------------------------------------------------------------------------


def loss_fn(model: Decoder, batch: np.ndarray) -> jax.Array:
    """Mean bits per token of `batch` [B, T], without the first token of each row."""
    logits = model(batch[:, :-1]).astype(jnp.float32)
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, batch[:, 1:])
    return losses.mean() / np.log(2)


@nnx.jit
def train_step(model: Decoder, optimizer: nnx.Optimizer, batch: np.ndarray) -> jax.Array:
    """One gradient step for the adapters, in place; returns the bits per token."""
    of_adapters = nnx.DiffState(0, nnx.LoRAParam)
    loss, grads = nnx.value_and_grad(loss_fn, argnums=of_adapters)(model, batch)
    optimizer.update(model, grads)
    return loss


def fine_tune(model: Decoder, tokens: np.ndarray, steps: int, seed: int) -> list[float]:
    """Trains the adapters, until Ctrl-C; returns the bits per token before each step."""
    adam = optax.adam(optax.cosine_onecycle_schedule(steps, 1e-2))
    optimizer = nnx.Optimizer(model, adam, wrt=nnx.LoRAParam)
    rng = np.random.default_rng(seed)
    curve: list[float] = []
    with stop_on_ctrl_c() as stop:
        while len(curve) < steps and not stop.is_set():
            starts = rng.integers(0, len(tokens) - 32, 8)
            batch = tokens[starts[:, None] + np.arange(33)]
            curve.append(float(train_step(model, optimizer, batch)))
            keep = len(curve) % max(1, steps // 20) == 0
            show_progress(len(curve), steps, f"{np.mean(curve[-10:]):.3f} bits", keep=keep)
    return curve


def save_model(model: Decoder, of: Checkpoint, folder: Path, out: Path) -> list[str]:
    """Copies a folder with the model's values as weights; returns the names of changed tensors."""
    tensors = to_torch(model, like=of.tensors, rename=of.names(), ignore=IGNORED)
    changed = [n for n, x in tensors.items() if not np.array_equal(x, np.asarray(of.tensors[n]))]
    weights = shutil.ignore_patterns("*.safetensors*", "*.bin*", "*.npz")
    shutil.copytree(folder, out, dirs_exist_ok=True, ignore=weights)
    save(out / "model.safetensors", tensors, max_shard_bytes=5 * 10**9, metadata={"format": "pt"})
    return changed


def tokens_in(rows: np.ndarray) -> str:
    """The tokens of each row [B, T] on a separate line."""
    return "\n           ".join(" ".join(f"{token:3}" for token in row) for row in rows)


def try_out(model: Any, of: Checkpoint, folder: Path, seed: int) -> np.ndarray:
    """Compares the model with PyTorch, and generates twelve tokens after each of two prompts.

    Args:
      model: a decoder.
      of: its checkpoint.
      folder: the checkpoint's folder; if it has an expected.npz, the prompts are from there.
      seed: seed for random prompts, which are used otherwise.

    Returns:
      The prompts.
    """
    print_size(model, of.config["model_type"], f" in {of.dtype}")
    prompts = np.random.default_rng(seed).integers(0, of.config["vocab_size"], (2, 8))
    if torch := expected_of(folder):
        prompts = torch["in.input_ids"]
        print_difference(logits(model, prompts), torch["out.logits"])
        print("PyTorch   ", tokens_in(torch["out.generated"][:, -12:]))
    print("writes    ", tokens_in(write(model, list(prompts), 12)))
    return prompts


PROVERBS = """Practice makes perfect. Actions speak louder than words. Better late than never.
The early bird catches the worm. Many hands make light work. Look before you leap.
"""


def main() -> int:
    """Loads, generates, trains and saves; returns the exit status, 130 after Ctrl-C."""
    options = read_options(__doc__.partition("\n")[0], steps=200, checkpoint="llama")
    of = Checkpoint.read(options.checkpoint)
    model = load_model(of)
    prompts = try_out(model, of, options.checkpoint, options.seed)

    # The characters' codes are the tokens: tokenizers are another library's concern.
    tokens = np.frombuffer(PROVERBS.encode() * 4, np.uint8) % of.config["vocab_size"]
    model = load_model(of, rank=4, seed=options.seed)
    steps = options.steps or (20 if options.tiny else 200)
    curve = fine_tune(model, tokens, steps, options.seed)
    for _, layer in nnx.iter_graph(model):
        if isinstance(layer, nnx.LoRA):
            layer.merge()
    out = options.out / f"{options.checkpoint.resolve().name}_tuned"
    changed = save_model(model, of, options.checkpoint, out)
    assert np.array_equal(load_model(Checkpoint.read(out))(prompts), model(prompts))
    print(f"saved      {out}")
    print(f"           {len(changed)} of {len(of.tensors)} tensors changed, the adapted ones")
    print(f"tuned      from {curve[0]:.3f} to {np.mean(curve[-10:]):.3f} bits per token")
    return 130 if len(curve) < steps else 0


if __name__ == "__main__":
    sys.exit(main())
