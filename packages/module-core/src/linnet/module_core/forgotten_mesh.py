"""The warning that axes are named for a mesh, but no mesh is set.

Without a mesh, names of axes do nothing, so a model runs unchanged on one device. A program that
forgets to set its mesh also runs: every array is whole on one device, and the other devices idle.

The warning is issued once per program, and only where names are certainly ignored:

* there are several devices;
* the value is an array that jax has put on its default device. Whatever a trace computes may be
  laid out by `out_shardings`, and an array on a device that the program chose was put there on
  purpose;
* its names split an axis, as mapped by the rules that are set. Without rules, it isn't known which
  mesh axes logical names map to.

It is logged (logger "linnet.mesh"), as jax logs that an accelerator isn't used, and is not a Python
warning: a test that compares a model on a mesh with the same model on a single device makes the
latter without a mesh on purpose, and must not fail where warnings are errors.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec

from . import _compat

_log = logging.getLogger("linnet.mesh")
_given = False


def may_be_forgotten() -> bool:
    """Whether there is still something to warn about: several devices, and no warning so far."""
    return not _given and jax.device_count() > 1


def notice(value: object, what: Callable[[], str], spec: Callable[[], PartitionSpec]) -> None:
    """Warns if a value is whole on one device although its names split it, and no mesh is set.

    Args:
      value: an array whose axes are named.
      what: describes it, for the message.
      spec: the mesh axes that its names map to.
    """
    if not may_be_forgotten() or isinstance(value, jax.core.Tracer):
        return
    if isinstance(value, jax.Array):
        if value.committed or len(value.sharding.device_set) > 1:
            return
    elif not isinstance(value, np.ndarray):
        return
    axes = spec()
    if all(entry is None for entry in axes) or isinstance(jnp.zeros(()), jax.core.Tracer):
        return
    _warn(what(), axes)


def _warn(what: str, axes: PartitionSpec) -> None:
    global _given
    _given = True
    set_mesh = _compat.name_of_set_mesh()
    remedy = (
        f"`with mesh:` doesn't count; write `with {set_mesh}(mesh):`"
        if _is_older_mesh_set()
        else f"Make and call the model within `with {set_mesh}(mesh):`"
    )
    _log.warning(
        "%s: %s names axes of a mesh that split it, %s, but no mesh is set: it is whole on one of"
        " %d devices. %s, or pass shardings to jax.jit. (This is logged only once.)",
        _line_of_user(),
        what,
        tuple(axes),
        jax.device_count(),
        remedy,
    )


def _is_older_mesh_set() -> bool:
    """Whether the program is within `with mesh:`."""
    # jax has no function that says so, but outside such a block it rejects a bare PartitionSpec.
    constrain = jax.lax.with_sharding_constraint
    try:
        jax.eval_shape(lambda x: constrain(x, PartitionSpec()), jnp.zeros(()))  # type: ignore[no-untyped-call]
    except RuntimeError:
        return False
    return True


def _line_of_user() -> str:
    """File and line of the innermost caller outside Linnet and jax."""
    frame = sys._getframe(1)
    while frame.f_globals.get("__name__", "").startswith(_OURS) and frame.f_back is not None:
        frame = frame.f_back
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"


_OURS = ("linnet.", "jax.")
