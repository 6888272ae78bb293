"""Optimizers: optax for modules."""

from linnet.module_core.nnx import ModelAndOptimizer as ModelAndOptimizer
from linnet.module_core.nnx import OptArray as OptArray
from linnet.module_core.nnx import Optimizer as Optimizer
from linnet.module_core.nnx import OptState as OptState
from linnet.module_core.nnx import OptVariable as OptVariable
from linnet.module_core.nnx import Param as Param
from linnet.module_core.nnx import Pytree as Pytree
from linnet.module_core.nnx import Variable as Variable
