"""Normalization layers."""

from linnet.initializers import Initializer as Initializer
from linnet.layers_norm.nnx import BatchNorm as BatchNorm
from linnet.layers_norm.nnx import GroupNorm as GroupNorm
from linnet.layers_norm.nnx import InstanceNorm as InstanceNorm
from linnet.layers_norm.nnx import LayerNorm as LayerNorm
from linnet.layers_norm.nnx import RMSNorm as RMSNorm
from linnet.layers_norm.nnx import SpectralNorm as SpectralNorm
from linnet.layers_norm.nnx import WeightNorm as WeightNorm
from linnet.module_core.nnx import Module as Module
from linnet.module_core.nnx import first_from as first_from
from linnet.module_core.typing import Array as Array
from linnet.module_core.typing import Axes as Axes
from linnet.module_core.typing import Dtype as Dtype
from linnet.module_core.typing import PromoteDtypeFn as PromoteDtypeFn
