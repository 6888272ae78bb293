"""Running a cell over a batch of sequences: the forward pass, and the gradient.

The gradient is that of the sum of the squared outputs with respect to parameters and inputs. Where
torch is installed, its LSTM and GRU are measured, too, with one thread per core, as in JAX. They
have one more bias for each gate, added to the same sums.

Shapes: T time, B batch, D input features, H hidden features.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable
from typing import Any

import flax.linen
import jax
import jax.numpy as jnp

import linnet.linen
from bench.case import FLAX, LINNET, Builder, Case, Comparison, Measure, timed

T, B, D, H = 256, 32, 256, 256
IMAGE = (16, 4, 16, 16, 8)  # time, batch, height, width, features

TORCH = "torch"
_LIBRARIES: dict[str, Any] = {LINNET: linnet.linen, FLAX: flax.linen}
_HAS_TORCH = importlib.util.find_spec("torch") is not None

Make = Callable[[Any], Any]


def _running(form: str, make: Make, shape: tuple[int, ...], *, gradient: bool) -> Builder:
    def build() -> Measure:
        library = _LIBRARIES[form]
        layer = library.RNN(make(library), time_major=True)
        xs = jax.random.normal(jax.random.key(1), shape)
        variables = jax.jit(layer.init)(jax.random.key(0), xs)

        def loss(variables: Any, xs: jax.Array) -> jax.Array:
            return jnp.sum(layer.apply(variables, xs) ** 2)

        function = jax.grad(loss, argnums=(0, 1)) if gradient else layer.apply
        run = jax.jit(function).lower(variables, xs).compile()
        return timed(lambda: run(variables, xs))

    return build


def _torch(kind: str, *, gradient: bool) -> Builder:
    def build() -> Measure:
        torch = importlib.import_module("torch")
        layer = getattr(torch.nn, kind)(D, H)
        xs = torch.randn(T, B, D, requires_grad=gradient)
        wanted = [*layer.parameters(), xs]

        def forward() -> None:
            with torch.no_grad():
                layer(xs)

        def backward() -> None:
            torch.autograd.grad((layer(xs)[0] ** 2).sum(), wanted)

        return timed(backward if gradient else forward)

    return build


def _cases(
    name: str,
    make: Make,
    *,
    forward: float | None = 0.9,
    gradient: float | None = 0.9,
    shape: tuple[int, ...] = (T, B, D),
    in_torch: str | None = None,
) -> list[Case]:
    cases = []
    for kind, at_most in (("", forward), ("-gradient", gradient)):
        contenders = {form: _running(form, make, shape, gradient=bool(kind)) for form in _LIBRARIES}
        comparisons = [Comparison(LINNET, FLAX, at_most=at_most)]
        if in_torch is not None and _HAS_TORCH:
            contenders[TORCH] = _torch(in_torch, gradient=bool(kind))
            comparisons.append(Comparison(LINNET, TORCH))
        about = f"{name} over {shape[0]} steps{', gradient' if kind else ''}"
        cases.append(Case(f"recurrent-{name}{kind}", about, contenders, comparisons))
    return cases


CASES = [
    *_cases("lstm", lambda nn: nn.LSTMCell(H), in_torch="LSTM"),
    *_cases("optimized-lstm", lambda nn: nn.OptimizedLSTMCell(H), forward=0.95),
    *_cases("gru", lambda nn: nn.GRUCell(H), in_torch="GRU"),
    *_cases("simple", lambda nn: nn.SimpleCell(H), forward=0.95),
    *_cases("mgu", lambda nn: nn.MGUCell(H)),
    *_cases(
        "conv-lstm",
        lambda nn: nn.ConvLSTMCell(8, kernel_size=(3, 3)),
        forward=None,
        gradient=None,
        shape=IMAGE,
    ),
]
