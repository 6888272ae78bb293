"""Models as functions of a scope, frozen dictionaries, and metadata of variables.

This package defines nothing itself; the names come from `linnet.struct` and `linnet.module_core`.
"""

from linnet.module_core.boxes import AxisMetadata as AxisMetadata
from linnet.module_core.boxes import map_axis_meta as map_axis_meta
from linnet.module_core.boxes import unbox as unbox
from linnet.module_core.functional import apply as apply
from linnet.module_core.functional import bind as bind
from linnet.module_core.functional import init as init
from linnet.module_core.functional import lazy_init as lazy_init
from linnet.module_core.functional.lift import custom_vjp as custom_vjp
from linnet.module_core.functional.lift import jit as jit
from linnet.module_core.functional.lift import jvp as jvp
from linnet.module_core.functional.lift import remat as remat
from linnet.module_core.functional.lift import remat_scan as remat_scan
from linnet.module_core.functional.lift import scan as scan
from linnet.module_core.functional.lift import vjp as vjp
from linnet.module_core.functional.lift import vmap as vmap
from linnet.module_core.functional.lift import while_loop as while_loop
from linnet.module_core.linen import DenyList as DenyList
from linnet.module_core.linen import Scope as Scope
from linnet.module_core.linen import broadcast as broadcast
from linnet.struct import FrozenDict as FrozenDict
from linnet.struct import copy as copy
from linnet.struct import freeze as freeze
from linnet.struct import pop as pop
from linnet.struct import pretty_repr as pretty_repr
from linnet.struct import unfreeze as unfreeze
