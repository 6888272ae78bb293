"""Multi-head attention over one sequence: its memory and its time, forwards and with gradient.

The layer is left as it comes (`implementation="auto"`). Memory is what the compiled program needs
besides its inputs and outputs. The gradient is that of the sum of the outputs' squares by
parameters and inputs.
"""

from __future__ import annotations

import functools
from typing import Any

import flax.linen
import jax
import jax.numpy as jnp

import linnet.linen
from bench.case import FLAX, LINNET, Builder, Case, Comparison, Measure, Unit, timed

HEADS, FEATURES = 8, 256
LONG, LONGER, SHORT = 4096, 16384, 512
_LIBRARIES: dict[str, Any] = {LINNET: linnet.linen, FLAX: flax.linen}
_KINDS = ("forward", "gradient")


def _layer(form: str) -> Any:
    return _LIBRARIES[form].MultiHeadDotProductAttention(num_heads=HEADS)


@functools.cache
def _compiled(form: str, kind: str, tokens: int) -> Any:
    layer = _layer(form)
    x = jax.ShapeDtypeStruct((1, tokens, FEATURES), jnp.float32)  # type: ignore[no-untyped-call]
    variables = jax.eval_shape(layer.init, jax.random.key(0), x)

    def loss(variables: Any, x: Any) -> Any:
        return jnp.sum(jnp.square(layer.apply(variables, x)))

    run = layer.apply if kind == "forward" else jax.grad(loss, argnums=(0, 1))
    return jax.jit(run).lower(variables, x).compile()


def _memory(form: str, kind: str, tokens: int = LONG) -> Builder:
    def build() -> Measure:
        analysis = _compiled(form, kind, tokens).memory_analysis()
        return lambda: float(analysis.temp_size_in_bytes)

    return build


def _running(form: str, kind: str, tokens: int) -> Builder:
    def build() -> Measure:
        x = jax.random.normal(jax.random.key(1), (1, tokens, FEATURES))
        variables = jax.jit(_layer(form).init)(jax.random.key(0), x[:, :1])
        run = _compiled(form, kind, tokens)
        return timed(lambda: run(variables, x))

    return build


_MEMORY = {"forward": 1 / 24, "gradient": 1 / 20}
_TIME = {
    (LONG, "forward"): 0.3,
    (LONG, "gradient"): 0.25,
    (SHORT, "forward"): 1.0,
    (SHORT, "gradient"): 1.0,
}

CASES = [
    *(
        Case(
            f"attention-memory-{kind}",
            f"temporary memory of attention over {LONG} tokens: {kind}",
            {form: _memory(form, kind) for form in _LIBRARIES},
            [Comparison(LINNET, FLAX, at_most=_MEMORY[kind])],
            unit=Unit.BYTES,
            exact=True,
        )
        for kind in _KINDS
    ),
    *(
        Case(
            f"attention-growth-{kind}",
            f"temporary memory of attention, {LONGER} tokens over {LONG}: {kind}",
            {f"linnet {tokens}": _memory(LINNET, kind, tokens) for tokens in (LONGER, LONG)},
            [Comparison(f"linnet {LONGER}", f"linnet {LONG}", at_most=4.5)],
            unit=Unit.BYTES,
            exact=True,
        )
        for kind in _KINDS
    ),
    *(
        Case(
            f"attention-{tokens}-{kind}",
            f"run attention over {tokens} tokens: {kind}",
            {form: _running(form, kind, tokens) for form in _LIBRARIES},
            [Comparison(LINNET, FLAX, at_most=at_most)],
        )
        for (tokens, kind), at_most in _TIME.items()
    ),
]
