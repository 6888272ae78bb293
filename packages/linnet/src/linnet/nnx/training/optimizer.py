"""Optimizers: optax for modules."""

from linnet.module_core.nnx import ModelAndOptimizer as ModelAndOptimizer
from linnet.module_core.nnx import OptArray as OptArray
from linnet.module_core.nnx import Optimizer as Optimizer
from linnet.module_core.nnx import OptState as OptState
from linnet.module_core.nnx import OptVariable as OptVariable
