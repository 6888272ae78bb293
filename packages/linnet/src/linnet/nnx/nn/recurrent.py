"""Recurrent cells, and the layers that run them over time."""

from jax.nn import sigmoid as sigmoid
from jax.numpy import tanh as tanh

from linnet.initializers import Initializer as Initializer
from linnet.initializers.defaults import default_bias_init as default_bias_init
from linnet.initializers.defaults import default_kernel_init as default_kernel_init
from linnet.layers_linear.nnx import Linear as Linear
from linnet.layers_recurrent.functional import flip_sequences as flip_sequences
from linnet.layers_recurrent.nnx import RNN as RNN
from linnet.layers_recurrent.nnx import Bidirectional as Bidirectional
from linnet.layers_recurrent.nnx import ConvLSTMCell as ConvLSTMCell
from linnet.layers_recurrent.nnx import GRUCell as GRUCell
from linnet.layers_recurrent.nnx import LSTMCell as LSTMCell
from linnet.layers_recurrent.nnx import MGUCell as MGUCell
from linnet.layers_recurrent.nnx import OptimizedLSTMCell as OptimizedLSTMCell
from linnet.layers_recurrent.nnx import RNNCellBase as RNNCellBase
from linnet.layers_recurrent.nnx import SimpleCell as SimpleCell
from linnet.module_core.nnx import Module as Module
from linnet.module_core.typing import Array as Array
from linnet.module_core.typing import Dtype as Dtype
from linnet.module_core.typing import PromoteDtypeFn as PromoteDtypeFn
from linnet.module_core.typing import Shape as Shape
