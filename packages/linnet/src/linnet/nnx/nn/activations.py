"""Activation functions: those of `jax.nn`, some of them quicker to trace, and PReLU."""

from jax.nn import celu as celu
from jax.nn import elu as elu
from jax.nn import glu as glu
from jax.nn import hard_sigmoid as hard_sigmoid
from jax.nn import hard_silu as hard_silu
from jax.nn import hard_swish as hard_swish
from jax.nn import hard_tanh as hard_tanh
from jax.nn import identity as identity
from jax.nn import leaky_relu as leaky_relu
from jax.nn import log_sigmoid as log_sigmoid
from jax.nn import log_softmax as log_softmax
from jax.nn import one_hot as one_hot
from jax.nn import selu as selu
from jax.nn import sigmoid as sigmoid
from jax.nn import silu as silu
from jax.nn import soft_sign as soft_sign
from jax.nn import softplus as softplus
from jax.nn import standardize as standardize
from jax.nn import swish as swish
from jax.numpy import tanh as tanh

from linnet.layers_linear.functional import gelu as gelu
from linnet.layers_linear.functional import logsumexp as logsumexp
from linnet.layers_linear.functional import relu as relu
from linnet.layers_linear.functional import relu6 as relu6
from linnet.layers_linear.functional import softmax as softmax
from linnet.layers_linear.nnx import PReLU as PReLU
from linnet.module_core.typing import Array as Array
from linnet.module_core.typing import Dtype as Dtype
from linnet.module_core.typing import PromoteDtypeFn as PromoteDtypeFn
