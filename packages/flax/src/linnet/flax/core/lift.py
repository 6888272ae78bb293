"""The names of `flax.core.lift`."""

from linnet.flax.core import axes_scan as axes_scan
from linnet.linen import meta as meta
from linnet.linen.transforms import CollectionFilter as CollectionFilter
from linnet.linen.transforms import InOutAxis as InOutAxis
from linnet.linen.transforms import InOutScanAxis as InOutScanAxis
from linnet.linen.transforms import PRNGSequenceFilter as PRNGSequenceFilter
from linnet.linen.transforms import Scope as Scope
from linnet.module_core.functional.lift import checkpoint as checkpoint
from linnet.module_core.functional.lift import cond as cond
from linnet.module_core.functional.lift import custom_vjp as custom_vjp
from linnet.module_core.functional.lift import fold_rngs as fold_rngs
from linnet.module_core.functional.lift import jit as jit
from linnet.module_core.functional.lift import jvp as jvp
from linnet.module_core.functional.lift import map_variables as map_variables
from linnet.module_core.functional.lift import pack as pack
from linnet.module_core.functional.lift import remat as remat
from linnet.module_core.functional.lift import remat_scan as remat_scan
from linnet.module_core.functional.lift import scan as scan
from linnet.module_core.functional.lift import swap_collection as swap_collection
from linnet.module_core.functional.lift import switch as switch
from linnet.module_core.functional.lift import tree_map_rngs as tree_map_rngs
from linnet.module_core.functional.lift import value_and_grad as value_and_grad
from linnet.module_core.functional.lift import vjp as vjp
from linnet.module_core.functional.lift import vmap as vmap
from linnet.module_core.functional.lift import while_loop as while_loop
from linnet.module_core.linen import DenyList as DenyList
from linnet.module_core.linen import In as In
from linnet.module_core.linen import Out as Out
from linnet.module_core.linen.filters import group_collections as group_collections
from linnet.module_core.linen.filters import in_filter as in_filter
from linnet.module_core.linen.filters import intersect_filters as intersect_filters
from linnet.module_core.linen.filters import is_filter_empty as is_filter_empty
from linnet.module_core.linen.filters import subtract_filters as subtract_filters
from linnet.module_core.linen.filters import union_filters as union_filters
from linnet.module_core.linen.rng import LazyRng as LazyRng
from linnet.struct import freeze as freeze
from linnet.struct import traverse_util as traverse_util
from linnet.struct import unfreeze as unfreeze

Filter = CollectionFilter
