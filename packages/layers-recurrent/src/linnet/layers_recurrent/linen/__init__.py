"""Cells, and the layers that run them over sequences, as linen modules.

>>> import jax, jax.numpy as jnp
>>> from linnet.layers_recurrent import linen
>>> layer = linen.RNN(linen.GRUCell(features=4))
>>> variables = layer.init(jax.random.key(0), jnp.ones((2, 5, 3)))
>>> layer.apply(variables, jnp.ones((2, 5, 3))).shape
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
