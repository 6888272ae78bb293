"""Decoders with a mixture of experts: a router chooses the few experts that process each token.

    python docs/examples/sparse_decoders.py [CHECKPOINT]

CHECKPOINT is a folder with the config.json and model.safetensors of Mixtral (arXiv:2401.04088),
Qwen 2 or 3 MoE (arXiv:2505.09388), OLMoE (arXiv:2409.02060) or gpt-oss (arXiv:2508.10925). If it is
omitted, a tiny model with random weights is loaded. These models differ from Llama only in their
feed-forward layers, and gpt-oss also has sinks in its attention; the other parts are imported from
llama.py. mixture_of_experts.py trains such a layer. If CHECKPOINT has an expected.npz, outputs are
compared with PyTorch's.

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
from decoders import AllHeads, normalizes_all
from llama import Checkpoint, logits, tokens_in, write
from program import read_options

from linnet import nnx
from linnet.weights import from_torch, to_torch

NAMES = {  # PyTorch's names, and ours
    ".block_sparse_moe": "mlp",
    ".gate": "router",
    ".experts.{n}.w1": "experts.{n}.gate",
    ".experts.{n}.w3": "experts.{n}.up",
    ".experts.{n}.w2": "experts.{n}.down",
}

# The model ---------------------------------------------------------------------------------------


class Mixture(nnx.Module):
    """Gated feed-forward layers, of which a router chooses some for each token.

    Args:
      of: the checkpoint, which has the sizes and tells which parts exist.
    """

    def __init__(self, of: Checkpoint, *, rngs: nnx.Rngs) -> None:
        config = of.config
        options: dict[str, Any] = {"param_dtype": of.dtype, "rngs": rngs}
        width, hidden = config["hidden_size"], config.get("moe_intermediate_size")
        count = config.get("num_local_experts") or config["num_experts"]
        biased = of.has(".router.bias")
        self.count, self.chosen = count, config["num_experts_per_tok"]
        self.renormalized = config.get("norm_topk_prob", True)
        self.router = nnx.Linear(width, count, use_bias=biased, **options)
        glu: Any = partial(nnx.GLU, activation=llama.ACTIVATIONS[config["hidden_act"]], **options)
        self.experts: Any = self.make_experts(glu, width, hidden or config["intermediate_size"])
        shared = config.get("shared_expert_intermediate_size")  # processes every token
        self.shared_expert = glu(width, shared) if shared else None
        self.shared_expert_gate = None
        if shared:
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

    def __call__(self, x: jax.Array) -> jax.Array:
        """Outputs [B, T, W] for tokens [B, T, W]."""
        tokens = x.reshape(-1, x.shape[-1])
        logits = self.router(tokens).astype(jnp.float32)
        if self.renormalized:
            highest, experts = jax.lax.top_k(logits, self.chosen)
            weights = nnx.softmax(highest)  # [N, K]
        else:
            weights, experts = jax.lax.top_k(nnx.softmax(logits), self.chosen)
        flat = experts.reshape(-1)  # [R]
        order = jnp.argsort(flat)  # rows of an expert are together
        sizes = jnp.bincount(flat, length=self.count)
        y = self.compute(tokens[order // self.chosen], sizes, flat[order])
        y = y[jnp.argsort(order)].reshape(*experts.shape, -1)  # [N, K, W], as the tokens were
        y = jnp.sum(y * weights[..., None].astype(y.dtype), axis=1).reshape(x.shape)
        if self.shared_expert is None or self.shared_expert_gate is None:
            return y
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

    def make_experts(self, glu: Any, width: int, hidden: int) -> nnx.Module:
        """The experts."""
        return Experts(self.count, width, hidden, glu.keywords["param_dtype"])

    def compute(self, rows: jax.Array, sizes: jax.Array, experts: jax.Array) -> jax.Array:
        """Outputs [R, W] of `rows` [R, W]."""
        p, multiply = self.experts, partial(jax.lax.ragged_dot, group_sizes=sizes)
        both = multiply(rows, p.gate_up_proj[...]) + p.gate_up_proj_bias[...][experts]
        gate = jnp.minimum(both[:, ::2], self.limit)
        up = jnp.clip(both[:, 1::2], -self.limit, self.limit)
        hidden = (up + 1) * gate * nnx.sigmoid(1.702 * gate)
        return multiply(hidden, p.down_proj[...]) + p.down_proj_bias[...][experts]


class Block(llama.Block):
    """Attention, then a mixture of experts."""

    def __init__(self, kind: dict[str, Any], of: Checkpoint, *, rngs: nnx.Rngs) -> None:
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
        blocks = [partial(Block, kind, of) for kind in llama.kinds_of(of.config)]
        self.layers = nnx.Repeat(blocks, of.config["num_hidden_layers"], rngs=rngs)


def names_of(of: Checkpoint) -> Mapping[str, str]:
    """The renames for `from_torch` and `to_torch`."""
    all_heads = {".q_norm": "query_ln.norm", ".k_norm": "key_ln.norm"}
    return of.names() | NAMES | (all_heads if normalizes_all(of) else {})


def load_model(of: Checkpoint) -> Decoder:
    """The model with the checkpoint's values."""
    model = nnx.eval_shape(lambda: Decoder(of, rngs=nnx.Rngs(0)))
    return from_torch(model, of.tensors, rename=names_of(of))


def main() -> int:
    """Loads the model, compares outputs, generates, and returns the exit status."""
    options = read_options(__doc__.partition("\n")[0], steps=0, checkpoint="mixtral")
    of = Checkpoint.read(options.checkpoint)
    model = load_model(of)
    count = sum(x.size for x in jax.tree.leaves(nnx.state(model, nnx.Param)))
    print(f"loaded     {of.config['model_type']}, {count:,} parameters in {of.dtype}")
    prompts = np.random.default_rng(options.seed).integers(0, of.config["vocab_size"], (2, 8))
    if (expected := options.checkpoint / "expected.npz").exists():
        torch = np.load(expected)
        prompts = torch["in.input_ids"]
        error = np.abs(logits(model, prompts) - torch["out.logits"]).max()
        print(f"logits     differ by {error:.1e} from PyTorch's")
        print("PyTorch   ", tokens_in(torch["out.generated"][:, -12:]))
    print("writes    ", tokens_in(write(model, list(prompts), 12)))
    back = to_torch(model, like=of.tensors, rename=names_of(of))
    kept = sum(x.tobytes() == np.asarray(of.tensors[name]).tobytes() for name, x in back.items())
    print(f"back       {kept} of {len(of.tensors)} tensors as they were")
    return 0


if __name__ == "__main__":
    sys.exit(main())
