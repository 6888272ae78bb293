"""Decoders with a mixture of experts: a router chooses the few experts that process each token.

    python docs/examples/sparse_decoders.py [CHECKPOINT]

CHECKPOINT is a folder with the config.json and model.safetensors of Mixtral (arXiv:2401.04088),
Qwen 2 or 3 MoE (arXiv:2505.09388), OLMoE (arXiv:2409.02060), gpt-oss (arXiv:2508.10925), GLM 4.5
MoE (arXiv:2508.06471) or dots.llm1 (arXiv:2506.05767). If it is omitted, a tiny model with random
weights is loaded. These models differ from Llama only in their feed-forward layers, except that
gpt-oss also has sinks in its attention; the other parts are imported from llama.py. deepseek.py
uses the same feed-forward layers with different attention, and mixture_of_experts.py trains such a
layer.
If CHECKPOINT has an expected.npz, outputs are compared with PyTorch's.

Shapes: N tokens, W width, H hidden, E experts, K experts for a token, R = N · K.
"""

import sys
from collections.abc import Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import llama
import numpy as np
from configs import ACTIVATIONS, Config
from decoders import AllHeads, normalizes_all
from llama import Checkpoint, Ids, try_out
from program import read_options
from reports import print_kept

from linnet import nnx
from linnet.module_core.layers.torch_layout import Layout, Rule
from linnet.weights import from_torch, to_torch

NAMES = {  # PyTorch's names, and ours
    ".block_sparse_moe": "mlp",
    ".gate": "router",
    ".shared_experts": "shared_expert",
    ".experts.{n}.w1": "experts.{n}.gate",
    ".experts.{n}.w3": "experts.{n}.up",
    ".experts.{n}.w2": "experts.{n}.down",
}

FAMILIES = ("mixtral", "qwen2_moe", "qwen3_moe", "olmoe", "gpt_oss", "glm4_moe", "dots1")

# The model ---------------------------------------------------------------------------------------


class Router(nnx.Linear):
    """The logits of the experts, and a bias for each expert, which affects only the choice."""

    def __init__(self, width: int, count: int, **options: Any) -> None:
        super().__init__(width, count, use_bias=False, **options)
        self.e_score_correction_bias = nnx.Param(jnp.zeros(count))


def load_experts(layer: object, tensors: Any, shapes: Any) -> Any:
    """Kernels [E, in, out] from gate and up, [E, 2H, W], and down, [E, W, H]."""
    both, down = tensors
    gate, up = np.split(both, 2, axis=1)
    return [kernel.swapaxes(1, 2) for kernel in (gate, up, down)]


def save_experts(layer: object, ours: Any, like: Any) -> Any:
    """The reverse of `load_experts`."""
    gate, up, down = (kernel.swapaxes(1, 2) for kernel in ours)
    return [np.concatenate([gate, up], axis=1), down]


class Mixture(nnx.Module):
    """Gated feed-forward layers, of which a router chooses some for each token.

    Files have the tensors of each expert; `model.state_dict()` of transformers 5 has them stacked.

    Args:
      of: the checkpoint, which has the sizes and shows which parts exist.
    """

    __torch_layout__ = Layout(
        (
            Rule(
                ("experts.gate_up_proj", "experts.down_proj"),
                tuple(f"experts/block/{part}/kernel" for part in ("gate", "up", "down")),
                load_experts,
                save_experts,
            ),
        )
    )

    def __init__(self, of: Checkpoint, *, rngs: nnx.Rngs) -> None:
        config = of.config
        options: dict[str, Any] = {"param_dtype": of.dtype, "rngs": rngs}
        width, hidden = config["hidden_size"], config.get("moe_intermediate_size")
        names = "num_local_experts", "num_experts", "n_routed_experts"
        count = next(config[name] for name in names if config.get(name))
        biased = of.has(".router.bias")
        self.count, self.chosen = count, config["num_experts_per_tok"]
        methods = None, "greedy", "group_limited_greedy", "noaux_tc"
        grouped = config.one_of("topk_method", methods) != "greedy"
        groups = config.get("n_group") or 1
        self.groups = groups if grouped else 1
        self.chosen_groups = config.get("topk_group") or 1
        self.renormalized = renormalizes(config)
        self.factor = config.get("routed_scaling_factor") or 1.0
        self.router = nnx.Linear(width, count, use_bias=biased, **options)
        corrected = of.has(".e_score_correction_bias")  # DeepSeek-V3 (arXiv:2412.19437)
        if corrected:
            self.router = Router(width, count, **options)
        config.one_of("scoring_func", (None, "sigmoid" if corrected else "softmax"))
        act = config.one_of("hidden_act", ACTIVATIONS)
        glu: Any = partial(nnx.GLU, activation=act, **options)
        self.experts: Any = self.make_experts(glu, width, hidden or config["intermediate_size"])
        shared = config.get("shared_expert_intermediate_size")  # processes every token
        shared = shared or (hidden or 0) * (config.get("n_shared_experts") or 0)
        self.shared_expert = glu(width, shared) if shared else None
        self.shared_expert_gate = None
        if of.has(".shared_expert_gate."):
            self.shared_expert_gate = nnx.Linear(width, 1, use_bias=False, **options)

    def make_experts(self, glu: Any, width: int, hidden: int) -> nnx.Module:
        """The experts, whose kernels are stacked: [E, W, H] and [E, H, W]."""
        return nnx.Repeat(glu, self.count, width, hidden, rngs=glu.keywords["rngs"])

    def compute(self, rows: jax.Array, sizes: jax.Array, experts: jax.Array) -> jax.Array:
        """Outputs [R, W] of `rows` [R, W]: the first `sizes[0]` are the first expert's, and so on.

        Args:
          rows: [R, W].
          sizes: [E].
          experts: [R], the number of each row's expert.
        """
        glu: Any = self.experts.block
        multiply = partial(jax.lax.ragged_dot, group_sizes=sizes)
        gate, up = (multiply(rows, layer.kernel[...]) for layer in (glu.gate, glu.up))
        return multiply(glu.activation(gate) * up, glu.down.kernel[...])

    def choose(self, tokens: jax.Array) -> tuple[jax.Array, jax.Array]:
        """The experts of tokens [N, W], [N, K], and the weights of their outputs, [N, K]."""
        logits = self.router(tokens).astype(jnp.float32)  # [N, E]
        scores = ranks = nnx.softmax(logits)
        counted = 1  # how many of a group's experts decide whether the group is chosen
        if isinstance(self.router, Router):
            scores, counted = nnx.sigmoid(logits), 2
            ranks = scores + self.router.e_score_correction_bias
        if self.groups > 1:
            parts = ranks.reshape(len(ranks), self.groups, -1)
            best = jax.lax.top_k(parts, counted)[0].sum(-1)
            least = jax.lax.top_k(best, self.chosen_groups)[0][:, -1:]
            ranks = jnp.where((best >= least)[..., None], parts, -jnp.inf).reshape(ranks.shape)
        experts = jax.lax.top_k(ranks, self.chosen)[1]
        weights = jnp.take_along_axis(scores, experts, axis=-1)
        if self.renormalized:
            weights = weights / weights.sum(-1, keepdims=True)
        return experts, weights * self.factor

    def __call__(self, x: jax.Array) -> jax.Array:
        """Outputs [B, T, W] for tokens [B, T, W]."""
        tokens = x.reshape(-1, x.shape[-1])
        experts, weights = self.choose(tokens)
        flat = experts.reshape(-1)  # [R]
        order = jnp.argsort(flat)  # rows of an expert are together
        sizes = jnp.bincount(flat, length=self.count)
        y = self.compute(tokens[order // self.chosen], sizes, flat[order])
        y = y[jnp.argsort(order)].reshape(*experts.shape, -1)  # [N, K, W], as the tokens were
        y = jnp.sum(y * weights[..., None].astype(y.dtype), axis=1).reshape(x.shape)
        if self.shared_expert is None:
            return y
        if self.shared_expert_gate is None:
            return y + self.shared_expert(x)
        return y + nnx.sigmoid(self.shared_expert_gate(x)) * self.shared_expert(x)


class Experts(nnx.Module):
    """The parameters of gpt-oss's experts, as they are stored: gate and up alternate."""

    def __init__(self, count: int, width: int, hidden: int, dtype: Any) -> None:
        self.gate_up_proj = nnx.Param(jnp.zeros((count, width, 2 * hidden), dtype))
        self.gate_up_proj_bias = nnx.Param(jnp.zeros((count, 2 * hidden), dtype))
        self.down_proj = nnx.Param(jnp.zeros((count, hidden, width), dtype))
        self.down_proj_bias = nnx.Param(jnp.zeros((count, width), dtype))


class ClampedMixture(Mixture):
    """The experts of gpt-oss: with biases, and bounds for gate and up."""

    def __init__(self, of: Checkpoint, *, rngs: nnx.Rngs) -> None:
        super().__init__(of, rngs=rngs)
        self.limit = of.config.get("swiglu_limit", 7.0)
        self.slope = of.config.get("swiglu_alpha", 1.702)

    def make_experts(self, glu: Any, width: int, hidden: int) -> nnx.Module:
        """The experts."""
        return Experts(self.count, width, hidden, glu.keywords["param_dtype"])

    def compute(self, rows: jax.Array, sizes: jax.Array, experts: jax.Array) -> jax.Array:
        """Outputs [R, W] of `rows` [R, W]."""
        p, multiply = self.experts, partial(jax.lax.ragged_dot, group_sizes=sizes)
        both = multiply(rows, p.gate_up_proj[...]) + p.gate_up_proj_bias[...][experts]
        gate = jnp.minimum(both[:, ::2], self.limit)
        up = jnp.clip(both[:, 1::2], -self.limit, self.limit)
        hidden = (up + 1) * gate * nnx.sigmoid(self.slope * gate)
        return multiply(hidden, p.down_proj[...]) + p.down_proj_bias[...][experts]


class Block(llama.Block):
    """Attention, then a mixture of experts."""

    def __init__(self, kind: dict[str, Any], of: Checkpoint, *, rngs: nnx.Rngs) -> None:
        of.config.one_of("clip_qkv", [None])
        super().__init__({**kind, "use_sinks": of.has(".sinks")}, of, 0, rngs=rngs)
        mixture = ClampedMixture if of.config["model_type"] == "gpt_oss" else Mixture
        self.mlp = mixture(of, rngs=rngs)
        if normalizes_all(of):  # OLMoE
            attention, norm = self.attention, llama.norm_of(of, rngs)
            attention.query_ln = AllHeads(norm, attention.num_heads, attention.head_dim)
            attention.key_ln = AllHeads(norm, attention.num_kv_heads, attention.head_dim)


class Decoder(llama.Decoder):
    """Predicts each next token."""

    def __init__(self, of: Checkpoint, *, rngs: nnx.Rngs) -> None:
        super().__init__(of, rngs=rngs)
        llama.require_fixed_positions(of.config)
        kinds, first = llama.kinds_of(of.config), of.config.get("first_k_dense_replace", 0)
        dense: Any = [partial(llama.Block, kind, of, 0) for kind in kinds]
        self.dense = nnx.Repeat(dense, first, rngs=rngs) if first else None
        turn = first % len(kinds)
        blocks = [partial(Block, kind, of) for kind in kinds[turn:] + kinds[:turn]]
        self.layers = nnx.Repeat(blocks, of.config["num_hidden_layers"] - first, rngs=rngs)

    def hidden(self, tokens: Ids, lengths: Ids | None = None) -> jax.Array:
        """The features [B, T, W] for `tokens` [B, T], with `lengths` [B] tokens in each row."""
        x = self.embed_tokens(jnp.asarray(tokens))
        x = x if self.dense is None else self.dense(x, lengths=lengths)
        return self.norm(self.layers(x, lengths=lengths))


def renormalizes(config: Config) -> bool:
    """Whether the weights of the chosen experts are divided by their sum."""
    family = config["model_type"]
    if family in ("mixtral", "gpt_oss"):
        config.one_of("norm_topk_prob", (None, True))
        return True
    if family == "deepseek_v2":
        return bool(config.one_of("norm_topk_prob", (None, False)))
    return bool(config.get("norm_topk_prob", family not in ("qwen2_moe", "qwen3_moe", "olmoe")))


def names_of(of: Checkpoint) -> Mapping[str, str]:
    """The renames for `from_torch` and `to_torch`."""
    all_heads = {".q_norm": "query_ln.norm", ".k_norm": "key_ln.norm"}
    return of.names() | dense_first(of) | NAMES | (all_heads if normalizes_all(of) else {})


def dense_first(of: Checkpoint) -> dict[str, str]:
    """The renames of layers, the first of which may have no experts."""
    first = of.config.get("first_k_dense_replace", 0)
    sparse = range(first, of.config["num_hidden_layers"] if first else 0)
    dense = {f"layers.{i}": f"dense.{i}" for i in range(first)}
    return dense | {f"layers.{i}": f"layers.{i - first}" for i in sparse}


def ignored(of: Checkpoint) -> list[str]:
    """Layers after the last one, which predict additional tokens in training."""
    first, more = of.config["num_hidden_layers"], of.config.get("num_nextn_predict_layers") or 0
    return [f"model.layers.{first + i}.*" for i in range(more)]


def load_model(of: Checkpoint) -> Decoder:
    """The model with the checkpoint's values."""
    known = of.known("sparse_decoders.py", FAMILIES)
    model = nnx.eval_shape(lambda: Decoder(known, rngs=nnx.Rngs(0)))
    known.config.check(of.tensors)
    return from_torch(model, of.tensors, rename=names_of(of), ignore=ignored(of))


def main() -> int:
    """Loads the model, compares outputs, generates, and returns the exit status."""
    options = read_options(__doc__.partition("\n")[0], steps=0, checkpoint="mixtral")
    of = Checkpoint.read(options.checkpoint)
    model = load_model(of)
    try_out(model, of, options.checkpoint, options.seed)
    print_kept(
        to_torch(model, like=of.tensors, rename=names_of(of), ignore=ignored(of)), of.tensors
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
