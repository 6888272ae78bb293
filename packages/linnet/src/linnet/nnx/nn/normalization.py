"""Normalization layers."""

from linnet.layers_norm.nnx import BatchNorm as BatchNorm
from linnet.layers_norm.nnx import GroupNorm as GroupNorm
from linnet.layers_norm.nnx import InstanceNorm as InstanceNorm
from linnet.layers_norm.nnx import LayerNorm as LayerNorm
from linnet.layers_norm.nnx import RMSNorm as RMSNorm
from linnet.layers_norm.nnx import SpectralNorm as SpectralNorm
from linnet.layers_norm.nnx import WeightNorm as WeightNorm
