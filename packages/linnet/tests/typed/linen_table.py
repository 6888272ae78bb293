"""The types that a user of linen must see; mypy and pyright report each `assert_type` that differs.

This file is never run: `test_typing.py` passes it to both checkers.
"""

import dataclasses
from typing import Any, assert_type

import jax
import jax.numpy as jnp
import optax

import linnet.linen as nn
from linnet import struct
from linnet.jax_utils import replicate, unreplicate
from linnet.training import checkpoints, common_utils
from linnet.training.early_stopping import EarlyStopping
from linnet.training.prefetch_iterator import PrefetchIterator
from linnet.training.train_state import TrainState


class Block(nn.Module):
    """A user-defined module."""

    features: int
    rate: float = 0.1

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        assert_type(nn.Dense(self.features)(x), jax.Array)
        assert_type(nn.Dropout(self.rate, deterministic=not train)(x), jax.Array)
        assert_type(nn.BatchNorm(use_running_average=not train)(x), jax.Array)
        assert_type(nn.remat(nn.Dense)(self.features)(x), jax.Array)
        assert_type(self.make_rng("dropout"), jax.Array)
        assert_type(self.has_variable("params", "kernel"), bool)
        assert_type(self.is_initializing(), bool)
        scale = self.param("scale", nn.initializers.ones, (3,))
        count = self.variable("counts", "steps", lambda: 3)
        assert_type(scale, jax.Array)
        assert_type(count, nn.Variable[int])
        assert_type(count.value, int)
        assert_type(self.sow("intermediates", "x", x), bool)
        assert_type(self.perturb("x", x), jax.Array)
        return x * scale

    @nn.nowrap
    def plain(self, n: int) -> str:
        return str(n)

    @nn.jit
    def compiled(self, x: jax.Array) -> jax.Array:
        return x

    @nn.remat
    def again(self, x: jax.Array) -> jax.Array:
        return x


def call(block: Block, x: jax.Array) -> jax.Array:
    return block(x)


class Step(nn.Module):
    """A step of a loop."""

    features: int

    @nn.compact
    def __call__(self, carry: jax.Array, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        return carry, x


@nn.jit
def compiled(block: Block, x: jax.Array) -> jax.Array:
    return block(x)


@nn.remat
def cheap(block: Block, x: jax.Array) -> jax.Array:
    return block(x)


key = jax.random.key(0)
x = jnp.ones((2, 3))
block = Block(3)

# Modules: the constructor, the fields, what a call returns.

assert_type(block, Block)
assert_type(block.features, int)
assert_type(block(x), jax.Array)
assert_type(block.plain(3), str)
assert_type(block.compiled(x), jax.Array)
assert_type(block.again(x), jax.Array)
assert_type(block.name, str | None)
assert_type(block.clone(features=4), Block)
assert_type(block.copy(features=4), Block)
assert_type(block.bind({}), Block)
assert_type(block.unbind()[0], Block)
assert_type(nn.Dense(3), nn.Dense)
assert_type(nn.Dense(3).features, int)
assert_type(nn.Conv(3, (3, 3))(x), jax.Array)
assert_type(nn.Embed(3, 4)(x), jax.Array)
assert_type(nn.Embed(3, 4).attend(x), jax.Array)
assert_type(nn.LayerNorm()(x), jax.Array)
assert_type(nn.MultiHeadDotProductAttention(num_heads=2)(x), jax.Array)
assert_type(nn.Sequential([nn.Dense(3), nn.relu]), nn.Sequential)
assert_type(nn.max_pool(x, (2, 2)), jax.Array)
assert_type(nn.relu(x), jax.Array)
assert_type(nn.softmax(x, axis=-1), jax.Array)
assert_type(nn.logsumexp(x), jax.Array)
assert_type(nn.logsumexp(x, return_sign=True), tuple[jax.Array, jax.Array])
assert_type(nn.make_causal_mask(x), jax.Array)
assert_type(nn.initializers.normal(0.1)(key, (2, 3)), jax.Array)

# init and apply.

variables = block.init(key, x)
assert_type(variables, dict[str, Any])
assert_type(block.init_with_output(key, x), tuple[Any, dict[str, Any]])
assert_type(block.lazy_init(key, x), dict[str, Any])
assert_type(block.apply(variables, x, mutable=["batch_stats"]), tuple[Any, dict[str, Any]])
assert_type(block.apply(variables, x, mutable=True), tuple[Any, dict[str, Any]])
assert_type(block.apply(variables, x, mutable="batch_stats"), tuple[Any, dict[str, Any]])
assert_type(block.apply(variables, x, mutable=nn.DenyList("params")), tuple[Any, dict[str, Any]])
y: jax.Array = block.apply(variables, x)
assert_type(block.tabulate(key, x), str)
assert_type(nn.init(call, block)(key, x), dict[str, Any])
assert_type(nn.apply(call, block)(variables, x), jax.Array)
assert_type(nn.tabulate(block, key)(x), str)

# Transforms: a transformed class keeps its constructor, and a transformed function its signature.

assert_type(nn.jit(Block)(3), Block)
assert_type(nn.jit(Block)(features=3)(x), jax.Array)
assert_type(nn.remat(Block, static_argnums=(2,))(3), Block)
assert_type(nn.checkpoint(nn.Dense)(3), nn.Dense)
assert_type(nn.vmap(nn.Dense)(3), nn.Dense)
assert_type(nn.vmap(Block, variable_axes={"params": 0}, split_rngs={"params": True})(3), Block)
assert_type(nn.scan(Block, variable_axes={"params": 0}, length=3)(3), Block)
assert_type(nn.remat_scan(Block, lengths=(2, 2))(3), Block)
assert_type(nn.map_variables(Block, "params")(3), Block)
assert_type(nn.fold_rngs(Block)(3), Block)
assert_type(nn.add_metadata_axis(Block)(3), Block)
assert_type(nn.scan(Step, variable_broadcast="params")(3)(x, x), tuple[jax.Array, jax.Array])
assert_type(nn.partitioning.scan_with_axes(Block)(3), Block)
assert_type(nn.partitioning.remat(Block)(3), Block)
assert_type(nn.jit(call)(block, x), jax.Array)
assert_type(compiled(block, x), jax.Array)
assert_type(cheap(block, x), jax.Array)
assert_type(nn.remat(call)(block, x), jax.Array)
assert_type(nn.vmap(call)(block, x), jax.Array)
assert_type(nn.scan(call)(block, x), jax.Array)
assert_type(nn.custom_vjp(call, call, call)(block, x), jax.Array)
assert_type(nn.named_call(call)(block, x), jax.Array)
assert_type(nn.cond(True, call, call, block, x), jax.Array)
assert_type(nn.switch(0, [call, call], block, x), jax.Array)
assert_type(nn.while_loop(lambda m, n: n < 3, lambda m, n: n + 1, block, 0), int)
assert_type(nn.value_and_grad(call, block, x)[0], jax.Array)
assert_type(nn.vjp(call, block, x)[0], jax.Array)
assert_type(nn.jvp(call, block, (x,), (x,), {})[0], jax.Array)

# Partitioning.

assert_type(
    nn.with_partitioning(nn.initializers.ones, ("a", None))(key, (2, 3)).names,
    tuple[str | None, ...],
)
assert_type(nn.with_logical_constraint(x, ("a", "b")), jax.Array)
assert_type(nn.Partitioned(x, ("a", "b")).unbox(), jax.Array)
assert_type(nn.merge_param("rate", 0.1, None), float)
assert_type(nn.FrozenDict({"a": 1})["a"], int)


# Dataclasses. Checkers know `replace` only on `PyTreeNode`: a decorator cannot declare a method.


class Node(struct.PyTreeNode):
    count: int
    tag: str = struct.field(pytree_node=False, default="t")


@struct.dataclass
class Point:
    x: jax.Array
    tag: str = struct.field(pytree_node=False, default="t")


assert_type(Node(1).replace(count=2), Node)
assert_type(Node(1).tag, str)
assert_type(Point(x).x, jax.Array)
assert_type(dataclasses.replace(Point(x), tag="u"), Point)
assert_type(struct.freeze({"a": 1}), struct.FrozenDict[str, int])
assert_type(struct.unfreeze(struct.freeze({"a": 1})), dict[str, int])
assert_type(struct.serialization.to_bytes(variables), bytes)
assert_type(struct.serialization.from_bytes(Node(1), b""), Node)
assert_type(struct.traverse_util.flatten_dict({"a": {"b": 1}}, sep="/"), dict[str, Any])


# Training: a user-defined state, and helpers that return their argument.


class State(TrainState):
    batch_stats: dict[str, jax.Array]


state = State.create(apply_fn=block.apply, params={}, tx=optax.adam(1e-3), batch_stats={})
assert_type(state, State)
assert_type(state.apply_gradients(grads={}), State)
assert_type(state.replace(step=1), State)
assert_type(state.batch_stats, dict[str, jax.Array])
assert_type(replicate(state), State)
assert_type(unreplicate(state), State)
assert_type(common_utils.shard({"x": x}), dict[str, jax.Array])
assert_type(common_utils.get_metrics([{"loss": x}]), dict[str, jax.Array])
assert_type(checkpoints.restore_checkpoint("folder", state), State)
assert_type(EarlyStopping().update(1.0), EarlyStopping)
assert_type(next(PrefetchIterator([1, 2])), int)
