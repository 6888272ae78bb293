"""Containers that are modules, and a training state."""

from linnet.module_core.nnx import Dict as Dict
from linnet.module_core.nnx import List as List
from linnet.module_core.nnx import Sequential as Sequential
from linnet.module_core.nnx import TrainState as TrainState
