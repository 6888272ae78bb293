"""Transforms of functions of modules."""

import typing as _typing

from linnet.module_core.on_demand import names_on_demand as _names_on_demand

if _typing.TYPE_CHECKING:
    from . import autodiff as autodiff
    from . import compilation as compilation
    from . import iteration as iteration
    from . import transforms as transforms
else:
    __getattr__, __dir__ = _names_on_demand(__name__)
