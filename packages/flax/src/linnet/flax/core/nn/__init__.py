"""The names of `flax.core.nn`: layers as functions of a scope.

Each makes the parameters of a layer of `linnet.linen` in the scope, and calls that layer.
"""

from linnet.linen import activation as activation
from linnet.linen import avg_pool as avg_pool
from linnet.linen import initializers as initializers
from linnet.linen import max_pool as max_pool
from linnet.linen.activation import celu as celu
from linnet.linen.activation import elu as elu
from linnet.linen.activation import gelu as gelu
from linnet.linen.activation import glu as glu
from linnet.linen.activation import leaky_relu as leaky_relu
from linnet.linen.activation import log_sigmoid as log_sigmoid
from linnet.linen.activation import log_softmax as log_softmax
from linnet.linen.activation import relu as relu
from linnet.linen.activation import sigmoid as sigmoid
from linnet.linen.activation import silu as silu
from linnet.linen.activation import soft_sign as soft_sign
from linnet.linen.activation import softmax as softmax
from linnet.linen.activation import softplus as softplus
from linnet.linen.activation import swish as swish
from linnet.linen.activation import tanh as tanh

from . import attention as attention
from . import linear as linear
from . import normalization as normalization
from . import stochastic as stochastic
from .attention import dot_product_attention as dot_product_attention
from .attention import multi_head_dot_product_attention as multi_head_dot_product_attention
from .linear import Embedding as Embedding
from .linear import conv as conv
from .linear import conv_transpose as conv_transpose
from .linear import dense as dense
from .linear import dense_general as dense_general
from .linear import embedding as embedding
from .normalization import batch_norm as batch_norm
from .normalization import group_norm as group_norm
from .normalization import layer_norm as layer_norm
from .stochastic import dropout as dropout
