"""The names of `flax.experimental.nnx`, an older name for `flax.nnx`."""

import typing as _typing

from linnet.flax._passing_on import passing_on as _passing_on

_CONTEXTS = "linnet.module_core.nnx.structure.contexts:current_update_context"

if _typing.TYPE_CHECKING:
    from linnet.module_core.nnx.structure.contexts import (
        current_update_context as current_update_context,
    )
    from linnet.nnx import *  # noqa: F403
else:
    __getattr__, __dir__ = _passing_on(__name__, "linnet.nnx", current_update_context=_CONTEXTS)
