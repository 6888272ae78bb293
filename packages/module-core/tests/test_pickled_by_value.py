"""A notebook's models are sent to another process by value: classes, instances and their results.

A notebook's classes can't be imported elsewhere, so cloudpickle (joblib, Ray and Spark use it)
pickles them whole, with their methods and everything that these refer to. Here, the classes of this
file are pickled in the same way, and one fresh process runs all checks.
"""

import dataclasses
import subprocess
import sys
from typing import NamedTuple

import cloudpickle
import jax
import jax.numpy as jnp
import optax

from linnet.module_core import linen as nn
from linnet.module_core import nnx
from linnet.module_core.config import config
from linnet.module_core.training import TrainState
from linnet.struct import PyTreeNode, dataclass, field

X = jnp.ones((1, 3))
ones = jax.nn.initializers.ones


class Dense(nn.Module):
    width: int = 2

    @nn.compact
    def __call__(self, x):
        return x @ self.param("kernel", ones, (x.shape[-1], self.width))


class Deep(Dense):
    depth: int = 1

    def setup(self):
        self.layer = Dense(self.width)

    @property
    def first(self):
        return self.layer

    def __call__(self, x):
        return self.first(x)


class Decorated(nn.Module):
    @nn.jit
    @nn.compact
    def __call__(self, x):
        return Dense()(x)


class Scoped(nn.Module):
    @nn.compact_name_scope
    def up(self, x):
        return Dense()(x)

    @nn.compact
    def __call__(self, x):
        return self.up(x)


class Step(nn.Module):
    @nn.compact
    def __call__(self, carry, x):
        return Dense(3)(carry), x


class Linear(nnx.Module):
    def __init__(self, rngs):
        self.kernel = nnx.Param(rngs.params.normal((3, 2)))

    def __call__(self, x):
        return x @ self.kernel


class Jitted(Linear):
    @nnx.jit
    def __call__(self, x):
        return x @ self.kernel


@nnx.dataclass
class Scale(nnx.Module):
    factor: nnx.Param
    power: int = 2


@dataclass
class Point:
    x: jax.Array


@dataclass
class Tagged:
    x: jax.Array
    tag: str = field(pytree_node=False, default="tag")


class Node(PyTreeNode):
    x: jax.Array
    tag: str = field(pytree_node=False, default="tag")


class Assignable(PyTreeNode, frozen=False):
    x: jax.Array


class Below(Node):  # without fields of its own
    pass


class Wider(Node, kw_only=True):
    y: jax.Array


class Pair(NamedTuple):
    x: jax.Array


class Item(nnx.Pytree):
    def __init__(self, x):
        self.x = nnx.data(x)


STRUCTS = [cls(X) for cls in (Point, Tagged, Node, Assignable, Below, Pair, Item)] + [Wider(X, y=X)]


class Holder(nnx.Module):
    def __init__(self, values):
        self.values = nnx.data(values)
        self.param = nnx.Param(values)


def is_tree(value):
    """Whether a loaded instance is flattened and rebuilt with all its fields."""
    leaves, structure = jax.tree.flatten(value)
    doubled = jax.tree.map(lambda x: 2 * x, value)
    named = jax.tree.leaves_with_path(value)
    return (
        len(leaves) == len(named) == (2 if hasattr(value, "y") else 1)
        and structure == jax.tree.structure(doubled)
        and float(doubled.x[0, 0]) == 2
        and getattr(doubled, "tag", "tag") == "tag"
    )


def is_assignable(value):
    value.x = 3.0
    return jax.tree.leaves(value) == [3.0]


def call(model, x):
    return model(x)


def output(model, *args):
    return model.init_with_output(jax.random.key(0), *args)[0]


def used(model):
    """A model that has run in this process; its compiled programs are not sent."""
    model.init(jax.random.key(0), X)
    return model


def runs(model):
    return output(model, X).shape == (1, 2)


def runs_nnx(model):
    return model(X).shape == (1, 2)


SPLIT = {"variable_axes": {"params": 0}, "split_rngs": {"params": True}}
RNGS = nnx.Rngs(0)

# By name: the object to pickle, and a check that must hold in the other process.
THINGS = {
    "class": (Dense, lambda cls: output(cls(4), X).shape == (1, 4)),
    "fields": (
        Deep,
        lambda cls: (
            [f.name for f in dataclasses.fields(cls)] == ["width", "depth", "parent", "name"]
        ),
    ),
    "subclass": (Deep(), runs),
    "sequential": (nn.Sequential([Dense(5), Dense()]), runs),
    "decorated": (Decorated(), runs),
    "name scope": (Scoped(), runs),
    "jit": (used(nn.jit(Dense)()), runs),
    "remat": (nn.remat(Dense)(), runs),
    "class that is transformed there": (Dense, lambda cls: runs(nn.remat(cls)())),
    "vmap": (nn.vmap(Dense, **SPLIT)(), runs),
    "map_variables": (nn.map_variables(Dense, "params", mutable=True, init=True)(), runs),
    "scan": (
        nn.scan(Step, length=2, **SPLIT)(),
        lambda model: output(model, X, None)[0].shape == (1, 3),
    ),
    "bound method": (
        Dense().init,
        lambda init: init(jax.random.key(0), X)["params"].keys() == {"kernel"},
    ),
    "nnx class": (Linear, lambda cls: runs_nnx(cls(nnx.Rngs(0)))),
    "nnx": (Linear(RNGS), runs_nnx),
    "nnx split": (nnx.split(Linear(RNGS)), lambda parts: runs_nnx(nnx.merge(*parts))),
    "nnx jitted method": (Jitted(RNGS), runs_nnx),
    "nnx dataclass": (Scale(nnx.Param(1.0)), lambda model: model.power == 2),
    "nnx.jit": (nnx.jit(call), lambda f: f(Linear(nnx.Rngs(0)), X).shape == (1, 2)),
    "nnx.remat": (nnx.remat(call), lambda f: f(Linear(nnx.Rngs(0)), X).shape == (1, 2)),
    "nnx.vmap": (
        nnx.vmap(call, in_axes=(None, 0)),
        lambda f: f(Linear(nnx.Rngs(0)), X).shape == (1, 2),
    ),
    "bridge": (
        nnx.bridge.ToNNX(Dense(), nnx.Rngs(0)),
        lambda model: runs_nnx(nnx.bridge.lazy_init(model, X)),
    ),
    **{f"struct {type(value).__name__}": (value, is_tree) for value in STRUCTS},
    "struct of nnx split": (
        nnx.split(Holder(STRUCTS)),
        lambda parts: all(map(is_tree, nnx.merge(*parts).values)),
    ),
    "assignable struct": (Assignable(X), is_assignable),
    "TrainState": (
        TrainState.create(apply_fn=call, params={"w": X}, tx=optax.identity()),
        lambda state: len(jax.tree.leaves(state)) == 2,
    ),
    "switches": (config, lambda theirs: theirs is config),
}

PROGRAM = """
import pickle, sys
for name, (thing, is_right) in pickle.load(sys.stdin.buffer).items():
    if not is_right(thing):
        print(name)
"""


def test_models_of_a_notebook_run_in_another_process():
    module = sys.modules[__name__]
    cloudpickle.register_pickle_by_value(module)
    try:
        data = cloudpickle.dumps(THINGS)
    finally:
        cloudpickle.unregister_pickle_by_value(module)
    assert b"test_pickled_by_value" in data
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], input=data, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout.decode() == ""
