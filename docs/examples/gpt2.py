"""A GPT-2 from a Hugging Face checkpoint: matrices stored as [in, out], learned positions.

    python docs/examples/gpt2.py [CHECKPOINT]

CHECKPOINT is a folder with config.json and model.safetensors. If it is omitted, a tiny model with
random weights is loaded. `transposed=` names the tensors that PyTorch's `Linear` would store as
[out, in]. If CHECKPOINT has an expected.npz, outputs are compared with PyTorch's. The program needs
linnet and optax.

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
import numpy as np
from configs import ACTIVATIONS, Config
from llama import Ids, logits, tokens_in
from program import read_options
from reports import expected_of, print_difference, print_kept, print_size

from linnet import nnx
from linnet.weights import from_torch, load, to_torch

NAMES = {  # PyTorch's names, and ours
    "transformer": "",
    "h": "layers",
    ".mlp.c_fc": "mlp.layers.0",
    ".mlp.c_proj": "mlp.layers.1",
}
TRANSPOSED = ["*.c_attn.weight", "*.c_fc.weight", "*.c_proj.weight"]
IGNORED = ["*.attn.bias", "*.attn.masked_bias"]  # masks, in old files
OPTIONS: dict[str, Any] = {"rename": NAMES, "transposed": TRANSPOSED, "ignore": IGNORED}

# The model ---------------------------------------------------------------------------------------


class Block(nnx.Module):
    """Causal attention, then two dense layers; each adds to its input."""

    def __init__(self, config: Config, *, rngs: nnx.Rngs) -> None:
        width, hidden = config["n_embd"], config.get("n_inner") or 4 * config["n_embd"]
        norm = partial(nnx.LayerNorm, width, epsilon=config["layer_norm_epsilon"], rngs=rngs)
        self.ln_1, self.ln_2 = norm(), norm()
        self.attn = nnx.MultiHeadAttention(config["n_head"], width, decode=False, rngs=rngs)
        act = config.one_of("activation_function", ACTIVATIONS, "gelu_new")
        self.mlp = nnx.MLP(width, hidden, activation=act, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """The features [B, T, W], given the previous layer's."""
        x = x + self.attn(self.ln_1(x), is_causal=True)
        return x + self.mlp(self.ln_2(x))


class GPT2(nnx.Module):
    """Predicts each next token."""

    def __init__(self, config: Config, *, rngs: nnx.Rngs) -> None:
        embed = partial(nnx.Embed, features=config["n_embd"], rngs=rngs)
        self.wte, self.wpe = embed(config["vocab_size"]), embed(config["n_positions"])
        self.layers = nnx.Repeat(Block, config["n_layer"], config, rngs=rngs)
        epsilon = config["layer_norm_epsilon"]
        self.ln_f = nnx.LayerNorm(config["n_embd"], epsilon=epsilon, rngs=rngs)

    def __call__(self, tokens: Ids, first: Any = 0) -> jax.Array:
        """The logits [B, T, V] for `tokens` [B, T], the first of which is at position `first`."""
        positions = first + jnp.arange(tokens.shape[1])
        x = self.wte(jnp.asarray(tokens)) + self.wpe(positions)
        return self.wte.attend(self.ln_f(self.layers(x)))


def load_model(folder: Path) -> GPT2:
    """The model of a folder."""
    return filled(json.loads((folder / "config.json").read_text("utf-8")), load(folder))


def filled(config: Mapping[str, Any], tensors: Mapping[str, Any]) -> GPT2:
    """The model with these values."""
    known = Config(config, "gpt2.py", ["gpt2"])
    model = nnx.eval_shape(lambda: GPT2(known, rngs=nnx.Rngs(0)))
    known.check()
    return from_torch(model, tensors, **OPTIONS)


# Writing -----------------------------------------------------------------------------------------


@nnx.jit
def next_tokens(reader: GPT2, tokens: Ids, first: Any) -> jax.Array:
    """Reads `tokens` [B, T] from position `first` on; returns the likeliest next ones, [B]."""
    return reader(tokens, first)[:, -1].argmax(-1)


def write(model: GPT2, prompts: np.ndarray, count: int) -> np.ndarray:
    """The likeliest `count` tokens after the prompts [B, T]: [B, count]."""
    rows, length = prompts.shape
    reader = nnx.view(model, decode=True, batch_size=rows, max_length=length + count)
    written = [next_tokens(reader, prompts, 0)]
    for position in range(length, length + count - 1):
        written.append(next_tokens(reader, written[-1][:, None], position))
    return np.stack(written, axis=1)


def main() -> int:
    """Loads the model, compares outputs, generates, and returns the exit status."""
    options = read_options(__doc__.partition("\n")[0], steps=0, checkpoint="gpt2")
    folder = options.checkpoint
    model = load_model(folder)
    print_size(model, folder.name)
    prompts = np.random.default_rng(options.seed).integers(0, model.wte.num_embeddings, (2, 8))
    if torch := expected_of(folder):
        prompts = torch["in.input_ids"]
        print_difference(logits(model, prompts), torch["out.logits"])
        print("PyTorch   ", tokens_in(torch["out.generated"][:, -12:]))
    print("writes    ", tokens_in(write(model, prompts, 12)))
    tensors = load(folder)
    print_kept(to_torch(model, like=tensors, **OPTIONS), tensors)
    return 0


if __name__ == "__main__":
    sys.exit(main())
