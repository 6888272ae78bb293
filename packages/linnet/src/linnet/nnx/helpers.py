"""Containers that are modules, and a training state."""

from linnet.module_core.nnx import Dict as Dict
from linnet.module_core.nnx import GraphDef as GraphDef
from linnet.module_core.nnx import List as List
from linnet.module_core.nnx import Module as Module
from linnet.module_core.nnx import Rngs as Rngs
from linnet.module_core.nnx import Sequential as Sequential
from linnet.module_core.nnx import State as State
from linnet.module_core.nnx import TrainState as TrainState
from linnet.module_core.nnx import Variable as Variable
