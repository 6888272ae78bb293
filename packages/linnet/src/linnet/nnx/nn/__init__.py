"""The layers, grouped by kind, with a module for each kind."""

import typing as _typing

from linnet.module_core.on_demand import names_on_demand as _names_on_demand

if _typing.TYPE_CHECKING:
    from . import activations as activations
    from . import attention as attention
    from . import dtypes as dtypes
    from . import initializers as initializers
    from . import linear as linear
    from . import lora as lora
    from . import normalization as normalization
    from . import recurrent as recurrent
    from . import stochastic as stochastic
else:
    __getattr__, __dir__ = _names_on_demand(__name__)
