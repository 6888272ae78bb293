"""Every hint of linen's lifted transforms, followed to the letter."""

import jax
import jax.numpy as jnp
import pytest

import hints
from hints import Remedy
from linnet.module_core import linen as nn
from linnet.module_core.linen.sharding import partitioning

from .linen_programs import KEY, Dense, X, flagged, hints_of, inside, total_of, with_layer


class Shared(nn.Module):
    """A weight, and a statistic of the inputs."""

    @nn.compact
    def __call__(self, x, _=None):
        w = self.param("w", jax.nn.initializers.normal(), ())
        mean = self.variable("stats", "mean", jnp.zeros, ())
        if self.is_mutable_collection("stats"):
            mean.value = x.mean()
        return x * w, None


def mapped(axes, split=True, x=X):
    return nn.vmap(Shared, variable_axes=axes, split_rngs={"params": split})().init(KEY, x)


def scanned(split=False, x=X, **options):
    options = {"variable_broadcast": "params", "variable_axes": {"stats": 0}, **options}
    return nn.scan(Shared, split_rngs={"params": split}, length=2, **options)().init(KEY, x, None)


def scanned_function(fn, c=0.0, x=X, **options):
    return inside(lambda m: nn.scan(fn, **options)(m, c, x))


def from_around(m, x):
    other = Dense(name="other")
    return nn.jit(lambda m, x: nn.jit(lambda m, o, x: o(m(x)))(m, other, x))(Dense(), x)


def passed_on(m, x):
    other = Dense(name="other")
    return nn.jit(lambda m, o, x: nn.jit(lambda m, o, x: o(m(x)))(m, o, x))(Dense(), other, x)


def mapped_inputs(in_axes=0, *args, **options):
    return inside(lambda m: nn.vmap(lambda m, *xs: xs, in_axes=in_axes, **options)(m, *args))


class Unknown:
    """A function that doesn't show its parameters."""

    __signature__ = "not one"

    def __call__(self, m, x):
        return -x


def donating(x, number):
    return inside(lambda m, x: nn.jit(lambda m, x: x + 1, donate_argnums=number)(m, x), x)


def arrays_to(**options):
    run = nn.jit(lambda m, x, by: x * by, **options)
    return inside(lambda m, x: run(m, x, x), X)


def carried_total(**options):
    def step(m, carry, x):
        return m.add(x), None

    return total_of(lambda self, x: nn.scan(step, **options)(self, x[0], x)[0])


class Repeatable(nn.Module):
    @nn.compact
    def __call__(self, carry, x):
        return Dense()(carry), None


def repeated(cls, *inputs):
    split = {"variable_axes": {"params": 0}, "split_rngs": {"params": True}}
    return inside(lambda m: nn.scan(cls, length=2, **split)()(X, *inputs))


def counted_steps(made_before, **options):
    def zero():
        return jnp.zeros(())

    def step(m, carry, x):
        m.variable("state", "steps", zero).value += 1
        return carry, None

    def scan(m):
        if made_before:
            m.variable("state", "steps", zero)
        return nn.scan(step, **options)(m, 0.0, X)

    return inside(scan)


REMEDIES = [
    Remedy(
        "All mapped inputs and collections must have the same size along their axes.",
        lambda: mapped_inputs(0, X, X.T),
        lambda: mapped_inputs((0, 1), X, X.T),
    ),
    Remedy(
        "No input is mapped, so pass",
        lambda: mapped_inputs(None, X),
        lambda: mapped_inputs(None, X, axis_size=2),
    ),
    Remedy(
        "Check in_axes and variable_axes; None (or nn.broadcast in scan) maps nothing.",
        lambda: mapped_inputs(0, X, 3.0),
        lambda: mapped_inputs((0, None), X, 3.0),
    ),
    Remedy(
        "Check in_axes and variable_axes; None (or nn.broadcast in scan) maps nothing.",
        lambda: scanned_function(lambda m, c, x: (c, None), x=3.0, length=2),
        lambda: scanned_function(lambda m, c, x: (c, None), x=3.0, length=2, in_axes=nn.broadcast),
    ),
    Remedy(
        "Also pass the outer module as an argument of the enclosing transform",
        lambda: inside(from_around, X),
        lambda: inside(passed_on, X),
    ),
    Remedy(
        "Pass modules that were made in setup or in a compact method.",
        lambda: inside(lambda m, x: nn.jit(lambda m, o, x: o(x))(m, Dense(parent=None), x), X),
        lambda: inside(lambda m, x: nn.jit(lambda m, o, x: o(x))(m, Dense(), x), X),
    ),
    Remedy(
        "Return arrays: what the module computes, or the variable's value.",
        lambda: inside(lambda m, x: nn.jit(lambda m, x: Dense())(m, x), X),
        lambda: inside(lambda m, x: nn.jit(lambda m, x: Dense()(x))(m, x), X),
    ),
    Remedy(
        "Return arrays: what the module computes, or the variable's value.",
        lambda: inside(nn.jit(lambda m: m.variable("state", "n", jnp.zeros, ()))),
        lambda: inside(nn.jit(lambda m: m.variable("state", "n", lambda: jnp.zeros(3)).value)),
    ),
    Remedy(
        "Write nn.vmap(Dense, ...)(features=3), not nn.vmap(Dense(3), ...).",
        lambda: nn.vmap(Dense(3), variable_axes={"params": None}),
        lambda: nn.vmap(Dense, variable_axes={"params": None}, split_rngs={"params": False})(
            features=3
        ).init(KEY, X),
    ),
    Remedy(
        "Call the transformed function as fn(module, *args).",
        lambda: inside(lambda m, x: nn.jit(lambda x: Dense()(x))(x), X),
        lambda: inside(lambda m, x: nn.jit(lambda m, x: Dense()(x))(m, x), X),
    ),
    Remedy(
        "Pass the module that the method belongs to, or a function: lambda m, *args: "
        "m.submodule.{}(*args).",
        lambda: with_layer(lambda self, x: nn.jit(self.layer.__call__)(self, x)),
        lambda: [
            with_layer(lambda self, x: nn.jit(self.layer.__call__)(self.layer, x)),
            with_layer(lambda self, x: nn.jit(lambda m, *args: m.layer(*args))(self, x)),
        ],
    ),
    Remedy(
        "In static_argnums, name the arguments that Python's control flow depends on.",
        lambda: nn.remat(lambda m, x, double: x * 2 if double else x, concrete=True),
        lambda: inside(
            lambda m, x: nn.remat(lambda m, x, double: x * 2 if double else x, static_argnums=2)(
                m, x, True
            ),
            X,
        ),
    ),
    *(
        Remedy(
            "The numbers count the module: self is 0, {}. static_argnames takes names instead.",
            lambda number=number: flagged(static_argnums=number),
            lambda: [flagged(static_argnums=2), flagged(static_argnames="train")],
            filled=("x is 1, train is 2",),
        )
        for number in (0, 3)
    ),
    Remedy(
        "The numbers count the module: self is 0, {}. static_argnames takes names instead.",
        lambda: arrays_to(static_argnums=1),
        lambda: inside(lambda m, x: nn.jit(lambda m, x, by: x * by, static_argnums=2)(m, x, 3), X),
        filled=("x is 1, by is 2",),
    ),
    Remedy(
        "The numbers count the module: ",
        lambda: donating(X, 0),
        lambda: donating(jnp.ones((2, 3)), 1),
    ),
    Remedy(
        "The numbers begin after it: ",
        lambda: flagged(partitioning.remat, static_argnums=2),
        lambda: flagged(partitioning.remat, static_argnums=1),
    ),
    Remedy(
        "The first argument after the module has number {}.",
        lambda: inside(lambda m, x: nn.jit(Unknown(), static_argnums=0)(m, x), X),
        lambda: inside(lambda m, x: nn.jit(Unknown(), static_argnums=())(m, x), X),
        filled=("1",),
    ),
    Remedy(
        "lengths=(10, 10) applies the module 100 times.",
        lambda: nn.remat_scan(Dense),
        lambda: nn.remat_scan(Dense, lengths=(10, 10))().init(KEY, X),
    ),
    Remedy(
        "or give the output an axis.",
        lambda: scanned_function(lambda m, c, x: (c, x), out_axes=nn.broadcast),
        lambda: scanned_function(lambda m, c, x: (c, x), out_axes=0),
    ),
    Remedy(
        "carry it (variable_carry) if it exists before the loop",
        lambda: carried_total(variable_broadcast="state"),
        lambda: carried_total(variable_carry="state"),
    ),
    Remedy(
        "write {'params': False} for parameters that all steps share.",
        lambda: scanned(split=True),
        lambda: [
            scanned(split=False),
            scanned(split=True, variable_broadcast=False, variable_axes={True: 0}),
        ],
    ),
    Remedy(
        "To repeat a layer, scan a module whose __call__(carry, x) returns (layer(carry), None).",
        lambda: repeated(Dense),
        lambda: repeated(Repeatable, None),
    ),
    Remedy(
        "scan a function of it: nn.scan(step, variable_carry=...)(self, carry, xs). If each step",
        lambda: counted_steps(made_before=False, variable_carry="state"),
        lambda: [
            counted_steps(made_before=True, variable_carry="state"),
            counted_steps(made_before=False, variable_axes={"state": 0}),
        ],
    ),
    Remedy(
        "Return (carry, None) if the steps have no output.",
        lambda: scanned_function(lambda m, c, x: c + x.sum()),
        lambda: scanned_function(lambda m, c, x: (c + x.sum(), None)),
    ),
    Remedy(
        "Give the collection an axis: variable_axes=",
        lambda: mapped({"params": 0, "stats": None}),
        lambda: mapped({"params": 0, "stats": 0}),
    ),
    Remedy(
        "Give the collection an axis: variable_axes=",
        lambda: mapped({"params": None, "stats": 0}),
        lambda: mapped({"params": None, "stats": 0}, split=False),
    ),
]


@pytest.mark.parametrize("remedy", REMEDIES, ids=lambda r: r.words[:40])
def test_a_remedy_works(remedy):
    hints.try_remedy(remedy)


def test_every_hint_has_a_remedy():
    found = hints_of("transforms")
    assert hints.untried(found, REMEDIES) == []
    assert hints.unknown(found, [remedy.words for remedy in REMEDIES]) == []
