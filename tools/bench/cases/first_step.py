"""Time to the first step: making a model of 24 transformer layers, from nothing.

In a fresh interpreter each time, without jax's cache of compiled programs, in the processor's time:
what is counted is tracing, compiling and drawing, all of which wait for nothing. Imports, the key
and the inputs are there before.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax

from bench.case import FLAX, LINNET, Builder, Case, Comparison, Measure, Unit
from bench.models import transformer

_PROGRAM = """
import sys, time
sys.path.insert(0, {tools!r})
import jax
from bench.cases import first_step

run = first_step.{making}({form!r})
start = time.process_time()
jax.block_until_ready(run())
print(time.process_time() - start)
"""

_TOOLS = str(Path(__file__).parent.parent.parent)


def linen_init(form: str, *, jitted: bool = False) -> Callable[[], object]:
    """A function that makes the variables by linen's `init`."""
    init, x = transformer.made(form).init, transformer.inputs(1, 16)
    key = jax.block_until_ready(jax.random.key(0))  # type: ignore[no-untyped-call]

    def run(key: jax.Array) -> object:
        return init(key, x)

    function = jax.jit(run) if jitted else run
    return lambda: function(key)


def linen_jit_init(form: str) -> Callable[[], object]:
    """The same within `jax.jit`."""
    return linen_init(form, jitted=True)


def nnx_constructor(form: str, *, jitted: bool = False) -> Callable[[], object]:
    """A function that makes nnx's model."""
    from bench.models import modules

    nnx, model = modules.nnx_of(form), modules.transformer(form)

    def make() -> object:
        return model(modules.LAYERS, nnx.Rngs(0))

    function = nnx.jit(make) if jitted else make
    return lambda: jax.tree.leaves(nnx.state(function()))


def nnx_jit_constructor(form: str) -> Callable[[], object]:
    """The same within `nnx.jit`."""
    return nnx_constructor(form, jitted=True)


def _fresh(making: str, form: str) -> Builder:
    def build() -> Measure:
        program = _PROGRAM.format(tools=_TOOLS, making=making, form=form)
        environment = {k: v for k, v in os.environ.items() if k != "JAX_COMPILATION_CACHE_DIR"}

        def measure() -> float:
            finished = subprocess.run(
                [sys.executable, "-P", "-c", program],
                env=environment,
                check=True,
                stdout=subprocess.PIPE,
                text=True,
            )
            return float(finished.stdout)

        return measure

    return build


def _memory(form: str) -> Builder:
    def build() -> Measure:
        init, x = transformer.made(form).init, transformer.inputs(1, 16)
        compiled = jax.jit(lambda key: init(key, x)).lower(jax.random.key(0)).compile()
        memory: Any = compiled.memory_analysis()
        return lambda: float(memory.temp_size_in_bytes)

    return build


def _case(name: str, about: str, making: str, at_most: float) -> Case:
    return Case(
        f"first-step-{name}",
        about,
        {form: _fresh(making, form) for form in (LINNET, FLAX)},
        [Comparison(LINNET, FLAX, at_most=at_most)],
    )


CASES = [
    _case("init", "init of 24 layers, cold", "linen_init", 0.35),
    _case("jit-init", "jax.jit of init of 24 layers, cold", "linen_jit_init", 0.4),
    _case("nnx", "make a transformer of 24 layers, cold", "nnx_constructor", 0.5),
    _case("nnx-jit", "nnx.jit of its constructor, cold", "nnx_jit_constructor", 0.4),
    Case(
        "first-step-memory",
        "temporary memory of the jitted init",
        {form: _memory(form) for form in (LINNET, FLAX)},
        [Comparison(LINNET, FLAX, at_most=1.05)],
        unit=Unit.BYTES,
        exact=True,
    ),
]
