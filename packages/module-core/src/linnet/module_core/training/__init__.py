"""What a training loop needs besides the model: its state, files, devices and schedules.

Each file is named after the corresponding module of Flax, and none depends on a module style: a
training state carries any function and any tree of parameters. The most common names can also be
imported from this package:

>>> import jax.numpy as jnp, optax
>>> from linnet.module_core.training import TrainState
>>> state = TrainState.create(apply_fn=None, params={"w": jnp.ones(2)}, tx=optax.sgd(0.5))
>>> state.apply_gradients(grads={"w": jnp.ones(2)}).params["w"].tolist()
[0.5, 0.5]
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..on_demand import names_on_demand

if TYPE_CHECKING:
    from . import checkpoints as checkpoints
    from . import common_utils as common_utils
    from . import dynamic_scale as dynamic_scale
    from . import early_stopping as early_stopping
    from . import jax_utils as jax_utils
    from . import lr_schedule as lr_schedule
    from . import orbax_utils as orbax_utils
    from . import prefetch_iterator as prefetch_iterator
    from . import train_state as train_state
    from .checkpoints import latest_checkpoint as latest_checkpoint
    from .checkpoints import restore_checkpoint as restore_checkpoint
    from .checkpoints import save_checkpoint as save_checkpoint
    from .dynamic_scale import DynamicScale as DynamicScale
    from .early_stopping import EarlyStopping as EarlyStopping
    from .prefetch_iterator import PrefetchIterator as PrefetchIterator
    from .train_state import TrainState as TrainState
else:
    __getattr__, __dir__ = names_on_demand(
        __name__,
        homes={
            "DynamicScale": ".dynamic_scale:DynamicScale",
            "EarlyStopping": ".early_stopping:EarlyStopping",
            "PrefetchIterator": ".prefetch_iterator:PrefetchIterator",
            "TrainState": ".train_state:TrainState",
            "latest_checkpoint": ".checkpoints:latest_checkpoint",
            "restore_checkpoint": ".checkpoints:restore_checkpoint",
            "save_checkpoint": ".checkpoints:save_checkpoint",
        },
    )
