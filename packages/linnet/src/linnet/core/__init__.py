"""Frozen dictionaries, scopes, metadata of variables: the names that programs take from a core.

This package holds nothing of its own; the names are of `linnet.struct` and `linnet.module_core`.
"""

from linnet.module_core.boxes import AxisMetadata as AxisMetadata
from linnet.module_core.boxes import map_axis_meta as map_axis_meta
from linnet.module_core.boxes import unbox as unbox
from linnet.module_core.linen import DenyList as DenyList
from linnet.module_core.linen import Scope as Scope
from linnet.module_core.linen import broadcast as broadcast
from linnet.struct import FrozenDict as FrozenDict
from linnet.struct import copy as copy
from linnet.struct import freeze as freeze
from linnet.struct import pop as pop
from linnet.struct import pretty_repr as pretty_repr
from linnet.struct import unfreeze as unfreeze
