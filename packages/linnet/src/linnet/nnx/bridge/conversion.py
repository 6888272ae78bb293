"""Moves the values of a linen model to an equivalent nnx model, and back."""

from linnet.module_core.bridge import ConversionError as ConversionError
from linnet.module_core.bridge import linen_to_nnx as linen_to_nnx
from linnet.module_core.bridge import nnx_to_linen as nnx_to_linen
