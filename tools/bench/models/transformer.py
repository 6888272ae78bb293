"""A pre-norm transformer with causal attention, in three forms, and its layers in a scan.

Linnet's and Flax's forms have the same source, with a different `nn`. The hand-written one takes
the same parameters and does the same arithmetic with `jax.numpy` as usual; its dropout keys come
from `fold_in` with the numbers of the layer and of the dropout in it.

B batch, T tokens, D features, H heads, F hidden features
"""

from __future__ import annotations

import functools
import importlib
import math
from typing import Any

import jax
import jax.numpy as jnp

from bench.case import BY_HAND, FLAX, LINNET

from .mlp import Array, Model, Params, inputs

__all__ = ["inputs", "model", "parameters"]

FEATURES = 256  # D, that of `inputs`
HEADS = 8
HIDDEN = 4 * FEATURES  # F
LAYERS = 24
DROPOUT = 0.1


def model(form: str, layers: int = LAYERS, *, scanned: bool = False) -> Model:
    """The transformer in Linnet, in Flax or hand-written.

    Args:
      form: the library, or hand-written.
      layers: the number of layers.
      scanned: whether one layer with stacked parameters is scanned over.
    """
    check_agreement(scanned)
    return _make(form, layers, scanned)


def made(
    form: str, layers: int = LAYERS, *, repeated: bool = False, scanned: bool = False
) -> Model:
    """The model, without a check that all forms agree, for a process that has compiled nothing.

    Args:
      form: the library, or hand-written.
      layers: the number of layers.
      repeated: whether its layers are a `Repeat`, which only Linnet has.
      scanned: as for `model`.
    """
    return _make(form, layers, scanned, repeated)


@functools.cache
def parameters(layers: int = LAYERS, *, scanned: bool = False) -> Params:
    """Parameters of the transformer, the same for all forms."""
    init = _make(LINNET, layers, scanned).init
    return jax.block_until_ready(jax.jit(init)(jax.random.key(0), inputs(1, 1)))  # type: ignore[no-untyped-call]


@functools.cache
def _make(form: str, layers: int, scanned: bool, repeated: bool = False) -> Model:
    if form == BY_HAND:
        run = functools.partial(_by_hand, layers=layers, scanned=scanned)
        return Model(
            train=functools.partial(run, train=True),
            evaluate=functools.partial(run, train=False),
            init=functools.partial(_init_by_hand, layers=layers, scanned=scanned),
        )
    nn = importlib.import_module({LINNET: "linnet.linen", FLAX: "flax.linen"}[form])
    transformer = _transformer_of(nn)(layers, scanned, repeated)

    def train(params: Params, x: Array, key: Array) -> Array:
        y: Array = transformer.apply({"params": params}, x, train=True, rngs={"dropout": key})
        return y

    def evaluate(params: Params, x: Array, key: Array) -> Array:
        y: Array = transformer.apply({"params": params}, x, train=False)
        return y

    def init(key: Array, x: Array) -> Params:
        return transformer.init(key, x, train=False).get("params", {})

    return Model(train, evaluate, init)


def _transformer_of(nn: Any) -> Any:
    class Layer(nn.Module):  # type: ignore[misc]
        train: bool

        @nn.compact  # type: ignore[untyped-decorator]
        def __call__(self, x: Array, mask: Array) -> tuple[Array, None]:
            drop = nn.Dropout(DROPOUT, deterministic=not self.train)
            y = nn.LayerNorm()(x)
            y = nn.MultiHeadDotProductAttention(num_heads=HEADS)(y, mask=mask)
            x = x + drop(y)  # [B, T, D]
            y = nn.gelu(nn.Dense(HIDDEN)(nn.LayerNorm()(x)))  # [B, T, F]
            return x + drop(nn.Dense(FEATURES)(y)), None

    class Transformer(nn.Module):  # type: ignore[misc]
        layers: int
        scanned: bool
        repeated: bool

        @nn.compact  # type: ignore[untyped-decorator]
        def __call__(self, x: Array, train: bool) -> Array:
            mask = nn.make_causal_mask(x[..., 0])
            if self.scanned:
                scan = nn.scan(
                    Layer,
                    variable_axes={"params": 0},
                    split_rngs={"params": True, "dropout": True},
                    in_axes=nn.broadcast,
                    length=self.layers,
                )
                x, _ = scan(train, name="layers")(x, mask)
            elif self.repeated:
                x, _ = nn.Repeat(lambda: Layer(train), self.layers, name="layers")(x, mask)
            else:
                for i in range(self.layers):
                    x, _ = Layer(train, name=f"layer_{i}")(x, mask)
            y: Array = nn.LayerNorm(name="last")(x)
            return y

    return Transformer


def _by_hand(
    params: Params, x: Array, key: Array, *, layers: int, scanned: bool, train: bool
) -> Any:
    tokens = x.shape[1]
    mask = jnp.tril(jnp.ones((tokens, tokens), bool))
    if scanned:

        def step(x: Array, layer: tuple[Params, Array]) -> tuple[Array, None]:
            return _layer(*layer, x, mask, train), None

        keys = jax.random.split(key, layers)
        x, _ = jax.lax.scan(step, x, (params["layers"], keys))
    else:
        for i in range(layers):
            x = _layer(params[f"layer_{i}"], jax.random.fold_in(key, i), x, mask, train)
    return _norm(params["last"], x)


def _layer(params: Params, key: Array, x: Array, mask: Array, train: bool) -> Any:
    def drop(y: Array, number: int) -> Array:
        if not train:
            return y
        keep = 1.0 - DROPOUT
        kept = jax.random.bernoulli(jax.random.fold_in(key, number), keep, y.shape)
        return jnp.where(kept, y / keep, 0.0)

    x = x + drop(
        _attention(params["MultiHeadDotProductAttention_0"], _norm(params["LayerNorm_0"], x), mask),
        0,
    )
    y = _norm(params["LayerNorm_1"], x) @ params["Dense_0"]["kernel"] + params["Dense_0"]["bias"]
    y = jax.nn.gelu(y) @ params["Dense_1"]["kernel"] + params["Dense_1"]["bias"]
    return x + drop(y, 1)


def _norm(params: Params, x: Array) -> Any:
    mean = jnp.mean(x, axis=-1, keepdims=True)
    variance = jnp.mean(jnp.square(x), axis=-1, keepdims=True) - jnp.square(mean)
    y = (x - mean) * jax.lax.rsqrt(variance + 1e-6)
    return y * params["scale"] + params["bias"]


def _attention(params: Params, x: Array, mask: Array) -> Any:
    def project(name: str) -> Any:
        return jnp.einsum("btd,dhe->bthe", x, params[name]["kernel"]) + params[name]["bias"]

    query, key, value = project("query"), project("key"), project("value")  # [B, T, H, D/H]
    logits = jnp.einsum("bqhe,bkhe->bhqk", query / math.sqrt(query.shape[-1]), key)
    weights = jax.nn.softmax(jnp.where(mask, logits, jnp.finfo(logits.dtype).min))  # type: ignore[no-untyped-call]
    y = jnp.einsum("bhqk,bkhe->bqhe", weights, value)
    return jnp.einsum("bqhe,hed->bqd", y, params["out"]["kernel"]) + params["out"]["bias"]


def _init_by_hand(key: Array, x: Array, *, layers: int, scanned: bool) -> Params:
    def layer(key: Array) -> Params:
        lecun_normal = jax.nn.initializers.lecun_normal()
        depth = FEATURES // HEADS
        keys = iter(jax.random.split(key, 6))

        def dense(rows: int, columns: int, shape: tuple[int, ...], bias: tuple[int, ...]) -> Params:
            kernel = lecun_normal(next(keys), (rows, columns)).reshape(shape)
            return {"kernel": kernel, "bias": jnp.zeros(bias)}

        heads = (HEADS, depth)
        attention = {
            name: dense(FEATURES, FEATURES, (FEATURES, *heads), heads)
            for name in ("query", "key", "value")
        }
        attention["out"] = dense(FEATURES, FEATURES, (*heads, FEATURES), (FEATURES,))
        return {
            "LayerNorm_0": _norm_parameters(),
            "MultiHeadDotProductAttention_0": attention,
            "LayerNorm_1": _norm_parameters(),
            "Dense_0": dense(FEATURES, HIDDEN, (FEATURES, HIDDEN), (HIDDEN,)),
            "Dense_1": dense(HIDDEN, FEATURES, (HIDDEN, FEATURES), (FEATURES,)),
        }

    last = {"last": _norm_parameters()}
    if scanned:
        return {"layers": jax.vmap(layer)(jax.random.split(key, layers)), **last}
    return {f"layer_{i}": layer(jax.random.fold_in(key, i)) for i in range(layers)} | last


def _norm_parameters() -> Params:
    return {"scale": jnp.ones(FEATURES), "bias": jnp.zeros(FEATURES)}


@functools.cache
def check_agreement(scanned: bool) -> None:
    """Checks that all forms compute the same values, so that their costs can be compared.

    Raises:
      RuntimeError: they don't.
    """
    layers = 2
    params, x, key = parameters(layers, scanned=scanned), inputs(2, 5), jax.random.key(1)
    forms = {form: _make(form, layers, scanned) for form in (LINNET, FLAX, BY_HAND)}
    expected = jax.jit(forms[BY_HAND].evaluate)(params, x, key)
    for form, made in forms.items():
        same = jnp.allclose(jax.jit(made.evaluate)(params, x, key), expected, rtol=1e-4, atol=1e-4)
        shapes = jax.eval_shape(made.init, key, x)
        if not same or jax.tree.map(jnp.shape, shapes) != jax.tree.map(jnp.shape, params):
            raise RuntimeError(f"The transformer in {form} differs from the hand-written one.")
        # The hand-written dropout draws different keys, so the size of its effect is compared.
        change, spread = (
            jnp.std(jax.jit(m.train)(params, x, key) - expected) for m in (made, forms[BY_HAND])
        )
        if not 0.5 < change / spread < 2.0:
            raise RuntimeError(f"Dropout in {form} differs from the hand-written one.")
