"""Functions of a scope: behavior that only Linnet has; tools/parity compares the rest with Flax."""

import gc
import warnings
import weakref

import jax
import jax.numpy as jnp
import pytest

from linnet.module_core import errors
from linnet.module_core import linen as nn
from linnet.module_core.functional import apply, bind, init, lift
from linnet.module_core.linen import Scope

KEY = jax.random.key(0)
ones = jax.nn.initializers.ones


def scaled(scope, x):
    return x * scope.param("s", ones, ())


class Scale(nn.Module):
    @nn.compact
    def __call__(self, x):
        return x * self.param("s", ones, ())


class Nested(nn.Module):
    @nn.compact
    def __call__(self, x):
        return Scale()(x) + Scale(name="b")(x)


def test_a_module_is_part_of_the_function_that_made_it():
    def model(scope, x):
        return scope.child(scaled, "a")(x) + Nested(parent=scope.push("m"))(x)

    y, variables = init(model)(KEY, 2.0)
    assert y == 6.0
    made = jax.tree.map(float, variables)
    assert made == {"params": {"a": {"s": 1.0}, "m": {"Scale_0": {"s": 1.0}, "b": {"s": 1.0}}}}
    assert apply(model)(jax.tree.map(lambda x: 2 * x, variables), 2.0) == 12.0


def test_a_function_of_a_scope_is_part_of_a_module():
    class Model(nn.Module):
        @nn.compact
        def __call__(self, x):
            many = lift.vmap(scaled, variable_axes={"params": 0}, split_rngs={"params": True})
            return many(self.scope.push("many"), x) + self.scope.child(scaled)(x)

    variables = Model().init(KEY, jnp.ones(3))
    assert jax.tree.map(jnp.shape, variables["params"]) == {
        "many": {"s": (3,)},
        "scaled_0": {"s": ()},
    }


def test_a_function_with_a_module_and_a_scope_is_lifted():
    class Model(nn.Module):
        @nn.compact
        def __call__(self, x):
            scale = Scale()

            def body(scope, x, scale):
                return scaled(scope, x) + scale(x)

            many = lift.vmap(
                body,
                variable_axes={"params": None},
                split_rngs={"params": False},
                in_axes=(0, None),
            )
            return many(self.scope.push("f"), x, scale)

    variables = Model().init(KEY, jnp.ones(3))
    assert set(variables["params"]) == {"f", "Scale_0"}


def test_jit_takes_arrays_first_and_compiles_once():
    traced = []

    def body(scope, x):
        traced.append(scope.path)
        return scaled(scope, x)

    jitted = lift.jit(body)
    variables = {"params": {"a": {"s": 2.0}, "b": {"s": 3.0}}}

    def model(scope, x):
        return jitted(scope.push("a"), x), jitted(scope.push("b"), x)

    assert apply(model)(variables, jnp.ones(())) == (2.0, 3.0)
    assert apply(model)(variables, jnp.ones(())) == (2.0, 3.0)
    assert len(traced) == 1
    assert (
        apply(lambda scope: lift.jit(lambda s: s.param("s", ones, ()))(scope))({"params": {"s": 4}})
        == 4
    )


def test_a_traced_value_is_not_kept_by_the_scope_outside():
    def model(scope, x):
        return jax.jit(lambda x: scope.put_variable("state", "x", x))(x)

    with pytest.raises(errors.JaxTransformError, match="would leak"):
        init(model)(KEY, 1.0)


def test_a_call_leaves_no_cycles_behind():
    kept = []

    def model(scope, x):
        kept.append(weakref.ref(scope))
        return scope.child(lambda s: Nested(parent=s)(x))()

    gc.collect()
    gc.disable()
    try:
        init(model)(KEY, 1.0)
        assert kept[0]() is None
    finally:
        gc.enable()


def test_a_lifted_scope_is_of_one_call():
    one, other = bind({"params": {"a": {"s": 1.0}}}), bind({"params": {"b": {"s": 1.0}}})
    both = lift.checkpoint(lambda scopes: 0)
    with pytest.raises(errors.JaxTransformError, match="different calls"):
        both([one.push("a"), other.push("b")])


def test_what_is_lifted_has_a_scope():
    with pytest.raises(errors.TransformTargetError, match="needs a module or scope"):
        lift.checkpoint(scaled)(3, 1.0)


@pytest.mark.parametrize("returned", [lambda s: s, lambda s: s.variable("params", "s")])
def test_a_lifted_function_returns_arrays(returned):
    with pytest.raises(errors.TransformedMethodReturnValueError, match="expected arrays"):
        lift.checkpoint(returned)(bind({"params": {"s": 1.0}}))


def test_a_hand_made_scope_does_not_change_frozen_variables():
    from linnet.struct import freeze

    frozen = freeze({"state": {"n": 1}})
    scope = Scope(frozen, mutable=True)
    scope.put_variable("state", "n", 2)
    assert frozen["state"]["n"] == 1
    assert scope.get_variable("state", "n") == 2


def test_keywords_that_pack_does_not_pass_on_are_warned_about():
    packed = lift.pack(lambda make, take, variables, keys, x: (x, ()), (True,), (), (True,))
    with pytest.warns(RuntimeWarning, match="ignored"):
        assert packed(bind({}), 3, y=4) == 3
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        packed(bind({}), 3)


def test_pack_takes_back_only_its_own_scopes():
    def fn(make, take, variables, keys):
        return 0, take(bind({}))

    with pytest.raises(errors.ArgumentError, match="did not make"):
        lift.pack(fn, (True,), (True,), (True,))(bind({}))


def test_flags_reach_a_lifted_function():
    def inner(scope):
        return scope.get_flag("train")

    assert apply(lambda s: lift.fold_rngs(inner)(s), flags={"train": 3})({}) == 3
    with pytest.raises(errors.ArgumentError, match="no flag 'train'"):
        apply(lambda s: lift.fold_rngs(inner)(s))({})


@pytest.mark.parametrize(
    ("use", "error", "words"),
    [
        (lambda s: [s.push("a"), s.push("a")], errors.ArgumentError, "Duplicate use"),
        (lambda s: s.param(3, ones, ()), errors.ArgumentTypeError, "is a string"),
        (lambda s: s.param("w", ones, ()), errors.ScopeCollectionNotFound, "no variable"),
    ],
)
def test_mistakes_say_what_is_wrong(use, error, words):
    with pytest.raises(error, match=words):
        apply(use)({})
