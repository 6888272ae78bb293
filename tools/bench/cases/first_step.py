"""Time to the first step: making a transformer of 24 layers, and training it for one step.

Each measurement runs in a new interpreter without jax's cache of compiled programs, and counts the
processor time of tracing, compiling and drawing, none of which waits. Imports, the key and the
inputs are made beforehand.

A training step is one step of gradient descent on one example of 16 tokens, so it computes very
little. `repeat` has its layers in `Repeat`; `loop` has 24 separate ones. The hand-written model has
them in a `jax.lax.scan`, and reaches the first step as quickly as JAX's own functions allow.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from bench.case import BY_HAND, FLAX, LINNET, Builder, Case, Comparison, Measure, Unit
from bench.fresh import fresh
from bench.models import transformer


def linen_init(form: str, *, jitted: bool = False) -> Callable[[], object]:
    """A function that makes the variables with linen's `init`."""
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


def linen_first_step(
    form: str, layers: int = transformer.LAYERS, repeated: bool = False
) -> Callable[[], object]:
    """A function that makes linen's variables and trains them for one step, both jitted."""
    model = transformer.made(form, layers, repeated=repeated, scanned=form == BY_HAND)
    x = transformer.inputs(1, 16)
    key = jax.block_until_ready(jax.random.key(0))  # type: ignore[no-untyped-call]

    def step(params: Any, x: Any, key: Any) -> Any:
        def loss(params: Any) -> Any:
            return jnp.mean(jnp.square(model.train(params, x, key)))

        return jax.tree.map(lambda p, g: p - 1e-3 * g, params, jax.grad(loss)(params))

    return lambda: jax.jit(step)(jax.jit(model.init)(key, x), x, key)


def nnx_first_step(
    form: str, layers: int = transformer.LAYERS, repeated: bool = False
) -> Callable[[], object]:
    """A function that makes nnx's model and trains it for one step, both jitted."""
    from bench.models import modules

    nnx, model = modules.nnx_of(form), modules.transformer(form, repeated=repeated)
    x = transformer.inputs(1, 16)

    def step(model: Any, x: Any) -> None:
        gradients = nnx.grad(lambda model: jnp.mean(jnp.square(model(x))))(model)
        params = nnx.state(model, nnx.Param)
        nnx.update(model, jax.tree.map(lambda p, g: p - 1e-3 * g, params, gradients))

    def run() -> object:
        made = nnx.jit(lambda: model(layers, nnx.Rngs(0)))()
        nnx.jit(step)(made, x)
        return jax.tree.leaves(nnx.state(made, nnx.Param))

    return run


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
        {form: fresh(__name__, making, form) for form in (LINNET, FLAX)},
        [Comparison(LINNET, FLAX, at_most=at_most)],
        warm=False,
    )


LOOP = f"{LINNET} loop"
REPEAT = f"{LINNET} repeat"


def _until_trained(
    name: str, about: str, making: str, others: dict[str, Builder], comparisons: list[Comparison]
) -> Case:
    return Case(
        f"first-step-{name}",
        about,
        {
            REPEAT: fresh(__name__, making, LINNET, transformer.LAYERS, True),
            LOOP: fresh(__name__, making, LINNET),
            FLAX: fresh(__name__, making, FLAX),
            **others,
        },
        [
            Comparison(REPEAT, FLAX, at_most=0.15),
            Comparison(LOOP, FLAX, at_most=0.7),
            *comparisons,
        ],
        warm=False,
    )


DEEP, SHALLOW = 96, 6

CASES = [
    _case("init", "init of 24 layers, cold", "linen_init", 0.35),
    _case("jit-init", "jax.jit of init of 24 layers, cold", "linen_jit_init", 0.4),
    _case("nnx", "make a transformer of 24 layers, cold", "nnx_constructor", 0.5),
    _case("nnx-jit", "nnx.jit of its constructor, cold", "nnx_jit_constructor", 0.4),
    _until_trained(
        "train",
        "init of 24 layers and a training step",
        "linen_first_step",
        {BY_HAND: fresh(__name__, "linen_first_step", BY_HAND)},
        [Comparison(REPEAT, BY_HAND, at_most=1), Comparison(BY_HAND, FLAX)],
    ),
    _until_trained(
        "nnx-train", "constructor of 24 layers and a training step", "nnx_first_step", {}, []
    ),
    Case(
        "first-step-depth",
        f"init of {DEEP} layers in Repeat and a training step, over {SHALLOW} layers",
        {str(n): fresh(__name__, "linen_first_step", LINNET, n, True) for n in (DEEP, SHALLOW)},
        [Comparison(str(DEEP), str(SHALLOW), at_most=1.2)],
        warm=False,
    ),
    Case(
        "first-step-memory",
        "temporary memory of the jitted init",
        {form: _memory(form) for form in (LINNET, FLAX)},
        [Comparison(LINNET, FLAX, at_most=1.05)],
        unit=Unit.BYTES,
        exact=True,
    ),
]
