"""Multi-head attention over one sequence: memory and time of the forward pass and of the gradient.

The layer has its default options (`implementation="auto"`); windows are causal. Memory is the
temporary memory of the compiled program, without inputs and outputs. The gradient is that of the
sum of the squared outputs with respect to parameters and inputs.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import flax.linen
import jax
import jax.numpy as jnp

import linnet.linen
from bench.case import FLAX, LINNET, Builder, Case, Comparison, Measure, Unit, timed

HEADS, FEATURES = 8, 256
LONG, LONGER, SHORT, MIDDLE = 4096, 16384, 512, 8192
WINDOW = 512
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


class Form(NamedTuple):
    """A contender: a form of causal attention over a number of tokens."""

    tokens: int
    causal: bool = True
    window: int | None = None

    def __str__(self) -> str:
        kind = "full" if not self.causal else f"window {self.window}" if self.window else "causal"
        return f"{kind}, {self.tokens}"


@functools.cache
def _compiled_form(form: Form, kind: str) -> Any:
    layer = linnet.linen.MultiHeadAttention(num_heads=HEADS, window=form.window)
    x = jax.ShapeDtypeStruct((1, form.tokens, FEATURES), jnp.float32)  # type: ignore[no-untyped-call]
    variables = jax.eval_shape(layer.init, jax.random.key(0), x)

    def run(variables: Any, x: Any) -> Any:
        return layer.apply(variables, x, is_causal=form.causal)

    def loss(variables: Any, x: Any) -> Any:
        return jnp.sum(jnp.square(run(variables, x)))

    program = run if kind == "forward" else jax.grad(loss, argnums=(0, 1))
    return jax.jit(program).lower(variables, x).compile()


def _memory_of_form(form: Form, kind: str) -> Builder:
    def build() -> Measure:
        analysis = _compiled_form(form, kind).memory_analysis()
        return lambda: float(analysis.temp_size_in_bytes)

    return build


def _running_form(form: Form, kind: str) -> Builder:
    def build() -> Measure:
        layer = linnet.linen.MultiHeadAttention(num_heads=HEADS)
        x = jax.random.normal(jax.random.key(1), (1, form.tokens, FEATURES))
        variables = jax.jit(layer.init)(jax.random.key(0), x[:, :1])
        run = _compiled_form(form, kind)
        return timed(lambda: run(variables, x))

    return build


def _against(
    name: str, title: str, form: Form, other: Form, time: float, memory: float | None
) -> list[Case]:
    """Cases that compare two forms in time and, if a bound is given, in memory."""
    cases = []
    for kind in _KINDS:
        comparison = functools.partial(Comparison, str(form), str(other))
        forms = (form, other)
        if memory is not None:
            cases.append(
                Case(
                    f"attention-{name}-memory-{kind}",
                    f"temporary memory of {title}: {kind}",
                    {str(f): _memory_of_form(f, kind) for f in forms},
                    [comparison(at_most=memory)],
                    unit=Unit.BYTES,
                    exact=True,
                )
            )
        cases.append(
            Case(
                f"attention-{name}-{kind}",
                f"run {title}: {kind}",
                {str(f): _running_form(f, kind) for f in forms},
                [comparison(at_most=time)],
                warm=False,
            )
        )
    return cases


def _step(position: int) -> Builder:
    """A step of decoding with a cache of `LONG` positions, of which `position` are filled."""

    def build() -> Measure:
        layer = linnet.linen.MultiHeadAttention(num_heads=HEADS, decode=True)
        x = jax.random.normal(jax.random.key(1), (8, LONG, FEATURES))
        variables = jax.jit(layer.init)(jax.random.key(0), x)
        variables["cache"]["cache_index"] = jnp.int32(position)
        token = x[:, :1]

        @jax.jit
        def step(variables: Any, token: Any) -> Any:
            return layer.apply(variables, token, mutable=["cache"])

        return timed(lambda: step(variables, token))

    return build


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
            warm=tokens == SHORT,
        )
        for (tokens, kind), at_most in _TIME.items()
    ),
    *_against(
        "window",
        f"attention of {LONGER} tokens, in a causal window of {WINDOW} over causal",
        Form(LONGER, window=WINDOW),
        Form(LONGER),
        time=0.25,
        memory=1.1,
    ),
    *_against(
        "linear",
        f"attention in a window of {WINDOW}, {LONGER} tokens over {LONG}",
        Form(LONGER, window=WINDOW),
        Form(LONG, window=WINDOW),
        time=4.5,
        memory=4.5,
    ),
    *_against(
        "causal",
        f"attention of {MIDDLE} tokens, causal over full",
        Form(MIDDLE),
        Form(MIDDLE, causal=False),
        time=0.6,
        memory=None,
    ),
    Case(
        "attention-decoding",
        f"decode a token at the end of a cache of {LONG} positions over one at its beginning",
        {"at the end": _step(LONG - 8), "at the beginning": _step(8)},
        [Comparison("at the end", "at the beginning", at_most=1.1)],
    ),
]
