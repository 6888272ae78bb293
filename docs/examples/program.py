"""Helpers of the examples that don't concern networks: options, progress, Ctrl-C, files."""

import argparse
import io
import shutil
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BLUE, ORANGE, GRAY = "#0072b2", "#d55e00", "#6b7075"  # distinct for color-blind readers, too


def read_options(description: str, steps: int, checkpoint: str = "") -> argparse.Namespace:
    """The command line: `out` (a folder, which is made), `steps`, `seed` and `tiny`.

    Args:
      description: the program's description.
      steps: the default number of the optimizer's steps.
      checkpoint: for programs that read one, the default folder in checkpoints/.
    """
    parser = argparse.ArgumentParser(description=description)
    if checkpoint:
        default = Path(__file__).parent / "checkpoints" / checkpoint
        about = "a folder with config.json and model.safetensors"
        parser.add_argument("checkpoint", type=Path, nargs="?", default=default, help=about)
    out = Path(__file__).parent / "out"
    parser.add_argument("--out", type=Path, default=out, metavar="DIR", help="where to write")
    parser.add_argument(
        "--steps", type=int, metavar="N", help=f"steps of the optimizer (default: {steps})"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="default: 0")
    parser.add_argument(
        "--tiny", action="store_true", help="a model that learns little, in a few seconds"
    )
    options = parser.parse_args()
    if options.steps is not None and options.steps < 1:
        parser.error(f"--steps: expected 1 or more, got {options.steps}")
    if checkpoint and not (options.checkpoint / "config.json").exists():
        parser.error(f"checkpoint: {options.checkpoint} has no config.json")
    options.out = options.out.resolve()
    try:
        options.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        parser.error(f"--out: {error}")
    if isinstance(sys.stdout, io.TextIOWrapper):  # line by line through a pipe, in any encoding
        sys.stdout.reconfigure(line_buffering=True, errors="replace")
    return options


def show_progress(step: int, steps: int, text: str, *, keep: bool) -> None:
    """On a terminal, a line that is overwritten; elsewhere, only the lines to keep."""
    number = f"step {step:{len(str(steps))}}/{steps}"
    if sys.stdout.isatty():
        columns = shutil.get_terminal_size().columns
        filled = 20 * step // steps
        line = f"{number} {'█' * filled}{'░' * (20 - filled)} {text}"
        print(f"\r{line[: columns - 1]}", end="" if step < steps else "\n", flush=True)
    elif keep:
        print(f"{number}  {text}")


@contextmanager
def stop_on_ctrl_c() -> Iterator[threading.Event]:
    """An event that the first Ctrl-C sets; the second ends the program immediately."""
    stop = threading.Event()

    def on_signal(*_: object) -> None:
        stop.set()
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    before = signal.signal(signal.SIGINT, on_signal)
    try:
        yield stop
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path to write to; it replaces `path` once it is complete."""
    part = path.with_stem(f"{path.stem}.part")
    try:
        yield part
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def tidy(axes: "Axes", title: str, xlabel: str) -> None:
    """Gives a plot a title at the left, horizontal grid lines, and no top or right border."""
    axes.set_title(title, loc="left", weight="bold")
    axes.set_xlabel(xlabel)
    axes.grid(axis="y", color="#e4e6e8")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
