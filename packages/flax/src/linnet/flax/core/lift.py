"""The names of `flax.core.lift`."""

from linnet.linen import meta as meta
from linnet.linen.transforms import CollectionFilter as CollectionFilter
from linnet.linen.transforms import InOutAxis as InOutAxis
from linnet.linen.transforms import InOutScanAxis as InOutScanAxis
from linnet.linen.transforms import PRNGSequenceFilter as PRNGSequenceFilter
from linnet.linen.transforms import Scope as Scope
from linnet.module_core.linen import DenyList as DenyList
from linnet.module_core.linen import In as In
from linnet.module_core.linen import Out as Out
from linnet.module_core.linen.filters import group_collections as group_collections
from linnet.module_core.linen.filters import in_filter as in_filter
from linnet.module_core.linen.filters import intersect_filters as intersect_filters
from linnet.module_core.linen.filters import subtract_filters as subtract_filters
from linnet.module_core.linen.filters import union_filters as union_filters
from linnet.struct import freeze as freeze
from linnet.struct import traverse_util as traverse_util
from linnet.struct import unfreeze as unfreeze
