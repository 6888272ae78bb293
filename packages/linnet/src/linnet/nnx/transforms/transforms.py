"""Branches, checks and abstract evaluation."""

from linnet.module_core.nnx import Module as Module
from linnet.module_core.nnx import checkify as checkify
from linnet.module_core.nnx import cond as cond
from linnet.module_core.nnx import eval_shape as eval_shape
from linnet.module_core.nnx import make_jaxpr as make_jaxpr
from linnet.module_core.nnx import switch as switch
