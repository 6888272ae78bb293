"""Loads objects that Flax pickled, with `linnet.flax` providing Flax's names.

A process with Flax writes objects; a process with the hook reads them, and compares them with
objects that it makes itself.
"""

import os
import subprocess
import sys

import pytest

MODEL = """
import importlib, pickle, sys

import jax, jax.numpy as jnp, numpy as np
import flax
from flax import linen as nn, nnx
from flax.core import freeze
from flax.training.dynamic_scale import DynamicScale
from flax.training.early_stopping import EarlyStopping


class Net(nnx.Module):
    def __init__(self, rngs):
        self.first = nnx.Linear(2, 3, rngs=rngs)
        self.norm = nnx.BatchNorm(3, rngs=rngs)
        self.drop = nnx.Dropout(0.5, rngs=rngs)
        self.list = nnx.List([nnx.Param(jnp.ones(2)), 3, jnp.ones(1)])
        self.dict = nnx.Dict(x=nnx.Param(jnp.zeros(1), tag="x"), plain=2)
        self.again = self.first
        self.mixed = nnx.data({"a": [nnx.Param(jnp.ones(1)), 5], "b": (jnp.ones(2), None)})
        self.names = ("a", "b")
        self.array = jnp.ones(3)
        self.act = "relu"


class Numbered(nnx.Module):
    def __init__(self):
        self.number = nnx.data(4)


def objects():
    net = Net(nnx.Rngs(0))
    made = {
        "model": net,
        "numbered": Numbered(),
        "state": nnx.state(net),
        "flat": nnx.to_flat_state(nnx.state(net)),
        "graphdef": nnx.graphdef(net),
        "of a dict": nnx.graphdef({"a": net.first, "b": [net.first.bias]}),
        "rngs": nnx.Rngs(0, params=1),
        "variable": nnx.BatchStat(jnp.ones(2), tag="x"),
        "metrics": nnx.MultiMetric(a=nnx.metrics.Accuracy(), b=nnx.metrics.Average()),
        "attention": nnx.MultiHeadAttention(2, 4, rngs=nnx.Rngs(0)),
        "norms": nnx.List([norm(4, rngs=nnx.Rngs(0)) for norm in (nnx.RMSNorm, nnx.LayerNorm)]),
        "groups": nnx.GroupNorm(4, num_groups=2, rngs=nnx.Rngs(0)),
        "linen": nnx.bridge.ToNNX(nn.Dropout(0.5), rngs=nnx.Rngs(0)),
        "axes": nnx.StateAxes({nnx.Param: 0, ...: None}),
        "filter": nnx.All(nnx.Param, nnx.Not(nnx.BatchStat)),
        "frozen": freeze({"a": jnp.ones(2)}),
        "box": nn.LogicallyPartitioned(jnp.ones(2), ("x",)),
        "bridge": nnx.bridge.ToLinen(nnx.Linear, args=(1, 1)),
        "dropout": nn.Dropout(0.5),
        "scale": DynamicScale(),
        "stopping": EarlyStopping(),
    }
    return made
"""

FUNCTIONS = """
def write(path, *picklers):
    # Classes of this module are found under its name, as those of a program's own modules are.
    written = {(n, p.__name__): p.dumps(x) for p in picklers for n, x in objects().items()}
    with open(path, "wb") as file:
        pickle.dump(written, file)


def read(path):
    assert flax.__name__ == "linnet.flax"
    mine = objects()
    with open(path, "rb") as file:
        written = pickle.load(file)
    assert {name for name, _ in written} == mine.keys()
    for (name, pickler), data in written.items():
        compare(name, pickler, data, mine[name])
    print("loaded")


def compare(name, pickler, written, own):
    loaded, model = pickle.loads(written), own
    if isinstance(own, nnx.Pytree):
        both = [nnx.graphdef(x) for x in (loaded, own)]
        if pickler == "pickle":
            pairs = zip(*(graphdef.tokens for graphdef in both))
            assert both[0] == both[1], (name, [pair for pair in pairs if pair[0] != pair[1]])
        assert nnx.graphdef(pickle.loads(pickle.dumps(own))) == both[1], name
        loaded, own = nnx.state(loaded), nnx.state(own)
    if isinstance(own, (nnx.State, nnx.FlatState, nnx.Variable)):
        a, b = jax.tree.flatten_with_path(loaded), jax.tree.flatten_with_path(own)
        assert a[1] == b[1], (name, a[1], b[1])
        for (at, x), (_, y) in zip(a[0], b[0]):
            x, y = (v if isinstance(v, jax.Array) else np.asarray(v) for v in (x, y))
            if jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
                x, y = jax.random.key_data(x), jax.random.key_data(y)
            assert x.dtype == y.dtype and np.array_equal(x, y), (name, at)
    elif name != "graphdef" or pickler == "pickle":
        assert repr(loaded) == repr(own), (name, loaded, own)
    if isinstance(own, (nnx.GraphDef, nnx.StateAxes, nn.Module)) and pickler == "pickle":
        assert loaded == own, (name, loaded, own)
    if name == "attention":
        x = jnp.ones((1, 3, 4))
        assert np.array_equal(pickle.loads(written)(x, decode=False), model(x, decode=False))
    if name == "model":
        loaded = pickle.loads(written)
        assert loaded.first is loaded.again
        loaded.first.kernel[...] += 1  # it can be changed, and be called
        x = jnp.ones((4, 2))
        model = nnx.clone(model)
        model.first.kernel[...] += 1
        for step in range(2):
            y, z = (nnx.jit(lambda m, x: m.drop(m.norm(m.first(x))))(m, x) for m in (loaded, model))
            assert np.array_equal(y, z), step
"""

# The same programs, which import Linnet's modules directly.
PLAIN = MODEL.replace("import flax\n", "from linnet import flax\n").replace(
    "from flax", "from linnet.flax"
)


def run(folder, model, *calls, hook=False):
    """The output of a new process that makes these calls."""
    (folder / "models.py").write_text(model + FUNCTIONS)
    code = "\n".join(["import pickle, sys", "from models import read, write", *calls])
    environment = {k: v for k, v in os.environ.items() if not k.startswith("LINNET_FLAX")}
    if hook:
        environment["LINNET_FLAX"] = "1"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        env=environment,
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_what_is_pickled_elsewhere_loads(tmp_path):
    """Flax's pickles load under the hook; the hook's load without it, and vice versa."""
    pytest.importorskip("cloudpickle")
    run(tmp_path, MODEL, "import cloudpickle", "write('of Flax', pickle, cloudpickle)")
    run(tmp_path, MODEL, "write('of the hook', pickle)", hook=True)
    said = run(tmp_path, PLAIN, "read('of the hook')", "write('of Linnet', pickle)")
    assert said == "loaded\n"
    said = run(tmp_path, MODEL, "read('of Flax')", "read('of Linnet')", hook=True)
    assert said == "loaded\nloaded\n"
