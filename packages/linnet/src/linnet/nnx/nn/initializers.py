"""Initializers: functions that draw the initial values of parameters."""

from linnet.initializers import Initializer as Initializer
from linnet.initializers import constant as constant
from linnet.initializers import delta_orthogonal as delta_orthogonal
from linnet.initializers import glorot_normal as glorot_normal
from linnet.initializers import glorot_uniform as glorot_uniform
from linnet.initializers import he_normal as he_normal
from linnet.initializers import he_uniform as he_uniform
from linnet.initializers import kaiming_normal as kaiming_normal
from linnet.initializers import kaiming_uniform as kaiming_uniform
from linnet.initializers import lecun_normal as lecun_normal
from linnet.initializers import lecun_uniform as lecun_uniform
from linnet.initializers import normal as normal
from linnet.initializers import ones as ones
from linnet.initializers import ones_init as ones_init
from linnet.initializers import orthogonal as orthogonal
from linnet.initializers import truncated_normal as truncated_normal
from linnet.initializers import uniform as uniform
from linnet.initializers import variance_scaling as variance_scaling
from linnet.initializers import xavier_normal as xavier_normal
from linnet.initializers import xavier_uniform as xavier_uniform
from linnet.initializers import zeros as zeros
from linnet.initializers import zeros_init as zeros_init
