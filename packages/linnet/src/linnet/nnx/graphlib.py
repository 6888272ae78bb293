"""Modules as graphs: taking them apart, putting them together, walking them."""

from linnet.module_core.nnx import GraphDef as GraphDef
from linnet.module_core.nnx import MergeContext as MergeContext
from linnet.module_core.nnx import SplitContext as SplitContext
from linnet.module_core.nnx import UpdateContext as UpdateContext
from linnet.module_core.nnx import as_pure as as_pure
from linnet.module_core.nnx import cached_partial as cached_partial
from linnet.module_core.nnx import call as call
from linnet.module_core.nnx import clone as clone
from linnet.module_core.nnx import find_duplicates as find_duplicates
from linnet.module_core.nnx import graphdef as graphdef
from linnet.module_core.nnx import iter_children as iter_children
from linnet.module_core.nnx import iter_graph as iter_graph
from linnet.module_core.nnx import iter_module_children as iter_module_children
from linnet.module_core.nnx import map as map
from linnet.module_core.nnx import merge as merge
from linnet.module_core.nnx import merge_context as merge_context
from linnet.module_core.nnx import pop as pop
from linnet.module_core.nnx import pure as pure
from linnet.module_core.nnx import recursive_map as recursive_map
from linnet.module_core.nnx import set_metadata as set_metadata
from linnet.module_core.nnx import split as split
from linnet.module_core.nnx import split_context as split_context
from linnet.module_core.nnx import state as state
from linnet.module_core.nnx import update as update
from linnet.module_core.nnx import update_context as update_context
from linnet.module_core.nnx import variables as variables
