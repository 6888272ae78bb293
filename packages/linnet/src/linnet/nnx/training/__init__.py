"""Training utilities: optimizers, parameter averages and metrics."""

import typing as _typing

from linnet.module_core.on_demand import names_on_demand as _names_on_demand

if _typing.TYPE_CHECKING:
    from . import ema as ema
    from . import metrics as metrics
    from . import optimizer as optimizer
else:
    __getattr__, __dir__ = _names_on_demand(__name__)
