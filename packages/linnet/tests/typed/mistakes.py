"""Mistakes that mypy and pyright must both report: each line that ends in `# bad`, and no other.

Nothing here is run: `test_typing.py` gives it to both checkers.
"""

import jax
import optax

import linnet.linen as nn
import linnet.module_core.nnx
from linnet import jax_utils, nnx
from linnet.struct import PyTreeNode, field
from linnet.training.early_stopping import EarlyStopping

key = jax.random.key(0)
x = jax.random.normal(key, (2, 3))
rngs = nnx.Rngs(0)


class Net(nnx.Module):
    def __init__(self, width: int, *, rngs: nnx.Rngs) -> None:
        self.layer = nnx.Linear(width, width, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.layer(x)

    @nnx.jit
    def compiled(self, x: jax.Array) -> jax.Array:
        return self(x)


net = Net(3, rngs=rngs)
layer = nnx.Linear(3, 4, rngs=rngs)


@nnx.jit
def predict(model: Net, x: jax.Array) -> jax.Array:
    return model(x)


@nnx.jit(static_argnames="times")
def repeated(model: Net, times: int) -> jax.Array:
    return model(x) * times


def loss(model: Net, x: jax.Array) -> jax.Array:
    return model(x).sum()


class Block(nn.Module):
    width: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        return nn.Dense(self.width)(x)


# Constructors.
nnx.Linear(3, 4)  # bad
nnx.Linear(3, rngs=rngs)  # bad
nnx.Linear(3, 4, use_bias="no", rngs=rngs)  # bad
nnx.Linear(3, 4, fetures=3, rngs=rngs)  # bad
nnx.Linea(3, 4, rngs=rngs)  # bad
linnet.module_core.nnx.Linea(3, 4, rngs=rngs)  # bad
nnx.LoRA(3, 2, 4, base_module=layer, kernel=3, rngs=rngs)  # bad
nnx.Conv(3, 4, kernel_size="3", rngs=rngs)  # bad
nn.Dense()  # bad
nn.Dense("3")  # bad
nn.Dense(fetures=3)  # bad
nn.Dense(3, use_bias="no")  # bad
nn.Conv(3)  # bad
nn.Embed(10)  # bad
Block()  # bad
Block(widht=3)  # bad

# Calls to modules and what they return.
net(3)  # bad
net.compiled("x")  # bad
net.layr  # bad
net.layer.kernl  # bad
Block(3)("x")  # bad
text: str = net(x)  # bad

# Transforms keep the signature, and their options are checked.
predict(3, x)  # bad
predict(net)  # bad
repeated(net, times="twice")  # bad
nnx.jit(loss, donate_argnum=0)  # bad
nnx.vmap(loss, in_axs=0)  # bad
nnx.remat(loss)(x, x)  # bad
nnx.grad(loss)(3, x)  # bad
nnx.value_and_grad(loss, argnum=0)(net, x)  # bad
nnx.while_loop(lambda n: n < 3, lambda n: n + 1)  # bad
nnx.split_rngs(rngs, split=3)  # bad
nn.vmap(nn.Dense)(features="3")  # bad
nn.jit(Block)(widht=3)  # bad
nn.remat(Block, policies=None)(3)  # bad
nn.jit(Block, methods=3)  # bad
nnx.jit(loss).lower(3, x)  # bad

# Variables, state and structure.
kernel: str = layer.kernel.value  # bad
layer.kernel.value = "zeros"  # bad
state: nnx.State = nnx.split(net)  # bad
other: Block = nnx.merge(*nnx.split(net))  # bad
nnx.List([net])[0].layers  # bad
rngs.params.normal(shap=(2,))  # bad

# Training.
nnx.Optimizer(net, wrt=nnx.Param)  # bad
nnx.Optimizer(net, 1e-3, wrt=nnx.Param)  # bad
model: Block = nnx.Optimizer(net, optax.adam(1e-3), wrt=nnx.Param)  # bad
Block(3).init()  # bad
stopped: int = EarlyStopping().update(1.0)  # bad
params: str = jax_utils.replicate({"w": x})  # bad


# Dataclasses.
class Point(PyTreeNode):
    count: int
    tag: str = field(pytree_node=False, default="t")


Point()  # bad
Point("1")  # bad
Point(1).count = 2  # bad
Point(1).replace(2)  # bad
