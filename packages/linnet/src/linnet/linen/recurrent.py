"""Recurrent layers; see `linnet.layers_recurrent`."""

from linnet.initializers import Initializer
from linnet.initializers.defaults import default_kernel_init
from linnet.layers_linear.linen import Conv, Dense
from linnet.layers_recurrent.functional import flip_sequences
from linnet.layers_recurrent.linen import (
    RNN,
    Bidirectional,
    ConvLSTMCell,
    GRUCell,
    LSTMCell,
    MGUCell,
    OptimizedLSTMCell,
    RNNCellBase,
    SimpleCell,
)
from linnet.module_core.dtypes import promote_dtype
from linnet.module_core.linen import CollectionFilter, Module, PRNGSequenceFilter, compact, nowrap
from linnet.module_core.linen.axes import InOutScanAxis
from linnet.module_core.typing import (
    Array,
    Carry,
    CarryHistory,
    Dtype,
    Output,
    PrecisionLike,
    PRNGKey,
)
from linnet.struct import FrozenDict

from . import initializers
from .activation import sigmoid, tanh

__all__ = [
    "RNN",
    "Array",
    "Bidirectional",
    "Carry",
    "CarryHistory",
    "CollectionFilter",
    "Conv",
    "ConvLSTMCell",
    "Dense",
    "Dtype",
    "FrozenDict",
    "GRUCell",
    "InOutScanAxis",
    "Initializer",
    "LSTMCell",
    "MGUCell",
    "Module",
    "OptimizedLSTMCell",
    "Output",
    "PRNGKey",
    "PRNGSequenceFilter",
    "PrecisionLike",
    "RNNCellBase",
    "SimpleCell",
    "compact",
    "default_kernel_init",
    "flip_sequences",
    "initializers",
    "nowrap",
    "promote_dtype",
    "sigmoid",
    "tanh",
]
