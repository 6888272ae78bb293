"""Hints whose text depends on the model, and all notes, followed to the letter.

`test_hints_linen.py` checks that the hints are complete. Notes aren't read from the sources.
"""

import jax
import jax.numpy as jnp
import pytest

import hints
from hints import Remedy
from linnet.module_core import linen as nn

from .linen_programs import (
    KEY,
    PARAMS,
    Dense,
    Total,
    X,
    applied,
    assigned,
    flagged,
    given,
    in_setup,
    inside,
    ones,
    with_layer,
)


def gained(own):
    class Layer(nn.Module):
        def setup(self):
            if own:
                self.gain = 2

        def __call__(self):
            return self.gain

    class Model(nn.Module):
        def setup(self):
            self.layer = Layer()
            if not own:
                self.layer.gain = 2

        def __call__(self):
            return self.layer()

    return Model().init(KEY)


def appended(in_place):
    class Model(nn.Module):
        def setup(self):
            layers = []
            if in_place:
                self.layers = layers
                self.layers.append(Dense())
            else:
                layers.append(Dense())
                self.layers = layers

        def __call__(self, x):
            return self.layers[0](x)

    return Model().init(KEY, X)


def added_key(in_place):
    class Model(nn.Module):
        def setup(self):
            layers = {}
            if in_place:
                self.layers = layers
                self.layers["a"] = Dense()
            else:
                layers["a"] = Dense()
                self.layers = layers

        def __call__(self, x):
            return self.layers["a"](x)

    return Model().init(KEY, X)


class Encoder(nn.Module):
    @nn.compact
    def encode(self, x):
        return Dense()(x)


class Encoding(nn.Module):
    @nn.compact
    def __call__(self, x):
        return Dense()(x)


def local_layer(assign):
    class Model(nn.Module):
        def setup(self):
            layer = Dense()
            if assign:
                self.layer = layer

        def __call__(self, x):
            return self.layer(x)

    return Model().init(KEY, X)


def scanned_weight(w=X[0], **options):
    scan = nn.scan(lambda m, c, x: (c * m.get_variable("params", "w"), None), **options)
    return applied(lambda m, x: scan(m, x[0], x), {"params": {"w": w}}, X)


def is_named(module, name):
    assert module.name == name


def layered(variables):
    return applied(lambda m, x: Dense(name="layer")(x), variables, X)


def pair():
    return Total().apply({}, X, mutable="state")


HINTS = [
    Remedy(
        "Pass the name to the constructor, {}(..., name='...'); without one, a submodule",
        lambda: inside(lambda m, x: assigned(Dense(), "name", "h"), X),
        lambda: [
            inside(lambda m, x: Dense(name="h")(x), X),
            with_layer(lambda m, x: [m.layer(x), is_named(m.layer, "layer")]),
        ],
        filled=("Dense",),
    ),
    Remedy(
        "It is a field: pass it to the constructor, {}(..., {}=...).",
        lambda: inside(lambda m, x: assigned(Dense(), "features", 5), X),
        lambda: inside(lambda m, x: Dense(features=5)(x), X),
        filled=("Dense", "features"),
    ),
    Remedy(
        "The setup of {} is running: set attributes of {} in the setup of {}, or make them",
        lambda: gained(own=False),
        lambda: gained(own=True),
        filled=("Model", "Layer", "Layer"),
    ),
    Remedy(
        "Assign in setup; keep values that change between calls in self.variable(...).",
        lambda: inside(lambda m: assigned(m, "count", 1)),
        lambda: [
            in_setup(lambda m: assigned(m, "count", 1)),
            inside(lambda m: assigned(m.variable("state", "n", jnp.zeros, ()), "value", 1)),
        ],
    ),
    Remedy(
        "these look like the parameters themselves. Pass {'params': params}.",
        lambda: layered({"layer": PARAMS}),
        lambda: layered({"params": {"layer": PARAMS}}),
    ),
    Remedy("Pass what init returned.", lambda: given({}), lambda: given(Dense().init(KEY, X))),
    Remedy(
        "a collection that is created during apply must be named in mutable=['{}'].",
        lambda: Total().apply({}, X),
        lambda: Total().apply({}, X, mutable=["state"]),
        filled=("state",),
    ),
    Remedy(
        '"{}" has no "{}" in "{}". Did you mean {}?',
        lambda: layered({"params": {"layers": PARAMS}}),
        lambda: applied(lambda m, x: Dense(name="layers")(x), {"params": {"layers": PARAMS}}, X),
        filled=("/", "layer", "params", "'layers'"),
    ),
    Remedy(
        '"{}" has an empty "{}" in "{}".',
        lambda: layered({"params": {"layer": {}, "other": PARAMS}}),
        lambda: layered({"params": {"layer": PARAMS, "other": PARAMS}}),
        filled=("/", "layer", "params"),
    ),
    Remedy(
        "List '{}' among the lifted ones: variable_axes of vmap, variable_axes, "
        "variable_broadcast or variable_carry of scan, variables of the others.",
        lambda: nn.vmap(Dense)().apply({"params": PARAMS}, X),
        lambda: [
            nn.vmap(Dense, variable_axes={"params": None})().apply({"params": PARAMS}, X),
            nn.jit(Dense, variables="params")().apply({"params": PARAMS}, X),
            scanned_weight(variable_broadcast="params"),
            scanned_weight(variable_carry="params"),
            scanned_weight(X, variable_axes={"params": 0}),
        ],
        filled=("params",),
    ),
]

NOTES = [
    Remedy("Did you mean 'features'?", lambda: Dense(featurs=3), lambda: Dense(features=3)),
    Remedy(
        "Did you mean 'kernel'?",
        lambda: applied(lambda m: m.param("kernl", ones, (3, 3)), {"params": PARAMS}),
        lambda: applied(lambda m: m.param("kernel", ones, (3, 3)), {"params": PARAMS}),
    ),
    Remedy(
        "In static_argnums the numbers count the module (self is 0): train is 2. Or use names: "
        "static_argnames=('train',).",
        flagged,
        lambda: [flagged(static_argnums=2), flagged(static_argnames=("train",))],
    ),
    Remedy(
        "unpack it: y, updates = model.apply(...).",
        lambda: inside(lambda m, y: Dense()(y), pair()),
        lambda: [inside(lambda m, y: Dense()(y), y) for y, updates in [pair()]],
    ),
    Remedy(
        "That is the submodule Dense_0 itself: Dense(...) must still be called.",
        lambda: inside(lambda m, x: jnp.tanh(Dense()), X),
        lambda: inside(lambda m, x: jnp.tanh(Dense()(x)), X),
    ),
    Remedy(
        "Build the list first, then assign it: layers = [...]; self.layers = layers.",
        lambda: appended(in_place=True),
        lambda: appended(in_place=False),
    ),
    Remedy(
        "Build the dict first, then assign it: layers = {...}; self.layers = layers.",
        lambda: added_key(in_place=True),
        lambda: added_key(in_place=False),
    ),
    Remedy(
        "It takes (x); it got 2 positional arguments.",
        lambda: inside(lambda m, x: Dense()(x, True), X),
        lambda: inside(lambda m, x: Dense()(x), X),
    ),
    Remedy(
        "A function given as `method` gets the bound module first; then: It takes (x)",
        lambda: Dense().apply({"params": PARAMS}, method=lambda m, x: m(x)),
        lambda: Dense().apply({"params": PARAMS}, X, method=lambda m, x: m(x)),
    ),
    Remedy(
        "Define Encoder.__call__, or name the method to run: method='encode'.",
        lambda: Encoder().init(KEY, X),
        lambda: [Encoding().init(KEY, X), Encoder().init(KEY, X, method="encode")],
    ),
    Remedy(
        "setup assigns a local variable of that name: write `self.layer = ...` there.",
        lambda: local_layer(assign=False),
        lambda: local_layer(assign=True),
    ),
    Remedy(
        "Wrap a function that takes no key in a lambda (lambda key, shape: ...)",
        lambda: inside(lambda m: m.param("w", jnp.zeros, (3,))),
        lambda: inside(lambda m: m.param("w", lambda key, shape: jnp.zeros(shape), (3,))),
    ),
    Remedy(
        "call a factory such as lecun_normal first (lecun_normal()).",
        lambda: inside(
            lambda m: m.param("w", jax.nn.initializers.lecun_normal, (3, 3), int, 0, 0, 0)
        ),
        lambda: inside(lambda m: m.param("w", jax.nn.initializers.lecun_normal(), (3, 3))),
    ),
]


@pytest.mark.parametrize("remedy", [*HINTS, *NOTES], ids=lambda r: r.words[:40])
def test_a_remedy_works(remedy):
    hints.try_remedy(remedy)
