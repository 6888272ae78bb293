"""DeepSeek's decoders: attention to one small vector per token, and a mixture of experts.

    python docs/examples/deepseek.py [CHECKPOINT]

CHECKPOINT is a folder with the config.json and model.safetensors of a DeepSeek-V2
(arXiv:2405.04434) or DeepSeek-V3 (arXiv:2412.19437) model. If it is omitted, a tiny model with
random weights is loaded. The keys and values of all heads are linear maps of one small vector, the
latent of a token, and of one rotated key that the heads share. The cache holds only these two:
queries are mapped into the space of the latents instead, and the result into that of the values.

The mixture of experts is that of sparse_decoders.py, and the other parts are imported from
llama.py. If CHECKPOINT has an expected.npz, outputs are compared with PyTorch's.

Shapes: B batch, T time (tokens), W width, H heads, N features of a head that aren't rotated, R
rotated ones, V features of its values, C features of a latent, L capacity of the cache.
"""

import math
import sys
from collections.abc import Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import llama
from configs import ACTIVATIONS
from llama import Checkpoint, Ids, try_out
from program import read_options
from reports import print_kept
from sparse_decoders import NAMES, Mixture, dense_first, ignored

from linnet import nnx
from linnet.layers_attention import functional
from linnet.weights import from_torch, to_torch

# The model ---------------------------------------------------------------------------------------


class LatentAttention(nnx.Module):
    """Causal attention whose keys and values are maps of the tokens' latents.

    Args:
      of: the checkpoint, which has the sizes and shows which parts exist.
    """

    def __init__(self, of: Checkpoint, *, rngs: nnx.Rngs) -> None:
        config, norm = of.config, llama.norm_of(of, rngs)
        options: dict[str, Any] = {"param_dtype": of.dtype, "rngs": rngs}
        linear: Any = partial(nnx.Linear, use_bias=False, **options)
        biased: Any = partial(nnx.Linear, use_bias=of.has("o_proj.bias"), **options)
        width, rank = config["hidden_size"], config.get("q_lora_rank")
        config.knows("qk_head_dim", "head_dim", "num_key_value_heads")
        self.heads, self.latent = config["num_attention_heads"], config["kv_lora_rank"]
        self.fixed, self.turned = config["qk_nope_head_dim"], config["qk_rope_head_dim"]
        self.depth, self.dtype = config["v_head_dim"], of.dtype
        queries = self.heads * (self.fixed + self.turned)
        self.q_a_proj: Any = biased(width, rank) if rank else None
        self.q_a_layernorm: Any = norm(rank) if rank else None
        self.q_b_proj: Any = linear(rank, queries) if rank else None
        self.q_proj: Any = None if rank else linear(width, queries)
        self.kv_a_proj_with_mqa = biased(width, self.latent + self.turned)
        self.kv_a_layernorm = norm(self.latent)
        self.kv_b_proj = linear(self.latent, self.heads * (self.fixed + self.depth))
        self.o_proj = biased(self.heads * self.depth, width)
        pairs = config.get("rope_interleave", True)
        self.rotary = nnx.rotary_from_config(config, interleaved=pairs)
        self.scale = scale_of(config)
        self.decode = False
        self.keys: Any = None
        self.latents: Any = None
        self.filled: Any = None

    def queries(self, x: jax.Array) -> jax.Array:
        """The queries [B, T, H, N + R] of features [B, T, W]."""
        if self.q_proj is not None:
            y = self.q_proj(x)
        else:
            y = self.q_b_proj(self.q_a_layernorm(self.q_a_proj(x)))
        return y.reshape(*x.shape[:2], self.heads, -1)

    def __call__(self, x: jax.Array, *, lengths: jax.Array | None = None) -> jax.Array:
        """The features [B, T, W] for `x` [B, T, W]; see `nnx.MultiHeadAttention` for `lengths`."""
        fixed, turned = jnp.split(self.queries(x), [self.fixed], axis=-1)
        latents, keys = jnp.split(self.kv_a_proj_with_mqa(x)[:, :, None], [self.latent], axis=-1)
        latents = self.kv_a_layernorm(latents)  # [B, T, 1, C]
        first = self.filled[...][:, None] if self.decode else 0
        positions = first + jnp.arange(x.shape[1])
        turned, keys = self.rotary(turned, positions), self.rotary(keys, positions)
        offset: Any = 0
        if self.decode:
            cache = functional.Cache(self.keys[...], self.latents[...], self.filled[...])
            new = functional.extend_cache(cache, keys, latents, lengths=lengths)
            self.keys[...], self.latents[...], self.filled[...] = new.cache
            keys, latents, offset = new.key, new.value, new.query_offset
        up = self.kv_b_proj.kernel[...].reshape(self.latent, self.heads, -1)  # [C, H, N + V]
        to_key, to_value = jnp.split(up, [self.fixed], axis=-1)
        fixed = jnp.einsum("bthn,chn->bthc", fixed, to_key)
        y = nnx.dot_product_attention(
            jnp.concatenate([fixed, turned], axis=-1),
            jnp.concatenate([latents, keys], axis=-1),
            latents,
            scale=self.scale,
            is_causal=True,
            query_offset=offset,
        )  # [B, T, H, C]
        y = jnp.einsum("bthc,chv->bthv", y, to_value)
        return self.o_proj(y.reshape(*x.shape[:2], -1))

    def set_view(
        self,
        decode: bool | None = None,
        batch_size: int | None = None,
        max_length: int | None = None,
    ) -> None:
        """Sets whether to decode, and makes the cache: [B, L, 1, R], [B, L, 1, C] and [B]."""
        self.decode = self.decode if decode is None else decode
        if batch_size is not None and max_length is not None:
            shape = batch_size, max_length, 1
            self.keys = nnx.Cache(jnp.zeros((*shape, self.turned), self.dtype))
            self.latents = nnx.Cache(jnp.zeros((*shape, self.latent), self.dtype))
            self.filled = nnx.Cache(jnp.zeros(batch_size, jnp.int32))


def scale_of(config: Mapping[str, Any]) -> float:
    """The factor of the products of queries and keys, larger if YaRN extends the context."""
    scale = (config["qk_nope_head_dim"] + config["qk_rope_head_dim"]) ** -0.5
    rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
    factor, weight = rope.get("factor") or 1.0, rope.get("mscale_all_dim") or 0.0
    return scale * (1 + 0.1 * weight * math.log(factor)) ** 2 if factor > 1 else scale


class Block(nnx.Module):
    """Attention, then a mixture of experts or a dense feed-forward layer.

    Args:
      of: the checkpoint.
      sparse: whether there are experts.
    """

    def __init__(self, of: Checkpoint, sparse: bool, *, rngs: nnx.Rngs) -> None:
        config, norm = of.config, llama.norm_of(of, rngs)
        self.input_layernorm = norm(config["hidden_size"])
        self.attention = LatentAttention(of, rngs=rngs)
        self.post_attention_layernorm = norm(config["hidden_size"])
        sizes = config["hidden_size"], config["intermediate_size"]
        act = config.one_of("hidden_act", ACTIVATIONS)
        options: dict[str, Any] = {"param_dtype": of.dtype, "rngs": rngs}
        dense = partial(nnx.GLU, *sizes, activation=act, **options)
        self.mlp = Mixture(of, rngs=rngs) if sparse else dense()

    def __call__(self, x: jax.Array, *, lengths: Any) -> jax.Array:
        """The features [B, T, W], given the previous layer's."""
        x = x + self.attention(self.input_layernorm(x), lengths=lengths)
        return x + self.mlp(self.post_attention_layernorm(x))


class Decoder(llama.Decoder):
    """Predicts each next token."""

    def __init__(self, of: Checkpoint, *, rngs: nnx.Rngs) -> None:
        width, words = of.config["hidden_size"], of.config["vocab_size"]
        first, layers = of.config["first_k_dense_replace"], of.config["num_hidden_layers"]
        options: dict[str, Any] = {"param_dtype": of.dtype, "rngs": rngs}
        self.embed_tokens = nnx.Embed(words, width, **options)
        self.divisor, self.soft_cap = 1.0, None
        llama.require_fixed_positions(of.config)
        self.trained = None
        self.dense = nnx.Repeat(Block, first, of, False, rngs=rngs) if first else None
        self.layers = nnx.Repeat(Block, layers - first, of, True, rngs=rngs)
        self.norm = llama.norm_of(of, rngs)(width)
        self.head = nnx.Linear(width, words, use_bias=False, **options)

    def hidden(self, tokens: Ids, lengths: Ids | None = None) -> jax.Array:
        """The features [B, T, W] for `tokens` [B, T], with `lengths` [B] tokens in each row."""
        x = self.embed_tokens(jnp.asarray(tokens))
        x = x if self.dense is None else self.dense(x, lengths=lengths)
        return self.norm(self.layers(x, lengths=lengths))


def names_of(of: Checkpoint) -> Mapping[str, str]:
    """The renames for `from_torch` and `to_torch`."""
    return of.names() | dense_first(of) | NAMES


def load_model(of: Checkpoint) -> Decoder:
    """The model with the checkpoint's values."""
    known = of.known("deepseek.py", ["deepseek_v2", "deepseek_v3"])
    model = nnx.eval_shape(lambda: Decoder(known, rngs=nnx.Rngs(0)))
    known.config.check(of.tensors)
    return from_torch(model, of.tensors, rename=names_of(of), ignore=ignored(of))


def main() -> int:
    """Loads the model, compares outputs, generates, and returns the exit status."""
    options = read_options(__doc__.partition("\n")[0], steps=0, checkpoint="deepseek")
    of = Checkpoint.read(options.checkpoint)
    model = load_model(of)
    try_out(model, of, options.checkpoint, options.seed)
    print_kept(
        to_torch(model, like=of.tensors, rename=names_of(of), ignore=ignored(of)), of.tensors
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
