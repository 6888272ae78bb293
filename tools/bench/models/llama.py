"""A language model of 70 billion parameters, as shapes: nothing is ever computed.

The sizes are those of Llama 3 70B (Grattafiori et al. 2024, arXiv:2407.21783): RMSNorm, attention
with 8 key and value heads for 64 query heads, a gated feed-forward layer, no biases. Parameters are
float32 and split over both axes of a mesh of 16 x 16 devices, except for the norms' scales.

D features, F hidden features, V tokens in the vocabulary, K features of a head
"""

from __future__ import annotations

import functools
import importlib
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.sharding import AbstractMesh, NamedSharding, PartitionSpec

from bench.case import LINNET

from .modules import nnx_of

LAYERS, D, F, V, HEADS, KV_HEADS = 80, 8192, 28672, 128256, 64, 8
K = D // HEADS
BATCH, TOKENS = 256, 4096
MESH = AbstractMesh((16, 16), ("data", "model"))
OPTIMIZER = optax.adam(1e-4)


class State(NamedTuple):
    """The arguments and results of a training step."""

    params: Any
    moments: Any


def bytes_by_hand() -> float:
    """Bytes of parameters and Adam's moments per device, from a hand-written formula."""
    attention = D * HEADS * K + 2 * D * KV_HEADS * K + HEADS * K * D
    split = LAYERS * (attention + 3 * D * F) + 2 * V * D
    whole = LAYERS * 2 * D + D  # the norms' scales
    return float(3 * 4 * (split / MESH.size + whole))


def bytes_of_a_device(tree: Any) -> float:
    """Bytes per device of abstract arrays with shardings."""
    return float(
        sum(
            math.prod(x.sharding.shard_shape(x.shape)) * x.dtype.itemsize
            for x in jax.tree.leaves(tree)
        )
    )


@functools.cache
def _linen() -> Any:
    nn = importlib.import_module("linnet.linen")

    def split(*names: str | None) -> Any:
        return nn.with_partitioning(nn.initializers.lecun_normal(), names)

    def dense(features: int, *names: str) -> Any:
        return nn.Dense(features, use_bias=False, dtype=jnp.bfloat16, kernel_init=split(*names))

    class Layer(nn.Module):  # type: ignore[misc, name-defined]
        @nn.compact  # type: ignore[untyped-decorator]
        def __call__(self, x: Any) -> Any:
            # 8 key heads can't be split over 16 devices: each head's features are split instead.
            attention = nn.MultiHeadAttention(
                HEADS,
                num_kv_heads=KV_HEADS,
                rotary=nn.Rotary(500_000.0),
                use_bias=False,
                dtype=jnp.bfloat16,
                kernel_init=split("data", None, "model"),
                out_kernel_init=split(None, "model", "data"),
            )
            x = x + attention(nn.RMSNorm(dtype=jnp.bfloat16)(x), is_causal=True)
            y = nn.RMSNorm(dtype=jnp.bfloat16)(x)
            y = nn.silu(dense(F, "data", "model")(y)) * dense(F, "data", "model")(y)
            return x + dense(D, "model", "data")(y)

    class Model(nn.Module):  # type: ignore[misc, name-defined]
        @nn.compact  # type: ignore[untyped-decorator]
        def __call__(self, tokens: Any) -> Any:
            embedding = split("model", "data")
            x = nn.Embed(V, D, dtype=jnp.bfloat16, embedding_init=embedding)(tokens)
            x = nn.Repeat(Layer, LAYERS, remat="nothing", axis_name=None)(x)
            return dense(V, "data", "model")(nn.RMSNorm(dtype=jnp.bfloat16)(x))

    return Model()


def abstract_state() -> State:
    """The shapes of parameters and moments, with their shardings."""
    nn, model = importlib.import_module("linnet.linen"), _linen()

    def init(key: Any, tokens: Any) -> State:
        params = model.init(key, tokens)["params"]
        return State(params, OPTIMIZER.init(params))

    tokens = jax.ShapeDtypeStruct((1, TOKENS), jnp.int32)  # type: ignore[no-untyped-call]
    state = jax.eval_shape(init, jax.random.key(0), tokens)
    shardings = nn.get_sharding(state, MESH)

    def placed(x: Any, sharding: Any) -> Any:
        return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding)  # type: ignore[no-untyped-call]

    placed_state: State = jax.tree.map(placed, nn.unbox(state), shardings)
    return placed_state


def lowered_step(state: State) -> Any:
    """The training step, traced and lowered for TPUs."""
    model = _linen()

    def step(state: State, tokens: Any) -> tuple[State, Any]:
        def loss(params: Any) -> Any:
            logits = model.apply({"params": params}, tokens[:, :-1]).astype(jnp.float32)
            losses = optax.softmax_cross_entropy_with_integer_labels(logits, tokens[:, 1:])
            return jnp.mean(losses)

        value, gradients = jax.value_and_grad(loss)(state.params)
        updates, moments = OPTIMIZER.update(gradients, state.moments, state.params)
        return State(optax.apply_updates(state.params, updates), moments), value

    spec = PartitionSpec("data")  # type: ignore[no-untyped-call]
    tokens = jax.ShapeDtypeStruct(  # type: ignore[no-untyped-call]
        (BATCH, TOKENS + 1), jnp.int32, sharding=NamedSharding(MESH, spec)
    )
    return jax.jit(step, donate_argnums=0).trace(state, tokens).lower(lowering_platforms=("tpu",))


@functools.cache
def _nnx(form: str) -> Any:
    nnx = nnx_of(form)

    def linear(inputs: int, outputs: int, rngs: Any, *names: str) -> Any:
        init = nnx.with_partitioning(nnx.initializers.lecun_normal(), names)
        return nnx.Linear(inputs, outputs, use_bias=False, kernel_init=init, rngs=rngs)

    class Layer(nnx.Module):  # type: ignore[misc, name-defined]
        def __init__(self, rngs: Any) -> None:
            self.norm1, self.norm2 = nnx.RMSNorm(D, rngs=rngs), nnx.RMSNorm(D, rngs=rngs)
            self.query = linear(D, HEADS * K, rngs, "data", "model")
            self.key = linear(D, KV_HEADS * K, rngs, "data", "model")
            self.value = linear(D, KV_HEADS * K, rngs, "data", "model")
            self.out = linear(HEADS * K, D, rngs, "model", "data")
            self.gate = linear(D, F, rngs, "data", "model")
            self.up = linear(D, F, rngs, "data", "model")
            self.down = linear(F, D, rngs, "model", "data")

    class Model(nnx.Module):  # type: ignore[misc, name-defined]
        def __init__(self, rngs: Any) -> None:
            init = nnx.with_partitioning(nnx.initializers.lecun_normal(), ("model", "data"))
            self.embed = nnx.Embed(V, D, embedding_init=init, rngs=rngs)
            self.layers = nnx.List([Layer(rngs) for _ in range(LAYERS)])
            self.norm = nnx.RMSNorm(D, rngs=rngs)
            self.head = linear(D, V, rngs, "data", "model")

    return Model


def abstract_nnx(form: str = LINNET) -> Any:
    """The nnx model with a module for each layer, as shapes; its layers only hold parameters."""
    nnx = nnx_of(form)
    with jax.sharding.use_abstract_mesh(MESH):
        return nnx.eval_shape(lambda: _nnx(form)(nnx.Rngs(0)))
