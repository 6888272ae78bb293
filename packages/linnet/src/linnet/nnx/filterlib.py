"""Filters, which select leaves of a module."""

from linnet.module_core.nnx.filters import All as All
from linnet.module_core.nnx.filters import Any as Any
from linnet.module_core.nnx.filters import Everything as Everything
from linnet.module_core.nnx.filters import Filter as Filter
from linnet.module_core.nnx.filters import HasTag as HasTag
from linnet.module_core.nnx.filters import Not as Not
from linnet.module_core.nnx.filters import Nothing as Nothing
from linnet.module_core.nnx.filters import OfType as OfType
from linnet.module_core.nnx.filters import PathContains as PathContains
from linnet.module_core.nnx.filters import PathIn as PathIn
from linnet.module_core.nnx.filters import Predicate as Predicate
from linnet.module_core.nnx.filters import WithTag as WithTag
from linnet.module_core.nnx.filters import filters_to_predicates as filters_to_predicates
from linnet.module_core.nnx.filters import to_predicate as to_predicate
from linnet.module_core.typing import Key as Key
from linnet.module_core.typing import PathParts as PathParts
