"""The names of `flax.nnx.transforms.compilation`."""

from typing import Any

from jax.sharding import AbstractMesh as AbstractMesh
from jax.sharding import Mesh as Mesh
from jax.sharding import PartitionSpec as PartitionSpec

from linnet.flax.typing import MISSING as MISSING
from linnet.flax.typing import Missing as Missing
from linnet.module_core.nnx.transforms.jit import Jitted
from linnet.module_core.nnx.transforms.partial import JitPartial
from linnet.module_core.nnx.transforms.stages import Compiled as Compiled
from linnet.module_core.nnx.transforms.stages import Lowered as Lowered
from linnet.module_core.nnx.transforms.stages import Traced as Traced
from linnet.module_core.typing import AxisName as AxisName
from linnet.module_core.typing import PathParts as PathParts
from linnet.nnx.transforms.compilation import *  # noqa: F403

Specs = Any

# Programs ask whether a function is already jitted. Both modes of Flax have a class for it.
JitWrapped = SimpleJitWrapped = Jitted
SimpleJitPartialWrapped = JitPartial
SimpleCompiled = Compiled
SimpleLowered = Lowered
SimpleTraced = Traced
