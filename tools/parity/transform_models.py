"""Models with lifted transforms, written once and built twice, as in `module_models`."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from parity.module_models import Case

BOTH = ("params", "dropout")


def build(nn):
    """The cases, with modules and transforms from the namespace `nn`."""
    normal = nn.initializers.normal()

    class Cell(nn.Module):
        """A step with parameters and noise of its own."""

        features: int = 3

        @nn.compact
        def __call__(self, x, y=None):
            p = self.param("p", normal, (self.features,))
            x = nn.Dense(self.features)(x) * p
            if self.has_rng("dropout"):
                x = nn.Dropout(0.5, deterministic=False)(x)
            return x, x.sum()

    class Layer(nn.Module):
        features: int = 3

        @nn.compact
        def __call__(self, x):
            return Cell(self.features)(x)[0]

    class Counting(nn.Module):
        @nn.compact
        def __call__(self, carry, x):
            n = self.variable("state", "n", lambda: jnp.zeros(()))
            if not self.is_initializing():
                n.value = n.value + x.sum()
            return nn.Dense(3)(carry) + n.value, x

    def wrap(body):
        class Net(nn.Module):
            @nn.compact
            def __call__(self, x):
                before = nn.Dense(3)(x)
                y = body(self, before)
                draws = jax.random.normal(self.make_rng("dropout"), (2,))
                return y, nn.Dense(2)(before), draws

        return Net

    def case(body, streams=BOTH, mutable=False):
        return Case(wrap(body), init_streams=streams, apply_streams=streams, mutable=mutable)

    split = {"params": True, "dropout": True}
    cases = {
        "vmap_split": case(
            lambda self, x: nn.vmap(Cell, variable_axes={"params": 0}, split_rngs=split)()(x)
        ),
        "vmap_shared": case(
            lambda self, x: nn.vmap(
                Cell, variable_axes={"params": None}, split_rngs={"params": False, "dropout": True}
            )()(x)
        ),
        "vmap_axes": case(
            lambda self, x: nn.vmap(
                Cell,
                variable_axes={"params": 1},
                split_rngs={True: True},
                in_axes=1,
                out_axes=(1, 0),
                axis_size=3,
            )()(x)
        ),
        "vmap_function": case(
            lambda self, x: nn.vmap(
                lambda m, x: 2 * m(x), variable_axes={"params": 0}, split_rngs=split
            )(Layer(), x)
        ),
        "scan_split": case(
            lambda self, x: nn.scan(
                Cell, variable_axes={"params": 0}, split_rngs=split, length=3
            )()(x, None)
        ),
        "scan_axis": case(
            lambda self, x: nn.scan(
                Cell, variable_axes={"params": 1}, split_rngs=split, in_axes=1, out_axes=0
            )()(x, jnp.ones((2, 4)))
        ),
        "scan_broadcast": case(
            lambda self, x: nn.scan(
                Cell,
                variable_broadcast="params",
                split_rngs={"params": False, "dropout": True},
                length=3,
                reverse=True,
                unroll=2,
            )()(x, None)
        ),
        "scan_unchecked": case(
            lambda self, x: nn.scan(
                Cell,
                variable_axes={"params": 0},
                split_rngs=split,
                length=3,
                check_constancy_invariants=False,
            )()(x, None)
        ),
        "scan_state": case(
            lambda self, x: nn.scan(
                Counting,
                variable_axes={"params": 0, "state": 0},
                split_rngs={"params": True},
                in_axes=nn.broadcast,
                length=2,
            )()(x, x),
            mutable=["state"],
        ),
        "scan_weak_carry": case(
            lambda self, x: nn.scan(
                lambda m, c, x: (c * 1.5 + m(x)[0].sum(), None),
                variable_axes={"params": 0},
                split_rngs=split,
                in_axes=nn.broadcast,
                length=2,
            )(Cell(), 1, x)[0]
        ),
        "scan_function": case(
            lambda self, x: nn.scan(
                lambda m, c, x: m(c),
                variable_axes={"params": 0},
                split_rngs=split,
                length=2,
            )(Cell(), x, None)
        ),
        "remat": case(lambda self, x: nn.remat(Layer)()(nn.remat(Layer)()(x))),
        "remat_twice": case(lambda self, x: (lambda m: m(m(x)))(nn.remat(Layer)())),
        "remat_function": case(lambda self, x: nn.remat(lambda m, x: m(m(x)))(Layer(), x)),
        "remat_scan": case(lambda self, x: nn.remat_scan(nn.Dense, (2, 2))(3)(x)),
        "scan_remat": case(
            lambda self, x: nn.scan(
                nn.remat(Cell), variable_axes={"params": 0}, split_rngs=split, length=2
            )()(x, None)
        ),
        "jit": case(lambda self, x: nn.jit(Layer)()(nn.jit(Layer)()(x))),
        "jit_twice": case(lambda self, x: (lambda m: m(m(x)))(nn.jit(Layer)())),
        "fold_rngs": case(lambda self, x: nn.fold_rngs(Layer)()(x)),
        "cond": case(
            lambda self, x: nn.cond(
                x.sum() > 0,
                lambda m, x: x + jax.random.normal(m.make_rng("dropout")),
                lambda m, x: x - jax.random.normal(m.make_rng("dropout")),
                self,
                x,
            )
        ),
        "switch": case(
            lambda self, x: nn.switch(
                2,
                [
                    lambda m, x, i=i: i * x + jax.random.normal(m.make_rng("dropout"))
                    for i in (1, 2, 3)
                ],
                self,
                x,
            )
        ),
        "while_loop": case(
            lambda self, x: nn.while_loop(
                lambda m, c: (c[0] < 3) & (jax.random.uniform(m.make_rng("dropout")) >= 0),
                lambda m, c: (c[0] + 1, c[1] + jax.random.normal(m.make_rng("dropout"), (2, 3))),
                self,
                (0, x),
                split_rngs={"dropout": True},
            )
        ),
        "value_and_grad": case(
            lambda self, x: nn.value_and_grad(lambda m, x: m(x).sum(), Layer(), x)
        ),
        "map_variables": case(
            lambda self, x: nn.map_variables(
                Layer, "params", lambda v: jax.tree.map(lambda a: 2 * a, v), init=True
            )()(x)
        ),
    }

    def vjp(self, x):
        y, bwd = nn.vjp(lambda m, x: m(x), Layer(), x)
        return bwd(jnp.ones_like(y))

    def custom(self, x):
        def f(m, x):
            return m(x)

        def backward(bwd, y_t):
            params_t, *inputs_t = bwd(y_t)
            return jax.tree.map(jnp.sign, params_t), *inputs_t

        return nn.custom_vjp(f, lambda m, x: nn.vjp(f, m, x), backward)(Layer(), x)

    cases["vjp"] = case(vjp)
    cases["custom_vjp"] = case(custom)

    class Methods(nn.Module):
        def setup(self):
            self.inner = Layer()
            self.scale = self.param("scale", normal, (3,))

        @nn.jit
        def encode(self, x):
            return self.inner(x) * self.scale

        @nn.remat
        def decode(self, x):
            return self.inner(x) + jax.random.normal(self.make_rng("dropout"), (3,))

        def __call__(self, x):
            return (
                self.decode(self.encode(x)),
                self.encode(x),
                jax.random.normal(self.make_rng("dropout")),
            )

    cases["methods"] = Case(Methods, init_streams=BOTH, apply_streams=BOTH)

    class Shared(nn.Module):
        inner: Any

        @nn.compact
        def __call__(self, x):
            return self.inner(x) + nn.Dense(3)(x)

    class SharedAcross(nn.Module):
        @nn.compact
        def __call__(self, x):
            shared = Layer(name="shared")
            x = shared(x)
            x = nn.remat(Shared)(shared)(x)
            return nn.jit(Shared)(shared)(x)

    cases["shared"] = Case(SharedAcross, init_streams=BOTH, apply_streams=BOTH)
    return cases
