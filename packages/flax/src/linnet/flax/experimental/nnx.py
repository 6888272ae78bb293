"""The names of `flax.experimental.nnx`, an older name of `flax.nnx`."""

import typing as _typing

from linnet.flax._passing_on import passing_on as _passing_on

if _typing.TYPE_CHECKING:
    from linnet.nnx import *  # noqa: F403
else:
    __getattr__, __dir__ = _passing_on(__name__, "linnet.nnx")
