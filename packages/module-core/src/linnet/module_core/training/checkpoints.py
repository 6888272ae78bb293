"""Checkpoints: numbered files in a folder, each a tree in msgpack, as Flax writes and reads them.

A checkpoint is written under a temporary name and renamed when it is complete, so that a numbered
file is always complete, even if the program was interrupted. Only then are older ones removed. The
numbers order the files: `checkpoint_10` comes after `checkpoint_9`, and steps may be fractions.

A file's bytes are those of `linnet.struct.serialization`; reading them builds arrays and containers
and runs nothing.

An orbax checkpoint is a folder instead of a file. It is written if an `orbax_checkpointer` is given
or the switch `flax_use_orbax_checkpointing` is on, and read where orbax is installed.

New programs should use orbax or safetensors, which also write from several processes at once.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from importlib import import_module
from pathlib import Path
from typing import Any, TypeAlias, TypeVar, overload

import jax

from linnet.struct import serialization

from ..accepted import accepted
from ..arrays import is_here
from ..config import config
from ..errors import ArgumentError, InvalidCheckpointError, MissingExtraError

T = TypeVar("T")

PyTree: TypeAlias = Any

SIGNED_FLOAT_RE = re.compile(r"([-+]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?)")
"""Numbers in names, with their signs."""
UNSIGNED_FLOAT_RE = re.compile(r"[-+]?((?:\d+(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?)")
"""Numbers in names, without their signs."""
MODULE_NUM_RE = re.compile(r"(.*)_\d+$")
"""Names of modules that are numbered."""
SCHEME_RE = re.compile(r"^(?P<scheme>[a-z][a-z0-9.+-]+://)?(?P<path>.*)", re.IGNORECASE)
"""Paths with or without a scheme, such as `gs://`."""

__all__ = [
    "MODULE_NUM_RE",
    "SCHEME_RE",
    "SIGNED_FLOAT_RE",
    "UNSIGNED_FLOAT_RE",
    "AsyncManager",
    "PyTree",
    "available_steps",
    "convert_pre_linen",
    "latest_checkpoint",
    "natural_sort",
    "restore_checkpoint",
    "safe_normpath",
    "save_checkpoint",
    "save_checkpoint_multiprocess",
]


class AsyncManager:
    """Writes checkpoints in a thread, one after another.

    Args:
      max_workers: the number of threads.
    """

    def __init__(self, max_workers: int = 1) -> None:
        self.executor = ThreadPoolExecutor(max_workers)
        self.save_future: Future[Any] | None = None

    def wait_previous_save(self) -> None:
        """Waits for the previous checkpoint, and raises its error if it failed."""
        previous, self.save_future = self.save_future, None
        if previous is not None:
            previous.result()

    def save_async(self, task: Callable[[], Any]) -> None:
        """Runs `task` in the thread, once the previous checkpoint is written."""
        self.wait_previous_save()
        self.save_future = self.executor.submit(task)


def save_checkpoint(
    ckpt_dir: str | os.PathLike[str],
    target: PyTree,
    step: int | float,
    prefix: str = "checkpoint_",
    keep: int = 1,
    overwrite: bool = False,
    keep_every_n_steps: int | None = None,
    async_manager: AsyncManager | None = None,
    orbax_checkpointer: Any = None,
) -> str:
    """Writes a tree to a new checkpoint, then removes older ones.

    Args:
      ckpt_dir: the folder; it is made if it doesn't exist.
      target: the tree, as `serialization.to_bytes` takes it.
      step: the number of the checkpoint.
      prefix: the part of the file's name before the number; may begin with folders.
      keep: how many of the newest checkpoints to keep.
      overwrite: replace a checkpoint of this step, and remove those of later ones.
      keep_every_n_steps: also keep one checkpoint per this number of steps.
      async_manager: writes the file in a thread; the tree is copied first.
      orbax_checkpointer: writes a folder instead of a file. By default,
        `orbax.checkpoint.PyTreeCheckpointer()` does so if the switch
        `flax_use_orbax_checkpointing` of `config` is on.

    Returns:
      The path of the checkpoint.

    Raises:
      InvalidCheckpointError: there is a checkpoint of this step or of a later one, and `overwrite`
        is False.
      ArgumentError: `keep` or `keep_every_n_steps` is below 1.
      MissingExtraError: orbax should write the checkpoint, but isn't installed.

    >>> import tempfile
    >>> folder = tempfile.mkdtemp()
    >>> for step in (1, 2, 3):
    ...     path = save_checkpoint(folder, {"step": step}, step, keep=2)
    >>> available_steps(folder)
    [2, 3]
    >>> restore_checkpoint(folder, {"step": 0})
    {'step': 3}
    """
    for name, value in (("keep", keep), ("keep_every_n_steps", keep_every_n_steps)):
        if value is not None and value < 1:
            raise ArgumentError(f"save_checkpoint: {name} is {value}, expected 1 or more.")
    if async_manager is not None:
        async_manager.wait_previous_save()
    path = Path(os.path.abspath(os.path.join(ckpt_dir, f"{prefix}{step}")))
    path.parent.mkdir(parents=True, exist_ok=True)
    base = str(path)[: -len(str(step))]
    present = natural_sort({*_checkpoints(base), str(path)})
    if not overwrite and (present[-1] != str(path) or path.exists()):
        raise InvalidCheckpointError(
            f'This checkpoint would be outdated, step: "{step}" and path: "{path}".',
            hint=f"The newest is {Path(present[-1]).name}. Set overwrite=True to replace this step"
            " and remove later ones, or choose another ckpt_dir or prefix.",
        )
    if orbax_checkpointer is None and config.flax_use_orbax_checkpointing:
        orbax_checkpointer = _checkpointer("save_checkpoint: flax_use_orbax_checkpointing is on")
    if orbax_checkpointer is not None:
        orbax_checkpointer.save(path, target, force=overwrite)
        _remove_others(base, path, keep, overwrite, keep_every_n_steps)
        return str(path)
    if async_manager is None:
        _write(base, path, serialization.to_bytes(target))
        _remove_others(base, path, keep, overwrite, keep_every_n_steps)
        return str(path)
    # The program may change, or donate, its arrays before they are written.
    encoded = serialization.to_bytes(target)

    def task() -> None:
        _write(base, path, encoded)
        _remove_others(base, path, keep, overwrite, keep_every_n_steps)

    async_manager.save_async(task)
    return str(path)


def save_checkpoint_multiprocess(
    ckpt_dir: str | os.PathLike[str],
    target: PyTree,
    step: int | float,
    prefix: str = "checkpoint_",
    keep: int = 1,
    overwrite: bool = False,
    keep_every_n_steps: int | None = None,
    async_manager: AsyncManager | None = None,
    gda_manager: object = None,
    orbax_checkpointer: object = None,
) -> str:
    """`save_checkpoint` in a program of several processes: the first one writes.

    With an `orbax_checkpointer`, all of them do. Without one, arrays must be whole in each process.

    Raises:
      ArgumentError: an array is spread over several processes, and only orbax can write it.
    """
    accepted(gda_manager=gda_manager)
    if orbax_checkpointer is None:
        for key, leaf in jax.tree_util.tree_leaves_with_path(target):
            if not is_here(leaf):
                raise ArgumentError(
                    f"save_checkpoint_multiprocess: {jax.tree_util.keystr(key)} is spread over"
                    " several processes.",
                    hint="Pass orbax_checkpointer=orbax.checkpoint.PyTreeCheckpointer().",
                )
        if jax.process_index() != 0:
            return os.path.abspath(os.path.join(ckpt_dir, f"{prefix}{step}"))
    return save_checkpoint(
        *(ckpt_dir, target, step, prefix, keep, overwrite, keep_every_n_steps),
        *(async_manager, orbax_checkpointer),
    )


@overload
def restore_checkpoint(
    ckpt_dir: str | os.PathLike[str],
    target: None,
    step: int | float | None = None,
    prefix: str = "checkpoint_",
    parallel: bool = True,
    gda_manager: object = None,
    allow_partial_mpa_restoration: bool = False,
    orbax_checkpointer: object = None,
    orbax_transforms: dict[str, Any] | None = None,
) -> Any: ...  # whatever was saved
@overload
def restore_checkpoint(
    ckpt_dir: str | os.PathLike[str],
    target: T,
    step: int | float | None = None,
    prefix: str = "checkpoint_",
    parallel: bool = True,
    gda_manager: object = None,
    allow_partial_mpa_restoration: bool = False,
    orbax_checkpointer: object = None,
    orbax_transforms: dict[str, Any] | None = None,
) -> T: ...
def restore_checkpoint(
    ckpt_dir: str | os.PathLike[str],
    target: T,
    step: int | float | None = None,
    prefix: str = "checkpoint_",
    parallel: bool = True,
    gda_manager: object = None,
    allow_partial_mpa_restoration: bool = False,
    orbax_checkpointer: object = None,
    orbax_transforms: dict[str, Any] | None = None,
) -> T:
    """Reads a checkpoint.

    Args:
      ckpt_dir: the folder, or the path of one checkpoint.
      target: a tree with the desired structure, or None for the state dict as it is.
      step: the number of the checkpoint; by default, the newest.
      prefix: the part of the file's name before the number.
      parallel, gda_manager, allow_partial_mpa_restoration: accepted for programs that pass them.
      orbax_checkpointer: reads folders of orbax; by default,
        `orbax.checkpoint.PyTreeCheckpointer()`.
      orbax_transforms: passed to it.

    Returns:
      A tree like `target` with the checkpoint's values, or `target` if the folder has none.

    Raises:
      ArgumentError: (a ValueError) the folder has no checkpoint of this step.
      MissingExtraError: orbax wrote the checkpoint, but isn't installed.
      serialization.InvalidBytesError: (a ValueError) the file is truncated or in another format.
    """
    accepted(
        parallel=parallel,
        gda_manager=gda_manager,
        allow_partial_mpa_restoration=allow_partial_mpa_restoration,
    )
    folder = os.fspath(ckpt_dir)
    if step is not None:
        path = os.path.join(folder, f"{prefix}{step}")
        if not os.path.exists(path):
            steps = [Path(p).name for p in natural_sort(_checkpoints(os.path.join(folder, prefix)))]
            raise ArgumentError(
                f"Matching checkpoint not found: {path}",
                hint=f"Available: {', '.join(steps)}." if steps else "There are no checkpoints.",
            )
    elif os.path.isdir(folder) and not _is_orbax(folder):
        newest = latest_checkpoint(folder, prefix)
        if newest is None:
            return target
        path = newest
    elif os.path.exists(folder):
        path = folder
    else:
        return target
    if os.path.isdir(path):
        return _restore_orbax(path, target, orbax_checkpointer, orbax_transforms)
    with open(path, "rb") as file:
        return serialization.from_bytes(target, file.read())


def latest_checkpoint(ckpt_dir: str | os.PathLike[str], prefix: str = "checkpoint_") -> str | None:
    """The path of the newest checkpoint, or None if there are none."""
    found = _checkpoints(os.path.join(ckpt_dir, prefix))
    return natural_sort(found)[-1] if found else None


def available_steps(
    ckpt_dir: str | os.PathLike[str], prefix: str = "checkpoint_", step_type: type = int
) -> list[int | float]:
    """The numbers of all checkpoints, in order.

    Args:
      ckpt_dir: the folder.
      prefix: the part of the files' names before the number.
      step_type: `int` or `float`.

    Raises:
      ArgumentError: (a ValueError) there are fractions among the numbers, and `step_type` is `int`.
    """
    base = os.path.join(ckpt_dir, prefix)
    numbers = [p[len(base) :] for p in natural_sort(_checkpoints(base))]
    numbers = [n for n in numbers if SIGNED_FLOAT_RE.fullmatch(n)]
    try:
        return [step_type(n) for n in numbers]
    except ValueError as error:
        raise ArgumentError(
            f"available_steps: steps are {', '.join(numbers)}; not all are of type"
            f" {step_type.__name__}.",
            hint="Pass step_type=float.",
        ) from error


def natural_sort(file_list: Iterable[str], signed: bool = True) -> list[str]:
    """Sorts names, comparing the numbers in them by value.

    Args:
      file_list: the names.
      signed: whether a sign in front belongs to a number.

    >>> natural_sort(["loss_10", "loss_9", "loss_1e3"])
    ['loss_9', 'loss_10', 'loss_1e3']
    """
    number = SIGNED_FLOAT_RE if signed else UNSIGNED_FLOAT_RE

    def key(name: str) -> list[Any]:
        parts = number.split(name)  # text and numbers in turn
        return [float(part) if i % 2 else part for i, part in enumerate(parts)]

    return sorted(file_list, key=key)


def safe_normpath(path: str) -> str:
    """`os.path.normpath`, except that it keeps a scheme such as `gs://`."""
    found = SCHEME_RE.match(path)
    assert found is not None  # it matches everything
    return (found["scheme"] or "") + os.path.normpath(found["path"])


def convert_pre_linen(params: PyTree) -> PyTree:
    """Renames the modules of a model from before linen, when one count numbered all kinds.

    Args:
      params: parameters in nested dicts.

    Returns:
      The same with the modules of each kind counted from 0.

    >>> convert_pre_linen({"Conv_0": {"w": 1}, "Dense_1": {"w": 2}, "Conv_2": {"w": 3}})
    {'Conv_0': {'w': 1}, 'Conv_1': {'w': 3}, 'Dense_0': {'w': 2}}
    """
    if not isinstance(params, Mapping):
        return params
    counts: dict[str, int] = {}
    renamed = {}
    for name in natural_sort(params):
        new = name
        if found := MODULE_NUM_RE.match(name):
            count = counts.get(found[1], 0)
            counts[found[1]] = count + 1
            new = f"{found[1]}_{count}"
        renamed[new] = convert_pre_linen(params[name])
    return renamed


def _checkpoints(base: str) -> list[str]:
    """The paths that begin with `base`, except those that are still being written."""
    folder, prefix = os.path.split(base)
    if not os.path.isdir(folder or "."):
        return []
    return [
        os.path.join(folder, name)
        for name in os.listdir(folder or ".")
        if name.startswith(prefix)
        and name != prefix
        and not name.endswith("tmp")
        and ".orbax-checkpoint-tmp" not in name
    ]


def _write(base: str, path: Path, encoded: bytes) -> None:
    temporary = Path(f"{base}tmp")
    temporary.write_bytes(encoded)
    if path.is_dir():  # of orbax
        shutil.rmtree(path)
    os.replace(temporary, path)  # atomic: a reader sees the old file or the new one


def _remove_others(
    base: str, path: Path, keep: int, overwrite: bool, keep_every_n_steps: int | None
) -> None:
    paths = natural_sort(_checkpoints(base))
    later = paths[paths.index(str(path)) + 1 :]
    paths = [p for p in paths if p not in later]
    if overwrite:
        for one in later:
            _remove(one)
    kept = float("-inf")
    for one in paths[:-keep]:
        with contextlib.suppress(ValueError):
            number = float(one[len(base) :])
            # Step 0 isn't kept: nothing has been learned yet.
            if keep_every_n_steps and number and number - kept >= keep_every_n_steps:
                kept = number
                continue
        _remove(one)


def _remove(path: str) -> None:
    if os.path.isdir(path):
        shutil.rmtree(path)
    else:
        os.remove(path)


def _is_orbax(folder: str) -> bool:
    return any(
        os.path.exists(os.path.join(folder, name))
        for name in ("_METADATA", "_CHECKPOINT_METADATA", "checkpoint", "manifest.ocdbt")
    )


def _restore_orbax(path: str, target: T, checkpointer: Any, transforms: object) -> T:
    if checkpointer is None:
        checkpointer = _checkpointer(f"restore_checkpoint: {path} is a folder written by orbax")
    options = {} if transforms is None else {"transforms": transforms}
    if target is None:
        restored: T = checkpointer.restore(os.path.abspath(path), **options)
        return restored
    like: T = checkpointer.restore(os.path.abspath(path), item=target, **options)
    return like


def _checkpointer(why: str) -> Any:
    try:
        library = import_module("orbax.checkpoint")
    except ModuleNotFoundError:
        raise MissingExtraError(
            f"{why}, but orbax is not installed.",
            hint="Install orbax-checkpoint, or pass an orbax_checkpointer.",
        ) from None
    return library.PyTreeCheckpointer()
