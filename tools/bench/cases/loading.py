"""Loading a safetensors file of 256 MiB into an nnx module, against the simplest way to read it.

The simplest way is `safetensors.numpy` and `jax.device_put`, tensor by tensor. Processor time is
measured; the system spends most of it on pages of memory that are touched for the first time. Peak
memory is measured in a separate process, minus the memory that the process used before.
"""

from __future__ import annotations

import functools
import importlib
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np

from bench.case import BY_HAND, LINNET, PROCESS, Builder, Case, Comparison, Unit, timed
from linnet import nnx
from linnet.weights import from_torch, load, save

WIDTH, LAYERS = 2048, 16
BYTES = WIDTH * WIDTH * LAYERS * 4
_TOOLS = str(Path(__file__).parents[2])
_PEAK = """
import sys
sys.path.insert(0, {tools!r})
from bench.cases.loading import peak
print(peak({form!r}, {path!r}))
"""


class Model(nnx.Module):
    """Sixteen matrices."""

    def __init__(self) -> None:
        rngs, linear = nnx.Rngs(0), functools.partial(nnx.Linear, WIDTH, WIDTH, use_bias=False)
        self.layers = nnx.List([linear(rngs=rngs) for _ in range(LAYERS)])


@functools.cache
def _folder() -> tempfile.TemporaryDirectory[str]:
    """A folder with the file under the names of Linnet and those of PyTorch."""
    folder = tempfile.TemporaryDirectory(prefix="bench-loading-")
    draw = np.random.default_rng(0)
    for name in ("layers/{}/kernel", "layers.{}.weight"):
        tensors = {name.format(i): draw.random((WIDTH, WIDTH), np.float32) for i in range(LAYERS)}
        save(Path(folder.name, "torch" if "weight" in name else "linnet"), tensors)
    return folder


def _module(read: Callable[[nnx.Module, Path], object]) -> Callable[[Path], object]:
    def run(folder: Path) -> object:
        model = nnx.eval_shape(Model)
        read(model, folder)
        return nnx.state(model)

    return run


def _by_hand(folder: Path, name: str, transpose: bool) -> object:
    from safetensors.numpy import load_file

    tensors = load_file(folder / name)
    return {k: jax.device_put(x.T if transpose else x) for k, x in tensors.items()}


FORMS: dict[str, Callable[[Path], object]] = {
    "load": _module(lambda model, folder: load(folder / "linnet", model)),
    "load by hand": lambda folder: _by_hand(folder, "linnet", False),
    "from_torch": _module(lambda model, folder: from_torch(model, load(folder / "torch"))),
    "from_torch by hand": lambda folder: _by_hand(folder, "torch", True),
}


def peak(form: str, path: str) -> int:
    """The peak growth of the process, which must be a new one, in bytes."""
    np.asarray(jax.numpy.zeros(2) + 1)  # initializes the device
    importlib.import_module("safetensors.numpy")
    before = _memory("VmRSS")
    jax.block_until_ready(FORMS[form](Path(path)))  # type: ignore[no-untyped-call]
    return _memory("VmHWM") - before


def _memory(name: str) -> int:
    """Bytes of this process, as Linux counts them: VmRSS now, VmHWM at its peak so far."""
    lines = Path("/proc/self/status").read_text("ascii").splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(name))


def _peak(form: str) -> Builder:
    def measure() -> float:
        program = _PEAK.format(tools=_TOOLS, form=form, path=_folder().name)
        command = [sys.executable, "-P", "-c", program]
        return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)

    return lambda: measure


def _time(form: str) -> Builder:
    def build() -> Callable[[], float]:
        folder = Path(_folder().name)
        return timed(lambda: FORMS[form](folder), clock=PROCESS)

    return build


CASES = [
    Case(
        f"loading-{form.replace('_', '-')}",
        f"256 MiB of safetensors into an nnx module by {form}",
        {LINNET: _time(form), BY_HAND: _time(f"{form} by hand")},
        [Comparison(LINNET, BY_HAND, at_most=1.3)],
    )
    for form in ("load", "from_torch")
] + [
    Case(
        f"loading-peak-{form.replace('_', '-')}",
        f"peak of memory of {form}, above the process without it",
        {LINNET: _peak(form), "file": lambda: lambda: BYTES},
        [Comparison(LINNET, "file", at_most=1 + 1.25 / LAYERS)],
        unit=Unit.BYTES,
        exact=True,
    )
    for form in ("load", "from_torch")
]
