"""The names of `flax.nnx.transforms.compilation`."""

from typing import Any

from jax.sharding import AbstractMesh as AbstractMesh
from jax.sharding import Mesh as Mesh
from jax.sharding import PartitionSpec as PartitionSpec

from linnet.flax.typing import MISSING as MISSING
from linnet.flax.typing import Missing as Missing
from linnet.module_core.typing import AxisName as AxisName
from linnet.module_core.typing import PathParts as PathParts
from linnet.nnx.transforms.compilation import *  # noqa: F403

Specs = Any
