"""What every layer promises on a mesh of eight devices: a batch that is split stays split.

Each row of a table of layers is compiled three times, as one program that calls the layer and
takes its gradient: for one device, for a batch split over a mesh whose axes are automatic, and for
one over a mesh whose axes are explicit. Of the last two a device computes an eighth of what the
first one does, no array is gathered, and the values are the same.

A process has eight devices from its start on or never, so a test in `contracts` runs this file,
which prints what fails of a package's tables of both styles:

    python mesh_contract.py .../tests/test_contract.py .../tests/test_nnx_contract.py
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import json
import os
import re
import subprocess
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

DEVICES = 8
BATCH = 1024
"""Large, so that what is computed of the parameters alone is of no weight."""

MOVES = re.compile(r" ((?:all-gather|all-to-all|collective-permute)(?:-start)?)\(")


def failures(linen: Path, nnx: Path) -> list[str]:
    """What fails of the rows of two test modules' tables, found in one process of eight devices.

    Args:
      linen: a test module that has the table of linen layers as `LAYERS`.
      nnx: one that has the table of nnx layers. For the mesh with explicit axes these are traced,
        which shows how results are split, but not compiled: the arithmetic is the same.
    """
    done = subprocess.run(
        [sys.executable, __file__, str(linen), str(nnx)],
        env={**os.environ, "JAX_NUM_CPU_DEVICES": str(DEVICES), "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found: list[str] = json.loads(done.stdout.splitlines()[-1])
    return found


def table_of(test_module: Path) -> list[Any]:
    """The rows of a test module, loaded as a member of the package that its folder is."""
    package = types.ModuleType("under_test")
    package.__path__ = [str(test_module.parent)]
    sys.modules[package.__name__] = package
    rows: list[Any] = importlib.import_module(f"under_test.{test_module.stem}").LAYERS
    return rows


def check(layer: Any, *, compile_explicit: bool) -> Iterator[str]:
    """What fails of one row."""
    import jax
    from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

    inputs = layer.arrays(batch=BATCH)
    call, values = layer.on_mesh(*inputs)
    program = _with_gradient(call)
    cotangents = _like(jax.eval_shape(call, values, *inputs)[0])
    one = jax.jit(program).lower(values, inputs, cotangents).compile()
    expected = one(values, inputs, cotangents)

    @functools.cache
    def of_an_eighth() -> float:
        # XLA fuses a smaller program otherwise, and may compute cheap terms twice: in doubt, a
        # device is compared with one that has nothing but its part.
        part = jax.tree.map(
            lambda x: x[: BATCH // DEVICES] if x.shape[:1] == (BATCH,) else x, (inputs, cotangents)
        )
        return _flops(jax.jit(program).lower(values, *part).compile())

    def split(x: Any, mesh: Mesh) -> Any:
        spec = PartitionSpec(*(["data"] if x.shape[:1] == (BATCH,) else []))  # type: ignore[no-untyped-call]
        return jax.device_put(x, NamedSharding(mesh, spec))

    def problems(mesh: Mesh, explicit: bool) -> Iterator[str]:
        everywhere = PartitionSpec()  # type: ignore[no-untyped-call]
        whole = jax.device_put(values, NamedSharding(mesh, everywhere))
        arguments = (whole, *jax.tree.map(lambda x: split(x, mesh), (inputs, cotangents)))
        lowered = jax.jit(program).lower(*arguments)
        if explicit:
            yield from _not_split(lowered.out_info)
            if not compile_explicit:
                return
        many = lowered.compile()
        share = _flops(many) / max(_flops(one), 1.0)
        if share > layer.share / DEVICES and _flops(many) > layer.share * of_an_eighth():
            yield f"a device computes {share:.3f} of what one device would"
        moved = sorted(set(MOVES.findall(many.as_text() or "")))
        if moved:
            yield f"arrays are moved between devices: {', '.join(moved)}"
        yield from _differences(many(*arguments), expected)

    for kind in (AxisType.Auto, AxisType.Explicit):
        explicit = kind is AxisType.Explicit
        if explicit and not hasattr(jax, "set_mesh"):
            continue  # jax 0.6 has the types, but not yet the rules of most operations
        mesh = Mesh(jax.devices(), ("data",), axis_types=(kind,))
        try:
            with jax.set_mesh(mesh) if explicit else contextlib.nullcontext():
                found = list(problems(mesh, explicit))
        except Exception as error:
            found = [f"{type(error).__name__}: {error}"]
        yield from (f"{layer.name}, {kind.name}: {problem}" for problem in found)


def _not_split(shapes: Any) -> Iterator[str]:
    import jax

    for path, leaf in jax.tree_util.tree_leaves_with_path(shapes):
        entries = (*leaf.sharding.spec, None)
        if (entries[0] == "data") != (leaf.shape[:1] == (BATCH,)) or any(entries[1:]):
            where = jax.tree_util.keystr(path)
            yield f"result {where} of shape {leaf.shape} is split by {leaf.sharding.spec}"


def _with_gradient(call: Callable[..., Any]) -> Callable[..., Any]:
    """A program that calls and differentiates.

    Args:
      call: takes values and inputs, and returns outputs and the new state.
    """
    import jax
    import jax.numpy as jnp

    def is_smooth(x: Any) -> bool:
        return bool(jnp.issubdtype(x.dtype, jnp.floating))

    def program(values: Any, inputs: Any, cotangents: Any) -> Any:
        leaves, tree = jax.tree.flatten((values, inputs))

        def of_smooth(*smooth: Any) -> Any:
            rest = iter(smooth)
            values, inputs = jax.tree.unflatten(
                tree, [next(rest) if is_smooth(leaf) else leaf for leaf in leaves]
            )
            return call(values, *inputs)

        outputs, pull, state = jax.vjp(of_smooth, *filter(is_smooth, leaves), has_aux=True)
        return outputs, state, pull(cotangents)

    return program


def _like(shapes: Any) -> Any:
    import jax
    import numpy as np

    rng = np.random.default_rng(7)
    return jax.tree.map(lambda s: rng.normal(size=s.shape).astype(s.dtype), shapes)


def _flops(compiled: Any) -> float:
    return float(compiled.cost_analysis().get("flops", 0.0))


def _differences(ours: Any, expected: Any) -> Iterator[str]:
    import jax
    import jax.numpy as jnp
    import numpy as np

    leaves = jax.tree_util.tree_leaves_with_path(ours)
    for (path, a), b in zip(leaves, jax.tree.leaves(expected), strict=True):
        if jnp.issubdtype(a.dtype, jax.dtypes.prng_key):
            a, b = jax.random.key_data(a), jax.random.key_data(b)
        try:
            # Gradients of parameters are sums over the batch, added up in another order.
            np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-3)
        except AssertionError as error:
            yield f"{jax.tree_util.keystr(path)} differs: {' '.join(str(error).split())}"


if __name__ == "__main__":
    import jax

    # Most of the time goes into compiling programs that run once.
    jax.config.update("jax_disable_most_optimizations", True)  # type: ignore[no-untyped-call]
    linen, nnx = map(Path, sys.argv[1:])
    problems = [
        f"{style} {problem}"
        for style, module in (("linen", linen), ("nnx", nnx))
        for row in table_of(module)
        for problem in check(row, compile_explicit=style == "linen")
    ]
    print(json.dumps(problems))
