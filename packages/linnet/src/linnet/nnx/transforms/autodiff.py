"""Derivatives."""

from linnet.module_core.nnx import DiffState as DiffState
from linnet.module_core.nnx import State as State
from linnet.module_core.nnx import custom_vjp as custom_vjp
from linnet.module_core.nnx import grad as grad
from linnet.module_core.nnx import jvp as jvp
from linnet.module_core.nnx import remat as remat
from linnet.module_core.nnx import value_and_grad as value_and_grad
from linnet.module_core.nnx import vjp as vjp
