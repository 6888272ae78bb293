"""The modules of `flax.metrics`."""

import typing as _typing

from linnet.flax._passing_on import passing_on as _passing_on

if _typing.TYPE_CHECKING:
    from . import tensorboard as tensorboard
else:
    __getattr__, __dir__ = _passing_on(__name__)
