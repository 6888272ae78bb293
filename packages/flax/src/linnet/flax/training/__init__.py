"""The modules of `flax.training`."""

import typing as _typing

from linnet.flax._passing_on import passing_on as _passing_on

if _typing.TYPE_CHECKING:
    from . import checkpoints as checkpoints
    from . import common_utils as common_utils
    from . import dynamic_scale as dynamic_scale
    from . import early_stopping as early_stopping
    from . import lr_schedule as lr_schedule
    from . import orbax_utils as orbax_utils
    from . import prefetch_iterator as prefetch_iterator
    from . import train_state as train_state
else:
    __getattr__, __dir__ = _passing_on(__name__)
