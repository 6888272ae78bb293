"""The names of `flax.errors`: those of Linnet, and four that nothing here raises.

Programs that catch those four import them.
"""

from __future__ import annotations

import os

from linnet.module_core.errors import *  # noqa: F403
from linnet.module_core.errors import LinnetError


class ImmutableVariableError(LinnetError):
    """A variable that must not change was assigned to."""


class MPACheckpointingRequiredError(LinnetError):
    """An array that several processes share can't be saved without a manager for such arrays."""

    def __init__(self, path: str | os.PathLike[str], step: float) -> None:
        super().__init__(
            f"Step {step} was not saved in {path}: an array in it is shared by several processes.",
            hint="Save it with orbax, which each process calls: checkpoints.save_checkpoint with"
            " orbax_checkpointer=orbax.checkpoint.PyTreeCheckpointer().",
        )


class MPARestoreTargetRequiredError(LinnetError):
    """An array that several processes share can't be restored without an array to restore into."""

    def __init__(self, path: str | os.PathLike[str], step: float, key: str | None = None) -> None:
        what = "an array" if key is None else f"the array {key!r}"
        super().__init__(
            f"Step {step} was not restored from {path}: {what} is shared by several processes, and"
            " the target has none for it.",
            hint="Pass a target whose arrays have the shape, dtype and sharding to restore.",
        )


class MPARestoreDataCorruptedError(LinnetError):
    """The folder of an array that several processes share is incomplete."""

    def __init__(self, step: float, path: str | os.PathLike[str]) -> None:
        super().__init__(
            f"Step {step} was not restored: {path} is incomplete.",
            hint="Was the process that saved it interrupted? Restore an earlier step.",
        )
