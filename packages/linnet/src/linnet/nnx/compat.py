"""The functions that walk graphs of objects, under the names that Flax gives them.

In Linnet, they always walk a graph: these are the functions of the same names in `linnet.nnx`.
"""

from linnet.module_core.nnx import backup_keys as backup_keys
from linnet.module_core.nnx import cached_partial as cached_partial
from linnet.module_core.nnx import checkify as checkify
from linnet.module_core.nnx import clone as clone
from linnet.module_core.nnx import cond as cond
from linnet.module_core.nnx import custom_vjp as custom_vjp
from linnet.module_core.nnx import eval_shape as eval_shape
from linnet.module_core.nnx import flatten as flatten
from linnet.module_core.nnx import fori_loop as fori_loop
from linnet.module_core.nnx import fork_rngs as fork_rngs
from linnet.module_core.nnx import get_abstract_model as get_abstract_model
from linnet.module_core.nnx import grad as grad
from linnet.module_core.nnx import graphdef as graphdef
from linnet.module_core.nnx import iter_children as iter_children
from linnet.module_core.nnx import iter_graph as iter_graph
from linnet.module_core.nnx import iter_modules as iter_modules
from linnet.module_core.nnx import jit as jit
from linnet.module_core.nnx import jvp as jvp
from linnet.module_core.nnx import pmap as pmap
from linnet.module_core.nnx import recursive_map as recursive_map
from linnet.module_core.nnx import remat as remat
from linnet.module_core.nnx import reseed as reseed
from linnet.module_core.nnx import scan as scan
from linnet.module_core.nnx import shard_map as shard_map
from linnet.module_core.nnx import split as split
from linnet.module_core.nnx import split_rngs as split_rngs
from linnet.module_core.nnx import state as state
from linnet.module_core.nnx import switch as switch
from linnet.module_core.nnx import value_and_grad as value_and_grad
from linnet.module_core.nnx import view as view
from linnet.module_core.nnx import view_info as view_info
from linnet.module_core.nnx import vjp as vjp
from linnet.module_core.nnx import vmap as vmap
from linnet.module_core.nnx import while_loop as while_loop
