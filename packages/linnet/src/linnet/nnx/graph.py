"""An older name of `graphlib`."""

from linnet.nnx.graphlib import GraphDef as GraphDef
from linnet.nnx.graphlib import MergeContext as MergeContext
from linnet.nnx.graphlib import SplitContext as SplitContext
from linnet.nnx.graphlib import UpdateContext as UpdateContext
from linnet.nnx.graphlib import as_pure as as_pure
from linnet.nnx.graphlib import cached_partial as cached_partial
from linnet.nnx.graphlib import call as call
from linnet.nnx.graphlib import clone as clone
from linnet.nnx.graphlib import find_duplicates as find_duplicates
from linnet.nnx.graphlib import graphdef as graphdef
from linnet.nnx.graphlib import iter_children as iter_children
from linnet.nnx.graphlib import iter_graph as iter_graph
from linnet.nnx.graphlib import iter_module_children as iter_module_children
from linnet.nnx.graphlib import map as map
from linnet.nnx.graphlib import merge as merge
from linnet.nnx.graphlib import merge_context as merge_context
from linnet.nnx.graphlib import pop as pop
from linnet.nnx.graphlib import pure as pure
from linnet.nnx.graphlib import recursive_map as recursive_map
from linnet.nnx.graphlib import set_metadata as set_metadata
from linnet.nnx.graphlib import split as split
from linnet.nnx.graphlib import split_context as split_context
from linnet.nnx.graphlib import state as state
from linnet.nnx.graphlib import update as update
from linnet.nnx.graphlib import update_context as update_context
from linnet.nnx.graphlib import variables as variables
