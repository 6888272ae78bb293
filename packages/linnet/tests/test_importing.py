"""What importing a style loads, and what it doesn't."""

from fixtures import run_afresh

OPTIONAL = [
    "flax",
    "optax",
    "rich",
    "msgpack",
    "treescope",
    "yaml",
    "orbax",
    "safetensors",
    "keras",
]
LAYERS = ["attention", "linear", "norm", "recurrent"]
NNX = ["linnet.nnx", "linnet.module_core.nnx", *(f"linnet.layers_{kind}.nnx" for kind in LAYERS)]
LINEN = ["linnet.linen", "linnet.module_core.linen"]
LINEN += [f"linnet.layers_{kind}.linen" for kind in LAYERS]

LOADED = """
import sys
def loaded(*names):
    return sorted(name for name in sys.modules if name.startswith(names))
def layers():
    return {name.split(".")[1] for name in loaded("linnet.layers_")}
"""

LINEN_ALONE = f"""{LOADED}
import linnet.linen as nn
absent = {{*{OPTIONAL}, *{NNX}, *{LINEN[2:]}}}
assert not sys.modules.keys() & absent and not layers(), loaded("linnet", *absent)
nn.tanh, nn.normalize, nn.initializers
assert not layers()
nn.activation.Dense
assert "linnet.layers_linear.linen" in sys.modules
"""

NNX_ALONE = f"""{LOADED}
from linnet import nnx
absent = {{*{OPTIONAL}, *{LINEN}}}
assert not sys.modules.keys() & {{*absent, *{NNX[2:]}}}, loaded()
nnx.LayerNorm, nnx.relu, nnx.nn.linear, nnx.metrics
assert not sys.modules.keys() & {{*absent, "linnet.layers_attention.nnx"}}, loaded()
"""

LINEN_LAYERS_WHEN_ASKED_FOR = f"""{LOADED}
import linnet.linen as nn
nn.relu
assert layers() == {{"layers_linear"}}, layers()
nn.LayerNorm
assert layers() == {{"layers_linear", "layers_norm"}}, layers()
assert nn.attention.SelfAttention is nn.SelfAttention
assert {{"RNN", "recurrent", "tabulate", "Dense"}} <= set(dir(nn))
"""

# Python writes and compiles the source of a dataclass's methods, 0.3 ms for each class.
GENERATED = """
import dataclasses, jax
made = set()
generate = dataclasses.dataclass
def counted(cls=None, /, **options):
    if cls is None:
        return lambda cls: counted(cls, **options)
    if options.get("init", True):
        made.add(cls.__name__)
    return generate(cls, **options)
dataclasses.dataclass = counted
"""

LINEN_GENERATES_THE_METHODS_OF_PYTREES_AND_MODULES = f"""{GENERATED}
import linnet.linen
modules = {{"CompactNameScope", "Module", "Repeat", "Sequential"}}
assert made == modules | {{"LazyRng", "LogicallyPartitioned", "Partitioned"}}, made
"""

NNX_GENERATES_THE_METHODS_OF_PYTREES = f"""{GENERATED}
import linnet.nnx
assert made == {{"NodeStates", "Statistics", "TrainState", "VariableMetadata"}}, made
"""

EVERY_NAME_OF_NNX = """
from linnet import nnx
[getattr(nnx, name) for name in dir(nnx)]
"""


def test_importing():
    """A style loads neither the other style nor an optional package, and loads layers on access.

    The first computation looks for a device. Importing must not do so, and works without a device.
    """
    run_afresh(
        LINEN_ALONE,
        NNX_ALONE,
        LINEN_LAYERS_WHEN_ASKED_FOR,
        LINEN_GENERATES_THE_METHODS_OF_PYTREES_AND_MODULES,
        NNX_GENERATES_THE_METHODS_OF_PYTREES,
        EVERY_NAME_OF_NNX,
        JAX_PLATFORMS="no_such_platform",
    )
