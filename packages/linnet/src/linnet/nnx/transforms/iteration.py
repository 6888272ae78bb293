"""Loops, and functions mapped over axes."""

from linnet.module_core.nnx import Carry as Carry
from linnet.module_core.nnx import Module as Module
from linnet.module_core.nnx import State as State
from linnet.module_core.nnx import StateAxes as StateAxes
from linnet.module_core.nnx import fori_loop as fori_loop
from linnet.module_core.nnx import pmap as pmap
from linnet.module_core.nnx import scan as scan
from linnet.module_core.nnx import transform_metadata as transform_metadata
from linnet.module_core.nnx import vmap as vmap
from linnet.module_core.nnx import while_loop as while_loop
