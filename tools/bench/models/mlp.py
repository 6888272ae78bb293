"""A stack of residual blocks, x + dropout(Dense(gelu(Dense(x)))), in three forms.

Linnet's and Flax's forms have the same source, with different `nn`. The hand-written one takes the
same parameters and does the same arithmetic with `jax.numpy`; its dropout keys come from `fold_in`
with the number of the block.

B batch, T tokens, D features, F hidden features
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bench.case import BY_HAND, FLAX, LINNET

FEATURES = 256  # D
HIDDEN = 4 * FEATURES  # F
BLOCKS = 24
DROPOUT = 0.1

Array = jax.Array
Params = Any
Apply = Callable[[Params, Array, Array], Array]
Init = Callable[[Array, Array], Params]


@dataclasses.dataclass(frozen=True)
class Model:
    """One form of the stack.

    Attributes:
      train: (params, x, dropout key) -> y, with dropout.
      evaluate: the same without; the key is not used.
      init: (key, x) -> params.
    """

    train: Apply
    evaluate: Apply
    init: Init


def inputs(batch: int = 4, tokens: int = 64) -> Array:
    """The inputs of a model, [B, T, D]."""
    x = np.random.default_rng(0).normal(size=(batch, tokens, FEATURES))
    return jnp.asarray(x, jnp.float32)


def model(form: str, blocks: int = BLOCKS) -> Model:
    """The stack by Linnet, by Flax or by hand."""
    check_agreement()
    return _make(form, blocks)


@functools.cache
def parameters(blocks: int = BLOCKS) -> Params:
    """Parameters of the stack, the same for all forms."""
    made = jax.jit(_make(LINNET, blocks).init)(jax.random.key(0), inputs(1, 1))
    return jax.block_until_ready(made)  # type: ignore[no-untyped-call]


@functools.cache
def _make(form: str, blocks: int) -> Model:
    if form == BY_HAND:
        return Model(
            train=functools.partial(_by_hand, blocks=blocks, train=True),
            evaluate=functools.partial(_by_hand, blocks=blocks, train=False),
            init=functools.partial(_init_by_hand, blocks=blocks),
        )
    nn = importlib.import_module({LINNET: "linnet.linen", FLAX: "flax.linen"}[form])
    stack = _stack_of(nn)(blocks)

    def train(params: Params, x: Array, key: Array) -> Array:
        y: Array = stack.apply({"params": params}, x, train=True, rngs={"dropout": key})
        return y

    def evaluate(params: Params, x: Array, key: Array) -> Array:
        y: Array = stack.apply({"params": params}, x, train=False)
        return y

    def init(key: Array, x: Array) -> Params:
        return stack.init(key, x, train=False).get("params", {})  # none in a stack without blocks

    return Model(train, evaluate, init)


def _stack_of(nn: Any) -> Any:
    class Block(nn.Module):  # type: ignore[misc]
        @nn.compact  # type: ignore[untyped-decorator]
        def __call__(self, x: Array, train: bool) -> Array:
            y = nn.Dense(HIDDEN)(x)  # [B, T, F]
            y = nn.Dense(FEATURES)(nn.gelu(y))  # [B, T, D]
            return x + nn.Dropout(DROPOUT, deterministic=not train)(y)  # type: ignore[no-any-return]

    class Stack(nn.Module):  # type: ignore[misc]
        blocks: int

        @nn.compact  # type: ignore[untyped-decorator]
        def __call__(self, x: Array, train: bool) -> Array:
            for _ in range(self.blocks):
                x = Block()(x, train)
            return x

    return Stack


def _by_hand(params: Params, x: Array, key: Array, *, blocks: int, train: bool) -> Array:
    keep = 1.0 - DROPOUT
    for i in range(blocks):
        block = params[f"Block_{i}"]
        y = x @ block["Dense_0"]["kernel"] + block["Dense_0"]["bias"]  # [B, T, F]
        y = jax.nn.gelu(y)
        y = y @ block["Dense_1"]["kernel"] + block["Dense_1"]["bias"]  # [B, T, D]
        if train:
            kept = jax.random.bernoulli(jax.random.fold_in(key, i), keep, y.shape)
            y = jnp.where(kept, y / keep, 0.0)
        x = x + y
    return x


def _init_by_hand(key: Array, x: Array, *, blocks: int) -> Params:
    lecun_normal = jax.nn.initializers.lecun_normal()
    params: dict[str, dict[str, dict[str, Array]]] = {}
    sizes = ((FEATURES, HIDDEN), (HIDDEN, FEATURES))
    for i in range(blocks):
        block = params[f"Block_{i}"] = {}
        for j, (rows, columns) in enumerate(sizes):
            block[f"Dense_{j}"] = {
                "kernel": lecun_normal(jax.random.fold_in(key, 2 * i + j), (rows, columns)),
                "bias": jnp.zeros(columns),
            }
    return params


@functools.cache
def check_agreement() -> None:
    """Checks that all forms compute the same values, so that their costs can be compared.

    Raises:
      RuntimeError: they don't.
    """
    blocks = 2
    params, x, key = parameters(blocks), inputs(2, 3), jax.random.key(1)
    forms = {form: _make(form, blocks) for form in (LINNET, FLAX, BY_HAND)}
    expected = forms[BY_HAND].evaluate(params, x, key)
    for form, made in forms.items():
        same = jnp.allclose(made.evaluate(params, x, key), expected, rtol=1e-5, atol=1e-5)
        shapes = jax.eval_shape(made.init, key, x)
        if not same or jax.tree.map(jnp.shape, shapes) != jax.tree.map(jnp.shape, params):
            raise RuntimeError(f"The model by {form} differs from the hand-written one.")
        # The hand-written dropout draws different keys, so the size of its effect is compared.
        change = jnp.std(made.train(params, x, key) - expected)
        spread = jnp.std(forms[BY_HAND].train(params, x, key) - expected)
        if not 0.5 < change / spread < 2.0:
            raise RuntimeError(f"Dropout by {form} differs from the hand-written one.")
