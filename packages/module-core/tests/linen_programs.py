"""Small linen modules that reduce a program about the inside of a module to one expression."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

import hints
from linnet.module_core import config
from linnet.module_core import linen as nn

KEY = jax.random.key(0)
X = jnp.ones((2, 3))
ones = jax.nn.initializers.ones


class Dense(nn.Module):
    features: int = 3

    @nn.compact
    def __call__(self, x):
        return x @ self.param("kernel", ones, (x.shape[-1], self.features))


class Total(nn.Module):
    """Has a variable, and methods that are not compact."""

    def setup(self):
        self.total = self.variable("state", "total", jnp.zeros, ())

    def add(self, x):
        self.total.value += x.sum()
        return x

    def __call__(self, x):
        return self.add(x)


class Inline(nn.Module):
    """Calls a function as its method, so that a program inside a module is one expression."""

    body: Any

    @nn.compact
    def __call__(self, *args):
        return self.body(self, *args)


class InSetup(nn.Module):
    body: Any

    def setup(self):
        self.body(self)

    def __call__(self):
        return None


def inside(body, *args):
    return Inline(body).init_with_output(KEY, *args)


def in_setup(body):
    return InSetup(body).init(KEY)


def applied(body, variables, *args, **options):
    return Inline(body).apply(variables, *args, **options)


def assigned(module, name, value):
    setattr(module, name, value)
    return value


def with_layer(make):
    class Model(nn.Module):
        def setup(self):
            self.layer = Dense()

        def __call__(self, x):
            return make(self, x)

    return Model().init(KEY, X)


def given(variables):
    return Dense().apply(variables, X)


PARAMS = {"kernel": jnp.ones((3, 3))}


def total_of(how):
    """Runs a program about a method that changes a variable, as a module's `__call__`."""

    class Model(Total):
        def __call__(self, x):
            return how(self, x)

    return Model().init({}, X)


def flagged(lift=nn.jit, **options):
    """Runs a lifted method with a flag that Python evaluates."""
    run = lift(lambda m, x, train: x if train else -x, **options)
    return inside(lambda m, x: run(m, x, True), X)


SOURCES = Path(config.__file__).parent
LINEN = SOURCES / "linen"
TABLES = SOURCES / "tables"

# The sources that each table of hints covers; "modules" covers the rest.
PARTS = {
    "transforms": [
        LINEN / f for f in ("transforms", "lifting.py", "lift_targets.py", "clones.py", "axes.py")
    ],
    "cursor": [SOURCES / "cursor.py"],
    "functional": [SOURCES / "functional"],
    "repeat": [
        *(LINEN / "repeat.py", SOURCES / "nnx" / "repeat.py"),
        *(SOURCES / "repeating.py", SOURCES / "recomputing.py", SOURCES / "stacking.py"),
    ],
    "sharding": [SOURCES / f for f in ("sharding", "arrays.py", "placing.py")],
    "training": [SOURCES / f for f in ("training", "gradients.py")],
    "axes": [SOURCES / "axis_rules.py", SOURCES / "boxes.py", LINEN / "sharding"],
}


def hints_of(part):
    if part in PARTS:
        assert all(path.exists() for path in PARTS[part])
        return [hint for path in PARTS[part] for hint in hints.hints_in(path)]
    files = [*SOURCES.glob("*.py"), *LINEN.rglob("*.py"), *TABLES.glob("*.py")]
    elsewhere = [path for paths in PARTS.values() for path in paths]
    rest = [f for f in sorted(files) if not any(f.is_relative_to(path) for path in elsewhere)]
    return [hint for file in rest for hint in hints.hints_in(file)]
