"""Every hint of the bridge between linen and nnx, followed to the letter."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import pytest

import hints
from hints import Remedy
from linnet.module_core import bridge, linen, nnx
from linnet.module_core.boxes import AxisMetadata

SOURCES = Path(bridge.__file__).parent
KEY = jax.random.key(0)
X = jnp.ones((2, 3))
ONES = jax.nn.initializers.ones


class Dense(linen.Module):
    """A linen layer with a kernel."""

    features: int = 3

    @linen.compact
    def __call__(self, x):
        return x @ self.param("kernel", ONES, (x.shape[-1], self.features))


class Model(linen.Module):
    """Two linen layers, and a statistic if `counted` is True."""

    sizes: tuple[int, int] = (3, 3)
    counted: bool = False

    @linen.compact
    def __call__(self, x):
        if self.counted:
            self.variable("batch_stats", "count", jnp.zeros, ())
        return Dense(self.sizes[1], name="last")(Dense(self.sizes[0], name="first")(x))


class Linear(nnx.Module):
    """The nnx twin of `Dense`, which may draw a mask on each call."""

    def __init__(self, n_in=3, n_out=3, masked=False, *, rngs):
        self.kernel = nnx.Param(rngs.params.normal((n_in, n_out)))
        self.masked = masked
        self.rngs = rngs.fork() if masked else None

    def __call__(self, x, deterministic=False):
        y = x @ self.kernel
        if self.masked and not deterministic:
            y = y * jax.random.bernoulli(self.rngs.dropout(), 0.5, y.shape)
        return y


class Twin(nnx.Module):
    """Two nnx layers."""

    def __init__(self, sizes=(3, 3), names=("first", "last"), **more):
        n_in = 3
        for name, n_out in zip(names, sizes, strict=True):
            setattr(self, name, Linear(n_in, n_out, rngs=nnx.Rngs(0)))
            n_in = n_out
        for name, value in more.items():
            setattr(self, name, value)


class Kernel(bridge.Module):
    """A compact module of nnx."""

    features: int = 3

    @bridge.compact
    def __call__(self, x):
        return x @ self.param("kernel", ONES, (x.shape[-1], self.features))


class Running(bridge.Module):
    """Runs a function as its own method."""

    f: Any

    @bridge.compact
    def __call__(self, x):
        return self.f(self, x)


class Holding(bridge.Module):
    """Assigns a module to an attribute."""

    def setup(self):
        self.kernel = Kernel()

    def __call__(self, x):
        return self.kernel(x)


def ran(f):
    module = Running(f)
    return module.apply(module.init(KEY, X), X)


def values(module=None):
    return (module or Model()).init(KEY, X)


def applied(module):
    return module.apply(values(module), X)


def loaded(variables, twin, **options):
    return bridge.linen_to_nnx(variables, twin, **options)


def masked(**options):
    layer = bridge.to_linen(Linear, 3, 3, masked=True)
    return layer.apply(layer.init({"params": KEY, "dropout": KEY}, X), X, **options)


def encoding(take):
    model = bridge.ToNNX(Dense(3), rngs=nnx.Rngs(0))
    take(model)
    return model.kernel


def box(cls):
    return bridge.to_nnx_var("params", cls(X))


class Bare(AxisMetadata):
    """A box that isn't a dataclass."""

    def __init__(self, value):
        self.value = value

    def unbox(self):
        return self.value

    def replace_boxed(self, value):
        return Bare(value)

    def add_axis(self, index, params):
        return self

    def remove_axis(self, index, params):
        return self


@dataclasses.dataclass(frozen=True)
class Field(AxisMetadata):
    """A box that is one."""

    value: Any

    def unbox(self):
        return self.value

    def replace_boxed(self, value):
        return Field(value)

    def add_axis(self, index, params):
        return self

    def remove_axis(self, index, params):
        return self


INSTANCE = Linear(rngs=nnx.Rngs(0))

REMEDIES = [
    Remedy(
        "Where names differ, say which layers correspond: names={'Dense_0': 'encoder/out'}.",
        lambda: loaded(values(), Twin(names=("a", "last"))),
        lambda: loaded(values(), Twin(names=("a", "last")), names={"first": "a"}),
    ),
    Remedy(
        "Where one side has more, leave collections out of the variables, or choose variables",
        lambda: loaded(values(Model(counted=True)), Twin()),
        lambda: loaded({"params": values(Model(counted=True))["params"]}, Twin()),
    ),
    Remedy(
        "Where one side has more, leave collections out of the variables, or choose variables",
        lambda: loaded(values(), Twin(seen=nnx.BatchStat(jnp.zeros(())))),
        lambda: loaded(values(), Twin(seen=nnx.BatchStat(jnp.zeros(()))), only=nnx.Param),
    ),
    Remedy(
        "Make both models with the same sizes, or say which layers correspond:",
        lambda: loaded(values(), Twin((4, 3))),
        lambda: loaded(values(), Twin((3, 3))),
    ),
    Remedy(
        "Make both models with the same sizes, or say which layers correspond:",
        lambda: loaded(values(Model((3, 4))), Twin((3, 4), names=("last", "first"))),
        lambda: loaded(
            values(Model((3, 4))),
            Twin((3, 4), names=("last", "first")),
            names={"first": "last", "last": "first"},
        ),
    ),
    Remedy(
        "Make `like` from a twin that has the same sizes as the module, or say which layers",
        lambda: bridge.nnx_to_linen(Twin((4, 3)), values(Model((3, 3)))),
        lambda: bridge.nnx_to_linen(Twin((4, 3)), values(Model((4, 3)))),
    ),
    Remedy(
        "Write nnx_in_bridge_mdl(lambda rngs: nnx.Linear(2, 3, rngs=rngs)).",
        lambda: ran(lambda self, x: bridge.nnx_in_bridge_mdl(INSTANCE)(x)),
        lambda: ran(
            lambda self, x: bridge.nnx_in_bridge_mdl(lambda rngs: Linear(3, 3, rngs=rngs))(x)
        ),
    ),
    Remedy(
        "In a method of the parent, leave parent out, since it is found there; elsewhere, assign",
        lambda: Kernel(parent=Holding()),
        lambda: [
            ran(lambda self, x: Kernel()(x)),
            applied(Holding()),
            applied(Kernel(parent=None)),
        ],
    ),
    Remedy(
        "Call {} in a compact method or in setup, while init or apply runs.",
        lambda: bridge.linen_in_bridge_mdl(Dense()),
        lambda: ran(lambda self, x: bridge.linen_in_bridge_mdl(Dense())(x)),
    ),
    Remedy(
        "Call it through init or apply: model.apply(variables, x).",
        lambda: Kernel()(X),
        lambda: [variables := Kernel().init(KEY, X), Kernel().apply(variables, X)],
    ),
    Remedy(
        "Call it within init or apply.",
        lambda: Running(lambda self, x: self.make_rng()).make_rng(),
        lambda: Running(lambda self, x: self.make_rng()).init(KEY, X),
    ),
    Remedy(
        "In apply, a new variable needs mutable=[{}] and an init_fn.",
        lambda: Kernel().apply({}, X, rngs=KEY),
        lambda: Kernel().apply({}, X, rngs=KEY, mutable=["params"]),
    ),
    Remedy(
        "rngs={'dropout': jax.random.key(0)}, or make the layers that use them deterministic.",
        lambda: masked(),
        lambda: [
            masked(rngs={"dropout": jax.random.key(0)}),
            masked(deterministic=True),
        ],
    ),
    Remedy(
        "nnx.bridge.to_linen({}, ...) with the arguments of {}, without rngs. To use",
        lambda: bridge.to_linen(INSTANCE),
        lambda: [
            applied(bridge.ToLinen(Linear, args=(3,), kwargs={"n_out": 3})),
            twin := bridge.to_linen(Linear, 3, n_out=3),
            twin.apply(bridge.nnx_to_linen(INSTANCE, values(twin)), X),
        ],
    ),
    Remedy(
        "Write ToLinen(nnx.Linear, args=(2, 3)).",
        lambda: bridge.ToLinen(3),
        lambda: applied(bridge.ToLinen(Linear, args=(3, 3))),
    ),
    Remedy(
        "Write lazy_init(model, x), or lazy_init(model.encode, x).",
        lambda: encoding(lambda model: bridge.lazy_init(lambda x: model(x), X)),
        lambda: [
            encoding(lambda model: bridge.lazy_init(model, X)),
            encoding(lambda model: bridge.lazy_init(model.__call__, X)),
        ],
    ),
    Remedy(
        "Write ToNNX(nn.Dense(3), rngs=nnx.Rngs(0)).",
        lambda: bridge.ToNNX(Dense),
        lambda: bridge.ToNNX(Dense(3), rngs=nnx.Rngs(0)).lazy_init(X),
    ),
    Remedy(
        "Make the box a dataclass with a field `value` (for example, a PyTreeNode).",
        lambda: box(Bare),
        lambda: box(Field),
    ),
    Remedy(
        "Rename one of them in the linen module.",
        lambda: bridge.linen_vars_to_nnx_attrs(
            {"params": {"scale": X}, "batch_stats": {"scale": X}}
        ),
        lambda: bridge.linen_vars_to_nnx_attrs(
            {"params": {"scale": X}, "batch_stats": {"mean": X}}
        ),
    ),
]

ADVICE = [  # which is part of a message
    Remedy(
        "call init before apply.",
        lambda: bridge.functional(Linear)().apply(nnx.state(INSTANCE)),
        lambda: [
            made := bridge.functional(Linear)(),
            made.apply(made.init(rngs=nnx.Rngs(0)))(X),
        ],
    ),
    Remedy(
        "is it a variable that lazy_init has not created yet?",
        lambda: encoding(lambda model: None),
        lambda: encoding(lambda model: bridge.lazy_init(model, X)),
    ),
]


@pytest.mark.parametrize("remedy", [*REMEDIES, *ADVICE], ids=lambda r: r.words[:40])
def test_a_remedy_works(remedy):
    hints.try_remedy(remedy)


def test_every_hint_has_a_remedy():
    found = hints.hints_in(SOURCES)
    assert hints.untried(found, REMEDIES) == []
    assert hints.unknown(found, [remedy.words for remedy in REMEDIES]) == []
