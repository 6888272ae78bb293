"""Lifted transforms within plain ones: nothing traced reaches a variable of an outer trace.

Each lifted transform runs under each plain transform of jax, on a module bound outside it. A
write raises an error, as a plain write does, and changes nothing; a read works.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from linnet.module_core import linen as nn
from linnet.module_core.errors import JaxTransformError

X = jnp.ones(2)
STATE = {"state": {"inner": {"total": jnp.zeros(())}, "untouched": {"n": jnp.ones(())}}}


class Inner(nn.Module):
    def setup(self):
        self.total = self.variable("state", "total", lambda: jnp.zeros(()))

    def __call__(self, x, write):
        if write:
            self.total.value += x.sum()
        return x + self.total.value


class Outer(nn.Module):
    def setup(self):
        self.inner = Inner()


def run(m, x, write):
    return m.inner(x, write)


def scanned(m, x, write, **axes):
    step = nn.scan(lambda m, c, _: (run(m, c, write), None), length=2, **axes)
    return step(m, x, None)[0]


def custom_vjp(m, x, write):
    def forward(m, x):
        return nn.vjp(lambda m, x: run(m, x, write), m, x)

    def backward(bwd, y_t):
        return bwd(y_t)

    return nn.custom_vjp(lambda m, x: run(m, x, write), forward, backward)(m, x)


def writing(write):
    return lambda m, x: run(m, x, write)


def repeated(m, x, write):
    def go_on(m, state):
        return state[0] < 2

    def body(m, state):
        return state[0] + 1, run(m, state[1], write)

    return nn.while_loop(go_on, body, m, (0, x), carry_variables="state")[1]


def stacked(m, x, write):
    """Separate statistics for each example: made inside, since those outside have no axis."""
    axes = {"state": None} if not write else {"state": nn.Out(0)}
    if not write:
        return nn.vmap(writing(write), variable_axes=axes)(m, x[None])[0]

    def make(m, x):
        m.put_variable("state", "made", x.sum())
        return x

    return nn.vmap(make, variable_axes=axes)(m, x[None])[0]


LIFTED = {
    "jit": lambda m, x, write: nn.jit(writing(write))(m, x),
    "checkpoint": lambda m, x, write: nn.remat(writing(write))(m, x),
    "remat_scan": lambda m, x, write: nn.remat_scan(
        writing(write), lengths=(2, 2), variable_carry="state", variable_axes={}
    )(m, x),
    "scan": lambda m, x, write: scanned(m, x, write, variable_carry="state"),
    "vmap": stacked,
    "cond": lambda m, x, write: nn.cond(x[0] > 0, writing(write), writing(False), m, x),
    "switch": lambda m, x, write: nn.switch(0, [writing(False), writing(write)], m, x),
    "while_loop": repeated,
    "vjp": lambda m, x, write: nn.vjp(writing(write), m, x, vjp_variables=False)[0],
    "jvp": lambda m, x, write: nn.jvp(writing(write), m, (x,), (x,), {})[0],
    "grad": lambda m, x, write: nn.grad(lambda m, x: run(m, x, write).sum(), m, x)[0],
    "value_and_grad": lambda m, x, write: nn.value_and_grad(
        lambda m, x: run(m, x, write).sum(), m, x
    )[1][0],
    "custom_vjp": custom_vjp,
    "map_variables": lambda m, x, write: nn.map_variables(writing(write), "state", mutable=True)(
        m, x
    ),
    "add_metadata_axis": lambda m, x, write: nn.add_metadata_axis(
        writing(write), variable_axes={"state": 0}
    )(m, x),
    "fold_rngs": lambda m, x, write: nn.fold_rngs(writing(write))(m, x),
}

PLAIN = {
    "jit": lambda f: jax.jit(f)(X),
    "vmap": lambda f: jax.vmap(f)(X[None]),
    "grad": lambda f: jax.grad(lambda x: f(x).sum())(X),
    "checkpoint": lambda f: jax.checkpoint(f)(X),
    "map": lambda f: jax.lax.map(f, X[None]),
    "scan": lambda f: jax.lax.scan(lambda c, _: (f(c), None), X, None, length=2),
    "cond": lambda f: jax.lax.cond(True, f, lambda x: x, X),
    "eval_shape": lambda f: jax.eval_shape(f, X),
}


def test_every_lifted_transform_is_in_the_table():
    aliases = {"remat": "checkpoint"}
    found = {
        name for name in dir(nn) if "linen.transforms." in getattr(vars(nn)[name], "__module__", "")
    }
    assert {aliases.get(name, name) for name in found} == set(LIFTED)


@pytest.mark.parametrize("plain", PLAIN)
@pytest.mark.parametrize("lifted", LIFTED)
def test_writing_raises_an_error_and_reading_does_not(lifted, plain):
    if (lifted, plain) == ("while_loop", "grad"):
        return  # jax cannot differentiate such a loop
    call = LIFTED[lifted]
    bound = Outer().bind(STATE, mutable=True)
    for _ in range(2):  # the second time, compiled programs are reused
        with pytest.raises(JaxTransformError, match='"(total|made)" in collection "state"'):
            PLAIN[plain](lambda x: call(bound, x, True))
        after = bound.variables
        assert jax.tree.structure(after) == jax.tree.structure(STATE)
        jax.tree.map(np.testing.assert_array_equal, after, STATE)
    PLAIN[plain](lambda x: call(bound, x, False))
    jax.tree.map(lambda new, old: new is old or pytest.fail("set"), bound.variables, STATE)


@pytest.mark.parametrize("lifted", LIFTED)
def test_without_a_plain_transform_the_write_is_kept(lifted):
    def body(m, x):
        return LIFTED[lifted](m, x, True)

    _, changed = nn.apply(body, Outer(), mutable=True)(STATE, X)
    state = changed["state"]
    assert state["untouched"]["n"] is STATE["state"]["untouched"]["n"]
    if lifted == "vmap":
        assert state["made"].tolist() == [2.0]
    elif lifted == "switch":
        assert state["inner"]["total"] == 0
    else:
        assert state["inner"]["total"] >= 2
