"""Scopes of linen's variables, and the types of their contents; see `linnet.linen.module`."""

from linnet.linen.module import CollectionFilter as CollectionFilter
from linnet.linen.module import DenyList as DenyList
from linnet.linen.module import FrozenDict as FrozenDict
from linnet.linen.module import FrozenVariableDict as FrozenVariableDict
from linnet.linen.module import PRNGKey as PRNGKey
from linnet.linen.module import RNGSequences as RNGSequences
from linnet.linen.module import Scope as Scope
from linnet.linen.module import Variable as Variable
from linnet.linen.module import VariableDict as VariableDict
from linnet.linen.module import union_filters as union_filters
from linnet.module_core.functional import apply as apply
from linnet.module_core.functional import bind as bind
from linnet.module_core.functional import init as init
from linnet.module_core.functional import lazy_init as lazy_init
from linnet.module_core.linen.filters import group_collections as group_collections
from linnet.module_core.linen.filters import in_filter as in_filter
from linnet.module_core.linen.filters import intersect_filters as intersect_filters
from linnet.module_core.linen.filters import subtract_filters as subtract_filters
from linnet.module_core.linen.rng import LazyRng as LazyRng
