"""Scopes of linen's variables, and the types of what they hold; see `linnet.linen.module`."""

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
