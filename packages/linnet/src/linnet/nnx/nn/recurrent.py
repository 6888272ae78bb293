"""Recurrent cells, and what runs them over time."""

from linnet.layers_recurrent.nnx import RNN as RNN
from linnet.layers_recurrent.nnx import Bidirectional as Bidirectional
from linnet.layers_recurrent.nnx import ConvLSTMCell as ConvLSTMCell
from linnet.layers_recurrent.nnx import GRUCell as GRUCell
from linnet.layers_recurrent.nnx import LSTMCell as LSTMCell
from linnet.layers_recurrent.nnx import MGUCell as MGUCell
from linnet.layers_recurrent.nnx import OptimizedLSTMCell as OptimizedLSTMCell
from linnet.layers_recurrent.nnx import RNNCellBase as RNNCellBase
from linnet.layers_recurrent.nnx import SimpleCell as SimpleCell
from linnet.layers_recurrent.nnx import flip_sequences as flip_sequences
