"""nnx on eight devices: the cost of a call under `nnx.jit`, against `jax.jit` on a list of arrays.

Each array, [8, 8], is split over the devices. `flat, in` takes the same arrays and returns nothing,
like the function under `nnx.jit`; `flat, in and out` returns each of them plus one. Times are the
processor time of the calling thread.
"""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from bench.case import LINNET, THREAD, Builder, Case, Comparison, Measure, timed
from bench.fresh import EightDevices
from bench.models import modules

IN, BOTH = "flat, in", "flat, in and out"
COUNTS = (2000, 7700)


@functools.cache
def model_of(count: int) -> Any:
    """A module with `count` variables, two in each layer."""
    nnx = modules.nnx_of(LINNET)
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
    spec = PartitionSpec("data")  # type: ignore[no-untyped-call]
    split = NamedSharding(mesh, spec)

    def param() -> Any:
        return nnx.Param(jax.device_put(np.ones((8, 8), np.float32), split))

    class Layer(nnx.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            self.bias = param()
            self.kernel = param()

    class Model(nnx.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            self.layers = nnx.List([Layer() for _ in range(count // 2)])

    return Model()


def _nothing(count: int) -> Builder:
    def build() -> Measure:
        model = model_of(count)
        run = modules.nnx_of(LINNET).jit(lambda model: None)
        return timed(lambda: run(model), clock=THREAD)

    return build


def _flat(count: int, *, out: bool) -> Builder:
    def build() -> Measure:
        arrays = jax.tree.leaves(modules.nnx_of(LINNET).state(model_of(count)))
        run = jax.jit(lambda arrays: [jnp.add(a, 1) for a in arrays] if out else None)
        return timed(lambda: run(arrays), clock=THREAD)

    return build


BUILDERS: dict[str, Builder] = {
    f"{name} {count}": make
    for count in COUNTS
    for name, make in (
        (LINNET, _nothing(count)),
        (IN, _flat(count, out=False)),
        (BOTH, _flat(count, out=True)),
    )
}
_process = EightDevices(__name__, "BUILDERS")

CASES = [
    Case(
        f"nnx-devices-{count}",
        f"nnx.jit that does nothing, over {count:,} arrays on eight devices",
        {name: _process.contender(f"{name} {count}") for name in (LINNET, IN, BOTH)},
        [Comparison(LINNET, BOTH, at_most=1.0), Comparison(LINNET, IN, at_most=1.5)],
    )
    for count in COUNTS
]
