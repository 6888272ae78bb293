"""The cells' arithmetic as pure functions of arrays: one step, or a whole sequence at once.

A cell consists of affine maps; a step accepts any callables for them, but a sequence needs
`Affine`s.

>>> import jax, jax.numpy as jnp
>>> from linnet.layers_recurrent import functional
>>> maps = functional.SimpleMaps(
...     i=functional.Affine(jnp.ones((3, 2))), h=functional.Affine(jnp.eye(2)))
>>> def loss(maps, xs):
...     carry, ys = functional.simple_sequence(maps, jnp.zeros((4, 2)), xs)
...     return jnp.sum(ys ** 2)
>>> jax.grad(loss)(maps, jnp.ones((5, 4, 3))).i.kernel.shape
(3, 2)
"""

from .affine import Affine as Affine
from .conv_lstm import ConvLSTMMaps as ConvLSTMMaps
from .conv_lstm import conv_lstm as conv_lstm
from .flip import flip_sequences as flip_sequences
from .gru import GRUMaps as GRUMaps
from .gru import gru as gru
from .gru import gru_sequence as gru_sequence
from .lstm import LSTMMaps as LSTMMaps
from .lstm import lstm as lstm
from .lstm import lstm_sequence as lstm_sequence
from .lstm import optimized_lstm as optimized_lstm
from .mgu import MGUMaps as MGUMaps
from .mgu import mgu as mgu
from .mgu import mgu_sequence as mgu_sequence
from .simple import SimpleMaps as SimpleMaps
from .simple import simple as simple
from .simple import simple_sequence as simple_sequence
