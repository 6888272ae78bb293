"""Recurrent cells as nnx modules, which hold their linear maps and call `functional`.

>>> import jax.numpy as jnp
>>> from linnet.layers_recurrent import nnx
>>> from linnet.module_core.nnx import Rngs
>>> rngs = Rngs(0)
>>> layer = nnx.RNN(nnx.LSTMCell(3, 4, rngs=rngs), rngs=rngs)
>>> layer(jnp.ones((2, 5, 3))).shape
(2, 5, 4)
"""

from .bidirectional import Bidirectional as Bidirectional
from .cell import RNNCellBase as RNNCellBase
from .conv_lstm import ConvLSTMCell as ConvLSTMCell
from .gru import GRUCell as GRUCell
from .lstm import LSTMCell as LSTMCell
from .lstm import OptimizedLSTMCell as OptimizedLSTMCell
from .mgu import MGUCell as MGUCell
from .rnn import RNN as RNN
from .simple import SimpleCell as SimpleCell
