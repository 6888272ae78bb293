"""The contract of every layer on a mesh of eight devices: what is split stays split.

Each row of a table of layers is compiled for one device, and for meshes whose axes are automatic or
explicit; a program calls the layer and takes its gradient.

If the batch is split, each device does an eighth of the work of a single device. The call moves
nothing between devices, and the backward pass sums only the gradients of the parameters, once.

If parameters are split (along columns or rows) as well as the batch, the values are those of one
device, and each gradient is split like its parameter or input. If the row has a hand-written
formula, the output is split as JAX splits that of the formula; if the layer takes `out_sharding`,
the output is split accordingly.

The number of devices is fixed when a process starts, so a test in `contracts` runs this file, which
prints the failures in a package's tables of both styles:

    python mesh_contract.py .../tests/test_contract.py .../tests/test_nnx_contract.py
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import json
import math
import os
import re
import subprocess
import sys
import types
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

DEVICES = 8
BATCH = 1024
"""Large, so that computations on the parameters alone are negligible."""

MODEL = 2
"""Devices over which a parameter is split; the batch is split over the others."""

COLLECTIVES = re.compile(
    r" ((?:all-gather|all-to-all|collective-permute|reduce-scatter|all-reduce)(?:-start)?)\("
)
SUMMED = re.compile(r" = (.*?) all-reduce(?:-start)?\(")
LOOPS = re.compile(r" while\(.*?body=%?([\w.-]+)")
CALLED = re.compile(
    r"(?:calls|to_apply|body|condition|branch_computations)=\{?(%?[\w.-]+(?:, ?%?[\w.-]+)*)"
)
SHAPE = re.compile(r"\w+\[([\d,]*)\]")


def failures(linen: Path, nnx: Path) -> list[str]:
    """The failures of the rows of two test modules' tables, in one process with eight devices.

    Args:
      linen: a test module that has the table of linen layers as `LAYERS`.
      nnx: one that has the table of nnx layers. For meshes with explicit axes and for parameters
        that are split, these are traced, which shows how results are split, but not compiled: the
        arithmetic is the same.
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
    """The rows of a test module, loaded as a member of the package formed by its folder."""
    package = types.ModuleType("under_test")
    package.__path__ = [str(test_module.parent)]
    sys.modules[package.__name__] = package
    rows: list[Any] = importlib.import_module(f"under_test.{test_module.stem}").LAYERS
    return rows


class Check:
    """The checks of one row.

    Args:
      layer: the row.
      thorough: compiles the programs for explicit axes and for parameters that are split.
    """

    def __init__(self, layer: Any, *, thorough: bool) -> None:
        import jax

        self.layer, self.thorough = layer, thorough
        self.inputs = layer.arrays(batch=BATCH)
        self.call, self.values = layer.on_mesh(*self.inputs)
        self.program = _with_gradient(self.call)
        self.cotangents = _like(jax.eval_shape(self.call, self.values, *self.inputs)[0])
        arguments = self.values, self.inputs, self.cotangents
        self.one = jax.jit(self.program).lower(*arguments).compile()
        self.expected = self.one(*arguments)

    def failures(self) -> Iterator[str]:
        """The failures, with the row's name and the mesh."""
        import jax
        from jax.sharding import AxisType, Mesh

        for kind in (AxisType.Auto, AxisType.Explicit):
            explicit = kind is AxisType.Explicit
            if explicit and not hasattr(jax, "set_mesh"):
                continue  # jax 0.6 has the types, but not yet the rules for most operations
            data = Mesh(jax.devices(), ("data",), axis_types=(kind,))
            both = jax.make_mesh(
                (DEVICES // MODEL, MODEL), ("data", "model"), axis_types=(kind, kind)
            )
            checks: dict[str, tuple[Any, Callable[..., Iterator[str]]]] = {
                "": (data, self.of_batch),
                ", columns": (both, functools.partial(self.of_parameters, nth=0)),
                ", rows": (both, functools.partial(self.of_parameters, nth=1)),
            }
            for name, (mesh, check) in checks.items():
                try:
                    with jax.set_mesh(mesh) if explicit else contextlib.nullcontext():
                        found = list(check(mesh, explicit))
                except Exception as error:
                    found = [f"{type(error).__name__}: {error}"]
                yield from (f"{self.layer.name}, {kind.name}{name}: {x}" for x in found)

    def of_batch(self, mesh: Any, explicit: bool) -> Iterator[str]:
        """A batch that is split over all devices."""
        import jax

        arguments = self._placed(mesh, None)
        lowered = jax.jit(self.program).lower(*arguments)
        if explicit:
            yield from _not_split(lowered.out_info)
            if not self.thorough:
                return
        many = lowered.compile()
        share = _flops(many) / max(_flops(self.one), 1.0)
        allowed = self.layer.share
        if share > allowed / DEVICES and _flops(many) > allowed * self._of_an_eighth():
            yield f"a device computes {share:.3f} of what one device would"
        text = many.as_text() or ""
        moved = {name for name in COLLECTIVES.findall(text) if not name.startswith("all-reduce")}
        if moved:
            yield f"arrays are moved between devices: {', '.join(sorted(moved))}"
        if self.thorough and not self.layer.sums_batch:
            if _sums_in_loops(text) and not self.layer.sums_in_loop:
                yield "the gradient is summed over devices in each iteration of a loop"
            known = sum(x.size for x in jax.tree.leaves(self.values) if _is_smooth(x))
            if (summed := _summed(text)) > known:
                yield f"{summed} numbers are summed over devices; the gradient has {known}"
            values, inputs, _ = arguments
            forward = jax.jit(lambda values, inputs: self.call(values, *inputs))
            text = forward.lower(values, inputs).compile().as_text() or ""
            moved = set(COLLECTIVES.findall(text))
            if moved:
                yield f"the call moves arrays between devices: {', '.join(sorted(moved))}"
        yield from _differences(many(*arguments), self.expected)

    def of_parameters(self, mesh: Any, explicit: bool, nth: int) -> Iterator[str]:
        """A batch and parameters that are split."""
        import jax

        arguments = self._placed(mesh, nth)
        values, inputs, _ = arguments
        if not any("model" in x.sharding.spec for x in jax.tree.leaves(values)):
            return
        if not explicit and not self.thorough:
            return
        if explicit:
            arguments = values, inputs, self._like_outputs(self.call, values, inputs)
        lowered = jax.jit(self.program).lower(*arguments)
        if explicit:
            outputs, state, gradients = lowered.out_info
            for name, part in state.items():
                before = values.get(name, part)
                for new, old in zip(jax.tree.leaves(part), jax.tree.leaves(before), strict=True):
                    if _entries(new) != _entries(old):
                        yield f"the state {name} is split by {new.sharding.spec} after the call"
            for path, leaf in jax.tree_util.tree_leaves_with_path(outputs):
                if _entries(leaf)[0] != "data":
                    where = jax.tree_util.keystr(path)
                    yield f"output {where} of shape {leaf.shape} is split by {leaf.sharding.spec}"
            smooth = [x for x in jax.tree.leaves((values, inputs)) if _is_smooth(x)]
            for gradient, x in zip(jax.tree.leaves(gradients), smooth, strict=True):
                if _entries(gradient) != _entries(x):
                    yield (
                        f"the gradient of what is split by {x.sharding.spec}, of shape {x.shape}, "
                        f"is split by {gradient.sharding.spec}"
                    )
            yield from self._as_asked(outputs, values, inputs)
        if self.layer.by_hand is not None:
            yield from self._as_by_hand(values, inputs, explicit)
        if self.thorough:
            yield from _differences(lowered.compile()(*arguments), self.expected)

    def _like_outputs(self, call: Callable[..., Any], values: Any, inputs: Any) -> Any:
        """Cotangents that are split like the outputs, as JAX requires with explicit axes."""
        import jax
        from jax.sharding import NamedSharding

        outputs, _ = jax.eval_shape(call, values, *inputs)
        mesh = jax.tree.leaves(inputs)[0].sharding.mesh
        return jax.tree.map(
            lambda x, like: jax.device_put(x, NamedSharding(mesh, like.sharding.spec)),
            self.cotangents,
            outputs,
        )

    def _as_asked(self, outputs: Any, values: Any, inputs: Any) -> Iterator[str]:
        """Whether the layers that take a sharding split their output, and its gradient, by it."""
        import jax
        from jax.sharding import PartitionSpec

        if not self.layer.takes("out_sharding"):
            return
        last = "model" if outputs.shape[-1] % MODEL == 0 else None
        for spec in (PartitionSpec(), PartitionSpec("data", *[None] * (outputs.ndim - 2), last)):  # type: ignore[no-untyped-call]
            row = self.layer._replace(call={**self.layer.call, "out_sharding": spec})
            call, _ = row.on_mesh(*self.inputs)
            cotangents = self._like_outputs(call, values, inputs)
            found, _, _ = jax.eval_shape(_with_gradient(call), values, inputs, cotangents)
            if _entries(found) != (*spec, *[None] * (outputs.ndim - len(spec))):
                yield f"out_sharding={spec} gives an output that is split by {found.sharding.spec}"

    def _as_by_hand(self, values: Any, inputs: Any, explicit: bool) -> Iterator[str]:
        """Whether outputs are split like those of the formula."""
        import jax

        def ours(values: Any, inputs: Any) -> Any:
            return self.call(values, *inputs)[0]

        def theirs(values: Any, inputs: Any) -> Any:
            return self.layer.by_hand(values, *inputs)

        if explicit:
            try:
                wanted = [
                    _entries(x) for x in jax.tree.leaves(jax.eval_shape(theirs, values, inputs))
                ]
            except Exception as error:
                if type(error).__name__ != "ShardingTypeError":
                    raise
                return  # JAX leaves it open, so the layer decides
            got = [_entries(x) for x in jax.tree.leaves(jax.eval_shape(ours, values, inputs))]
            if got != wanted:
                yield f"the output is split by {got}, and that of the formula by {wanted}"
            return
        programs = [jax.jit(f).lower(values, inputs).compile() for f in (ours, theirs)]
        shapes = jax.tree.leaves(jax.eval_shape(ours, values, inputs))
        for shape, a, b in zip(
            shapes, *(jax.tree.leaves(p.output_shardings) for p in programs), strict=True
        ):
            if not a.is_equivalent_to(b, len(shape.shape)):
                yield f"the output is split by {a.spec}, and that of the formula by {b.spec}"
        counts = [len(COLLECTIVES.findall(p.as_text() or "")) for p in programs]
        if counts[0] > counts[1]:
            collectives = f"collective{'s' * (counts[0] != 1)}"
            yield f"the call has {counts[0]} {collectives}, and the formula {counts[1]}"

    def _placed(self, mesh: Any, nth: int | None) -> tuple[Any, Any, Any]:
        """Values, inputs and cotangents on a mesh; with `nth`, the values are split as well."""
        import jax
        from jax.sharding import NamedSharding, PartitionSpec

        def on(x: Any, *entries: Any) -> Any:
            spec = PartitionSpec(*entries)  # type: ignore[no-untyped-call]
            return jax.device_put(x, NamedSharding(mesh, spec))

        def parameter(x: Any) -> Any:
            entries: list[Any] = [None] * x.ndim
            if nth is not None and _is_smooth(x):
                fits = [i for i in reversed(range(x.ndim)) if x.shape[i] % MODEL == 0]
                if nth < len(fits):
                    entries[fits[nth]] = "model"
            return on(x, *entries)

        def example(x: Any) -> Any:
            return on(x, *(["data"] if x.shape[:1] == (BATCH,) else []))

        inputs, cotangents = jax.tree.map(example, (self.inputs, self.cotangents))
        return jax.tree.map(parameter, self.values), inputs, cotangents

    @functools.cache  # noqa: B019  (a check lives as long as its row is looked at)
    def _of_an_eighth(self) -> float:
        # XLA fuses a smaller program differently, and may compute cheap terms twice: in such
        # cases, a device is compared with a single device that computes only that part.
        import jax

        part = jax.tree.map(
            lambda x: x[: BATCH // DEVICES] if x.shape[:1] == (BATCH,) else x,
            (self.inputs, self.cotangents),
        )
        return _flops(jax.jit(self.program).lower(self.values, *part).compile())


def _entries(x: Any) -> tuple[Any, ...]:
    spec = tuple(x.sharding.spec)
    return spec + (None,) * (len(x.shape) - len(spec))


def _not_split(shapes: Any) -> Iterator[str]:
    import jax

    for path, leaf in jax.tree_util.tree_leaves_with_path(shapes):
        entries = (*leaf.sharding.spec, None)
        if (entries[0] == "data") != (leaf.shape[:1] == (BATCH,)) or any(entries[1:]):
            where = jax.tree_util.keystr(path)
            yield f"result {where} of shape {leaf.shape} is split by {leaf.sharding.spec}"


def computations(text: str) -> Mapping[str, str]:
    """The computations of a compiled program, by name."""
    parts = re.split(r"^(?:ENTRY )?%?([\w.-]+) \(.*\{$", text, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def _sums_in_loops(text: str) -> bool:
    """Whether a loop of a compiled program, or what it calls, has a sum over devices."""
    parts = computations(text)
    todo, seen = LOOPS.findall(text), set()
    while todo:
        name = todo.pop()
        if name in seen or name not in parts:
            continue
        seen.add(name)
        if SUMMED.search(parts[name]):
            return True
        for names in CALLED.findall(parts[name]):
            todo += [n.strip().lstrip("%") for n in names.split(",")]
    return False


def _summed(text: str) -> int:
    """How many numbers a compiled program sums over devices."""
    shapes = [s for result in SUMMED.findall(text) for s in SHAPE.findall(result)]
    return sum(math.prod(int(n) for n in shape.split(",") if n) for shape in shapes)


def _is_smooth(x: Any) -> bool:
    import jax.numpy as jnp

    return bool(jnp.issubdtype(x.dtype, jnp.floating))


def _with_gradient(call: Callable[..., Any]) -> Callable[..., Any]:
    """A program that calls the layer and differentiates it.

    Args:
      call: takes values and inputs, and returns outputs and the new state.
    """
    import jax

    def program(values: Any, inputs: Any, cotangents: Any) -> Any:
        leaves, tree = jax.tree.flatten((values, inputs))

        def of_smooth(*smooth: Any) -> Any:
            rest = iter(smooth)
            values, inputs = jax.tree.unflatten(
                tree, [next(rest) if _is_smooth(leaf) else leaf for leaf in leaves]
            )
            return call(values, *inputs)

        outputs, pull, state = jax.vjp(of_smooth, *filter(_is_smooth, leaves), has_aux=True)
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
            # Gradients of parameters are sums over the batch, added up in a different order.
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
        for problem in Check(row, thorough=style == "linen").failures()
    ]
    print(json.dumps(problems))
