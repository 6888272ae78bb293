"""The parts of a training loop besides the model: its state, files, devices and schedules.

This package defines nothing itself; each name is defined in `linnet.module_core.training`.

>>> import jax.numpy as jnp, optax
>>> from linnet.training import TrainState
>>> state = TrainState.create(apply_fn=None, params={"w": jnp.ones(2)}, tx=optax.sgd(0.5))
>>> state.apply_gradients(grads={"w": jnp.ones(2)}).params["w"].tolist()
[0.5, 0.5]
"""

import typing as _typing

from linnet.module_core.on_demand import names_on_demand as _names_on_demand

_HOME = "linnet.module_core.training"

if _typing.TYPE_CHECKING:
    from linnet.module_core.training import DynamicScale as DynamicScale
    from linnet.module_core.training import EarlyStopping as EarlyStopping
    from linnet.module_core.training import PrefetchIterator as PrefetchIterator
    from linnet.module_core.training import TrainState as TrainState
    from linnet.module_core.training import latest_checkpoint as latest_checkpoint
    from linnet.module_core.training import restore_checkpoint as restore_checkpoint
    from linnet.module_core.training import save_checkpoint as save_checkpoint

    from . import checkpoints as checkpoints
    from . import common_utils as common_utils
    from . import dynamic_scale as dynamic_scale
    from . import early_stopping as early_stopping
    from . import lr_schedule as lr_schedule
    from . import orbax_utils as orbax_utils
    from . import prefetch_iterator as prefetch_iterator
    from . import train_state as train_state
else:
    __getattr__, __dir__ = _names_on_demand(
        __name__,
        homes={
            "DynamicScale": f"{_HOME}:DynamicScale",
            "EarlyStopping": f"{_HOME}:EarlyStopping",
            "PrefetchIterator": f"{_HOME}:PrefetchIterator",
            "TrainState": f"{_HOME}:TrainState",
            "latest_checkpoint": f"{_HOME}:latest_checkpoint",
            "restore_checkpoint": f"{_HOME}:restore_checkpoint",
            "save_checkpoint": f"{_HOME}:save_checkpoint",
        },
    )
