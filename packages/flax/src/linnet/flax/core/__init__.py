"""The names of `flax.core`."""

import typing as _typing

from linnet.flax._passing_on import passing_on as _passing_on
from linnet.module_core.boxes import AxisMetadata as AxisMetadata
from linnet.module_core.boxes import map_axis_meta as map_axis_meta
from linnet.module_core.boxes import unbox as unbox
from linnet.module_core.typing import Array as Array
from linnet.struct import FrozenDict as FrozenDict
from linnet.struct import copy as copy
from linnet.struct import freeze as freeze
from linnet.struct import pop as pop
from linnet.struct import pretty_repr as pretty_repr
from linnet.struct import unfreeze as unfreeze

from .tracers import check_trace_level as check_trace_level
from .tracers import current_trace as current_trace

if _typing.TYPE_CHECKING:
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

    from . import axes_scan as axes_scan
    from . import frozen_dict as frozen_dict
    from . import lift as lift
    from . import meta as meta
    from . import nn as nn
    from . import partial_eval as partial_eval
    from . import scope as scope
    from . import spmd as spmd
    from . import tracers as tracers
    from . import variables as variables
else:
    __getattr__, __dir__ = _passing_on(
        __name__,
        DenyList="linnet.module_core.linen:DenyList",
        Scope="linnet.module_core.linen:Scope",
        broadcast="linnet.module_core.linen:broadcast",
        apply="linnet.module_core.functional:apply",
        bind="linnet.module_core.functional:bind",
        init="linnet.module_core.functional:init",
        lazy_init="linnet.module_core.functional:lazy_init",
        custom_vjp="linnet.module_core.functional.lift:custom_vjp",
        jit="linnet.module_core.functional.lift:jit",
        jvp="linnet.module_core.functional.lift:jvp",
        remat="linnet.module_core.functional.lift:remat",
        remat_scan="linnet.module_core.functional.lift:remat_scan",
        scan="linnet.module_core.functional.lift:scan",
        vjp="linnet.module_core.functional.lift:vjp",
        vmap="linnet.module_core.functional.lift:vmap",
        while_loop="linnet.module_core.functional.lift:while_loop",
    )
