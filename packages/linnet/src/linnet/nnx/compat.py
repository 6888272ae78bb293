"""The functions that walk graphs of objects, as Flax names them beside its tree mode.

Here a graph is what they always walk: these are the functions of the same names in `linnet.nnx`.
"""

from linnet.module_core.nnx import backup_keys as backup_keys
from linnet.module_core.nnx import clone as clone
from linnet.module_core.nnx import fork_rngs as fork_rngs
from linnet.module_core.nnx import graphdef as graphdef
from linnet.module_core.nnx import iter_children as iter_children
from linnet.module_core.nnx import iter_graph as iter_graph
from linnet.module_core.nnx import iter_modules as iter_modules
from linnet.module_core.nnx import jit as jit
from linnet.module_core.nnx import recursive_map as recursive_map
from linnet.module_core.nnx import reseed as reseed
from linnet.module_core.nnx import split as split
from linnet.module_core.nnx import split_rngs as split_rngs
from linnet.module_core.nnx import state as state
