"""The types that a user of nnx must see; mypy and pyright report each `assert_type` that differs.

Nothing here is run: `test_typing.py` gives it to both checkers.
"""

from collections.abc import Callable
from typing import Any, assert_type

import jax
import jax.numpy as jnp
import optax

from linnet import nnx


class Net(nnx.Module):
    """A user-defined module."""

    def __init__(self, width: int, *, rngs: nnx.Rngs) -> None:
        self.layer = nnx.Linear(width, width, rngs=rngs)
        self.scale = nnx.Param(jnp.ones(width))
        self.blocks = nnx.List([nnx.Linear(width, width, rngs=rngs)])

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.layer(x) * self.scale

    @nnx.jit
    def compiled(self, x: jax.Array) -> jax.Array:
        return self(x)

    @nnx.vmap(in_axes=(None, 0))
    def rows(self, x: jax.Array) -> jax.Array:
        return x

    @nnx.remat
    def again(self, x: jax.Array) -> jax.Array:
        return x


rngs = nnx.Rngs(0, dropout=1)
net = Net(3, rngs=rngs)
x = jnp.ones((2, 3))


def forward(model: Net, x: jax.Array) -> jax.Array:
    return model(x)


def loss(model: Net, x: jax.Array) -> jax.Array:
    return model(x).sum()


def loss_and_logits(model: Net, x: jax.Array) -> tuple[jax.Array, str]:
    return model(x).sum(), "logits"


# Modules: what was made, and what its attributes hold.

assert_type(net, Net)
assert_type(net(x), jax.Array)
assert_type(net.compiled(x), jax.Array)
assert_type(net.rows(x), jax.Array)
assert_type(net.again(x), jax.Array)
assert_type(net.blocks[0], nnx.Linear)
assert_type([block(x) for block in net.blocks], list[jax.Array])
assert_type(net.layer.in_features, int)
assert_type(net.layer.kernel, nnx.Param[jax.Array])
assert_type(net.layer.kernel.value, jax.Array)
assert_type(net.layer.kernel[...], jax.Array)
assert_type(net.layer.bias, nnx.Param[jax.Array] | None)
assert_type(net.layer(x), jax.Array)
assert_type(nnx.Conv(3, 4, (3, 3), rngs=rngs).kernel, nnx.Param[jax.Array])
assert_type(nnx.Embed(3, 4, rngs=rngs).embedding, nnx.Param[jax.Array])
assert_type(nnx.Embed(3, 4, rngs=rngs).attend(x), jax.Array)
assert_type(nnx.Einsum("ab,bc->ac", (3, 4), rngs=rngs).kernel, nnx.Param[jax.Array])
assert_type(nnx.LayerNorm(3, rngs=rngs).scale, nnx.Param[jax.Array] | None)
assert_type(nnx.BatchNorm(3, rngs=rngs).mean, nnx.BatchStat[jax.Array])
assert_type(nnx.BatchNorm(3, rngs=rngs)(x), jax.Array)
assert_type(nnx.Dropout(0.5, rngs=rngs)(x), jax.Array)
assert_type(nnx.MultiHeadAttention(2, 4, rngs=rngs).query, nnx.LinearGeneral)
assert_type(nnx.MultiHeadAttention(2, 4, rngs=rngs, decode=False)(x), jax.Array)
assert_type(nnx.GRUCell(3, 4, rngs=rngs)(x, x), tuple[jax.Array, jax.Array])
assert_type(nnx.Sequential(net.layer, nnx.relu), nnx.Sequential)
assert_type(nnx.relu(x), jax.Array)
assert_type(nnx.softmax(x, axis=-1), jax.Array)
assert_type(nnx.initializers.lecun_normal()(rngs.params(), (2, 3), jnp.float32), jax.Array)
assert_type(nnx.initializers.zeros_init()(rngs.params(), (2, 3), jnp.float32), jax.Array)
assert_type(nnx.dot_product_attention(x, x, x), jax.Array)
net.train()
net.eval()
assert_type(net.perturb("x", x), jax.Array)
assert_type(nnx.recursive_map(lambda path, value: value, net), Net)
assert_type(nnx.Linear(3, 4, rngs=rngs).bias, nnx.Param[jax.Array] | None)
assert_type(nnx.LoRALinear(3, 4, lora_rank=2, rngs=rngs)(x), jax.Array)
assert_type(nnx.view(net, deterministic=True), Net)
assert_type(nnx.tabulate(net, x), str)

# Variables: the operators of the array that they hold, on both sides.

param = nnx.Param(x)
assert_type(param, nnx.Param[jax.Array])
assert_type(param.get_value(), jax.Array)
assert_type(param + x, jax.Array)
assert_type(x + param, jax.Array)
assert_type(x @ param, jax.Array)
assert_type(param @ x, jax.Array)
assert_type(2 * param, jax.Array)
assert_type(param * 2, jax.Array)
assert_type(x * param, jax.Array)
assert_type(x - param, jax.Array)
assert_type(x / param, jax.Array)
assert_type(param / param, jax.Array)
assert_type(1 - param, jax.Array)
assert_type(param**2, jax.Array)
assert_type(-param, jax.Array)
assert_type(abs(param), jax.Array)
assert_type(param < 2, jax.Array)
assert_type(param[0], jax.Array)
assert_type(param.shape, tuple[int, ...])
assert_type(param.ndim, int)
assert_type(param.T, jax.Array)
assert_type(param.sum(), jax.Array)
assert_type(param.astype(jnp.float16), jax.Array)
assert_type(jnp.dot(x, param[...]), jax.Array)
assert_type(param.copy(), nnx.Param[jax.Array])
assert_type(param.replace(x), nnx.Param[jax.Array])
assert_type(nnx.BatchStat(0.5), nnx.BatchStat[float])
assert_type(nnx.Variable(3).value, int)
param.value = x + 1
param[...] = x + 1
param[...] += 1

# Structure and state.

graphdef, state = nnx.split(net)
assert_type(graphdef, nnx.GraphDef[Net])
assert_type(state, nnx.State)
assert_type(nnx.split(net, nnx.Param), tuple[nnx.GraphDef[Net], nnx.State])
assert_type(nnx.split(net, nnx.Param, ...), tuple[nnx.GraphDef[Net], nnx.State, nnx.State])
assert_type(nnx.merge(graphdef, state), Net)
assert_type(nnx.merge(*nnx.split(net)), Net)
assert_type(nnx.merge(*nnx.split(net.layer)), nnx.Linear)
assert_type(nnx.graphdef(net), nnx.GraphDef[Net])
assert_type(nnx.state(net), nnx.State)
assert_type(nnx.state(net, nnx.Param), nnx.State)
assert_type(nnx.state(net, nnx.Param, nnx.BatchStat), tuple[nnx.State, ...])
assert_type(nnx.variables(net), nnx.State)
assert_type(nnx.clone(net), Net)
assert_type(nnx.pop(net, nnx.Intermediate), nnx.State)
assert_type(nnx.update(net, state), None)
assert_type(nnx.to_pure_dict(state), dict[Any, Any])
assert_type(nnx.filter_state(state, nnx.Param), nnx.State)
assert_type(nnx.merge_state(state, state), nnx.State)
assert_type(nnx.eval_shape(lambda: Net(3, rngs=nnx.Rngs(0))), Net)
assert_type(nnx.create(Net, 3, rngs=nnx.Rngs(0)), Net)
assert_type(nnx.get_abstract_model(lambda: net, None)[0], nnx.GraphDef[Net])
assert_type(state.filter(nnx.Param), nnx.State)
assert_type(state.filter(nnx.Param, nnx.BatchStat), tuple[nnx.State, ...])
assert_type(state.split(nnx.Param, ...), tuple[nnx.State, ...])
assert_type(nnx.to_flat_state(state), nnx.FlatState[Any])
assert_type(nnx.to_flat_state(state).filter(nnx.Param), nnx.FlatState[Any])
assert_type(nnx.from_flat_state(nnx.to_flat_state(state)), nnx.State)
assert_type(nnx.map_state(lambda path, value: value, state), nnx.State)
assert_type(nnx.unpack(net), nnx.GraphState[Net])
assert_type(nnx.unpack(net, nnx.Param), nnx.GraphState[Net])
assert_type(nnx.unpack(net, nnx.Param, ...), tuple[nnx.GraphState[Net], ...])
assert_type(nnx.get_partition_spec(state), nnx.State)


def structure(graphdef: nnx.GraphDef[Net], variable: nnx.Variable[nnx.A]) -> nnx.A:
    assert_type(nnx.merge(graphdef, nnx.State({})), Net)
    return variable.get_value()


def same(model: nnx.M) -> nnx.M:
    return nnx.merge(*nnx.split(model))


assert_type(structure(graphdef, nnx.Variable(3)), int)
assert_type(same(net), Net)

# Containers.

assert_type(nnx.List([net]), nnx.List[Net])
assert_type(nnx.List([net])[0], Net)
assert_type(list(nnx.List([net])), list[Net])
assert_type(nnx.Dict(a=net)["a"], Net)
assert_type(nnx.Dict({"a": net})["a"], Net)
assert_type(nnx.data([net]), list[Net])
assert_type(nnx.static(3), int)

# Random streams.

assert_type(rngs.params(), jax.Array)
assert_type(rngs(), jax.Array)
assert_type(rngs.dropout, nnx.RngStream)
assert_type(rngs["dropout"], nnx.RngStream)
assert_type(rngs.params.key, nnx.RngKey[jax.Array])
assert_type(rngs.normal((2, 3)), jax.Array)
assert_type(rngs.dropout(), jax.Array)
assert_type(rngs.params.count.value, jax.Array)
assert_type(rngs.params.uniform((2,)), jax.Array)
assert_type(rngs.fork(split=3), nnx.Rngs)
assert_type(nnx.with_rngs(forward)(net, x), jax.Array)

# Transforms: each keeps the signature of its function.


@nnx.jit
def step(model: Net, x: jax.Array) -> jax.Array:
    return model(x)


@nnx.jit(donate_argnums=0)
def donating(model: Net, x: jax.Array) -> jax.Array:
    return model(x)


@nnx.jit(static_argnames="times")
def repeated(model: Net, times: int = 2) -> jax.Array:
    return model(x) * times


@nnx.remat(static_argnums=1)
def cheap(model: Net, times: int) -> jax.Array:
    return model(x) * times


@nnx.vmap(in_axes=(None, 0), out_axes=0)
def each(model: Net, x: jax.Array) -> jax.Array:
    return model(x)


@nnx.pmap(axis_name="devices")
def on_each(model: Net, x: jax.Array) -> jax.Array:
    return model(x)


@nnx.split_rngs(splits=3)
@nnx.vmap
def made(rngs: nnx.Rngs) -> Net:
    return Net(3, rngs=rngs)


@nnx.scan(in_axes=(nnx.Carry, 0), out_axes=nnx.Carry)
def carried(x: jax.Array, layer: nnx.Linear) -> jax.Array:
    return layer(x)


@nnx.grad
def slope(model: Net, x: jax.Array) -> jax.Array:
    return loss(model, x)


@nnx.value_and_grad(has_aux=True)
def both(model: Net, x: jax.Array) -> tuple[jax.Array, str]:
    return loss_and_logits(model, x)


@nnx.custom_vjp
def clipped(model: Net, x: jax.Array) -> jax.Array:
    return model(x)


@nnx.grad(has_aux=True)
def slope_and_text(model: Net, x: jax.Array) -> tuple[jax.Array, str]:
    return loss_and_logits(model, x)


@nnx.checkpoint(policy=None)
def saving(model: Net, x: jax.Array) -> jax.Array:
    return model(x)


@nnx.checkify
def checked(model: Net, x: jax.Array) -> jax.Array:
    return model(x)


@nnx.shard_map(mesh=jax.make_mesh((1,), ("a",)), in_specs=(), out_specs=())
def on_shards(model: Net, x: jax.Array) -> jax.Array:
    return model(x)


@nnx.split_rngs(splits=3)
@nnx.vmap(in_axes=(0, None))
def several(rngs: nnx.Rngs, width: int) -> Net:
    return Net(width, rngs=rngs)


assert_type(step(net, x), jax.Array)
assert_type(step(model=net, x=x), jax.Array)
assert_type(donating(net, x), jax.Array)
assert_type(repeated(net, times=3), jax.Array)
assert_type(repeated(net), jax.Array)
assert_type(cheap(net, 2), jax.Array)
assert_type(each(net, x), jax.Array)
assert_type(on_each(net, x), jax.Array)
assert_type(made(rngs), Net)
assert_type(carried(x, net.layer), jax.Array)
assert_type(both(net, x)[0][1], str)
assert_type(clipped(net, x), jax.Array)
assert_type(slope_and_text(net, x)[1], str)
assert_type(saving(net, x), jax.Array)
assert_type(checked(net, x)[1], jax.Array)
assert_type(on_shards(net, x), jax.Array)
assert_type(several(rngs, 3), Net)
assert_type(nnx.grad(loss_and_logits, has_aux=True)(net, x)[1], str)
assert_type(
    nnx.vmap(forward, in_axes=(nnx.StateAxes({nnx.Param: 0, ...: None}), None))(net, x), jax.Array
)
assert_type(nnx.eval_shape(forward, net, x), jax.Array)
assert_type(step.eval_shape(net, x), jax.Array)
assert_type(step.lower(net, x).compile()(net, x), jax.Array)
assert_type(nnx.jit(forward)(net, x), jax.Array)
assert_type(nnx.jit(forward, static_argnums=())(net, x), jax.Array)
assert_type(nnx.remat(forward)(net, x), jax.Array)
assert_type(nnx.checkpoint(forward)(net, x), jax.Array)
assert_type(nnx.vmap(forward, in_axes=(None, 0))(net, x), jax.Array)
assert_type(nnx.pmap(forward)(net, x), jax.Array)
assert_type(nnx.scan(carried, length=3)(x, net.layer), jax.Array)
assert_type(nnx.value_and_grad(loss)(net, x)[0], jax.Array)
assert_type(nnx.value_and_grad(loss_and_logits, has_aux=True)(net, x)[0], tuple[jax.Array, str])
assert_type(nnx.value_and_grad(loss, argnums=nnx.DiffState(0, nnx.Param))(net, x)[0], jax.Array)
assert_type(nnx.custom_vjp(forward)(net, x), jax.Array)
assert_type(nnx.cond(True, forward, forward, net, x), jax.Array)
assert_type(nnx.switch(0, [forward, forward], net, x), jax.Array)
assert_type(nnx.while_loop(lambda n: n < 3, lambda n: n + 1, 0), int)
assert_type(nnx.fori_loop(0, 3, lambda i, y: y * 2, x), jax.Array)
assert_type(nnx.split_rngs(forward, splits=2)(net, x), jax.Array)
assert_type(nnx.fork_rngs(rngs), nnx.StreamBackups)
assert_type(
    nnx.shard_map(forward, mesh=jax.make_mesh((1,), ("a",)), in_specs=(), out_specs=())(net, x),
    jax.Array,
)
assert_type(nnx.checkify(forward)(net, x)[1], jax.Array)
assert_type(nnx.cached_partial(step, net)(x), jax.Array)
assert_type(nnx.jit_partial(forward, net)(x), jax.Array)
assert_type(nnx.vjp(forward, net, x)[0], jax.Array)
assert_type(nnx.jvp(forward, (net, x), (net, x))[0], jax.Array)
assert_type(
    nnx.transform_metadata(forward, in_axes=0, out_axes=0, partition="a")(net, x), jax.Array
)
clipped.defvjp(forward, forward)

# Training.

optimizer = nnx.Optimizer(net, optax.adam(1e-3), wrt=nnx.Param)
assert_type(optimizer, nnx.Optimizer[Net])
assert_type(nnx.ModelAndOptimizer(net, optax.adam(1e-3), wrt=nnx.Param).model, Net)
assert_type(optimizer.step.value, jax.Array)
optimizer.update(net, nnx.grad(loss)(net, x))
metrics = nnx.MultiMetric(accuracy=nnx.metrics.Accuracy(), loss=nnx.metrics.Average("loss"))
metrics.update(loss=x, logits=x, labels=x)
assert_type(metrics.compute(), dict[str, Any])
assert_type(nnx.metrics.Average().compute(), jax.Array)
assert_type(nnx.metrics.Accuracy().compute(), jax.Array)
assert_type(nnx.metrics.Welford().compute().mean, jax.Array)
assert_type(nnx.EMA(net, 0.9).apply_to(net), Net)
averages: Callable[[], dict[str, Any]] = metrics.compute

deep = nnx.Repeat(Net, 24, 4, rngs=rngs)
assert_type(deep, nnx.Repeat[Net])
assert_type(deep.block.layer, nnx.Linear)
assert_type(nnx.Repeat([nnx.Linear, nnx.Linear], 4, 2, 2, rngs=rngs), nnx.Repeat[nnx.Linear])
