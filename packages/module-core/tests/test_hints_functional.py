"""Every hint of functions of a scope, followed to the letter."""

import jax
import jax.numpy as jnp
import pytest

import hints
from hints import Remedy
from linnet.module_core.functional import bind, init, lift

from .linen_programs import KEY, hints_of


def packed(take_back):
    def fn(make, take, variables, keys):
        inner = make(variables, keys)
        inner.put_variable("state", "n", jnp.ones(()))
        return inner.get_variable("state", "n"), take(take_back(inner))

    return lift.pack(fn, (True,), (True,), (True,))(bind({}, mutable=True))


def repeated(lengths):
    def layer(scope, x):
        return x + scope.param("one", jax.nn.initializers.ones, ())

    y, variables = init(lift.remat_scan(layer, lengths))(KEY, jnp.zeros(()))
    assert variables["params"]["one"].size == y == 100


REMEDIES = [
    Remedy(
        "Pass repack_fn what scope_fn returned.",
        lambda: packed(lambda inner: bind({})),
        lambda: packed(lambda inner: inner),
    ),
    Remedy(
        "lengths=(10, 10) applies the function 100 times.",
        lambda: repeated(()),
        lambda: repeated((10, 10)),
    ),
]
# The hint of a different error, which `test_hints_linen` covers.
PASSED_ON = "not readable: error.hint"


@pytest.mark.parametrize("remedy", REMEDIES, ids=lambda r: r.words[:40])
def test_a_remedy_works(remedy):
    hints.try_remedy(remedy)


def test_every_hint_has_a_remedy():
    found = hints_of("functional")
    assert hints.untried(found, REMEDIES, [PASSED_ON]) == []
    assert hints.unknown(found, [PASSED_ON, *(remedy.words for remedy in REMEDIES)]) == []
