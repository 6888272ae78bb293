"""Collections: reading, making, changing, rejecting and returning variables."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from linnet.module_core.config import temp_flip_flag
from linnet.module_core.errors import (
    ApplyScopeInvalidVariablesStructureError,
    ApplyScopeInvalidVariablesTypeError,
    ArgumentError,
    InvalidFilterError,
    InvalidScopeError,
    JaxTransformError,
    LazyInitError,
    LinnetError,
    ModifyScopeVariableError,
    ScopeCollectionNotFound,
    ScopeParamNotFoundError,
    ScopeParamShapeError,
    ScopeVariableNotFoundError,
)
from linnet.module_core.linen import AxisMetadata, DenyList, Module, compact
from linnet.struct import FrozenDict, freeze

KEY = jax.random.key(0)
X = jnp.ones((2, 3))
ones = jax.nn.initializers.ones


class Dense(Module):
    features: int = 4

    @compact
    def __call__(self, x):
        return x @ self.param("kernel", ones, (x.shape[-1], self.features))


class Counter(Module):
    """A parameter and a variable that counts calls."""

    @compact
    def __call__(self, x):
        n = self.variable("state", "n", lambda: jnp.zeros((), jnp.int32))
        if n.is_mutable():
            n.value = n.value + 1
        return Dense(name="dense")(x)


class Net(Module):
    @compact
    def __call__(self, x):
        return Counter(name="counter")(x)


VARIABLES = Net().init(KEY, X)


def test_init_returns_plain_dicts_in_order_of_creation():
    assert type(VARIABLES) is dict
    assert list(VARIABLES) == ["state", "params"]
    assert VARIABLES["state"] == {"counter": {"n": 1}}
    assert jax.tree.map(jnp.shape, VARIABLES["params"]) == {
        "counter": {"dense": {"kernel": (3, 4)}}
    }
    with temp_flip_flag("return_frozendict", True):
        assert type(Net().init(KEY, X)) is FrozenDict


@pytest.mark.parametrize(
    ("mutable", "returned"),
    [
        ("state", {"state"}),
        (["state"], {"state"}),
        (["state", "missing"], {"state"}),
        (["params"], {"params"}),
        ([], set()),
        (True, {"params", "state"}),
        (DenyList("params"), {"state"}),
    ],
)
def test_apply_returns_the_mutable_collections(mutable, returned):
    y, changed = Net().apply(VARIABLES, X, mutable=mutable)
    assert y.shape == (2, 4)
    assert set(changed) == returned
    if "state" in returned:
        assert changed["state"]["counter"]["n"] == 2


def test_apply_changes_nothing_of_the_caller():
    given = jax.tree.map(lambda x: x, VARIABLES)
    Net().apply(given, X, mutable=True)
    assert given["state"]["counter"]["n"] == 1
    frozen = freeze(VARIABLES)
    y, changed = Net().apply(frozen, X, mutable=["state"])
    assert type(changed) is dict
    assert type(changed["state"]) is dict
    np.testing.assert_array_equal(y, Net().apply(VARIABLES, X))


def test_a_variable_that_is_missing_is_made_where_that_is_allowed():
    class Lazy(Module):
        @compact
        def __call__(self):
            return self.variable("cache", "c", jnp.zeros, (2,)).value

    y, made = Lazy().apply({}, mutable=["cache"])
    np.testing.assert_array_equal(made["cache"]["c"], y)
    with pytest.raises(ScopeCollectionNotFound, match='"c": the collection "cache" is missing'):
        Lazy().apply({})
    with pytest.raises(ScopeVariableNotFoundError, match='no variable "c"'):
        Lazy().apply({"cache": {"d": 1}})


def test_setting_a_dict_over_a_dict_merges():
    class Nested(Module):
        @compact
        def __call__(self):
            c = self.variable("cache", "c", lambda: {"a": 1, "b": {"q": 1}})
            c.value = {"b": {"z": 3}}
            return c.value

    assert Nested().apply({}, mutable=True)[0] == {"a": 1, "b": {"q": 1, "z": 3}}


def test_get_put_and_has_variable():
    class Direct(Module):
        def __call__(self):
            before = self.has_variable("state", "n"), self.get_variable("state", "n", "default")
            self.put_variable("state", "n", 5)
            return before, self.has_variable("state", "n"), self.get_variable("state", "n")

    assert Direct().apply({}, mutable=True) == (((False, "default"), True, 5), {"state": {"n": 5}})
    assert Direct().apply({"state": {"n": 1}}, mutable=True)[0] == ((True, 1), True, 5)


def test_a_write_to_an_immutable_collection_names_it():
    class Writes(Module):
        def __call__(self):
            self.put_variable("state", "n", 5)

    class Outer(Module):
        @compact
        def __call__(self):
            Writes(name="inner")()

    with pytest.raises(ModifyScopeVariableError) as caught:
        Outer().apply({"state": {"inner": {"n": 1}}})
    message = str(caught.value)
    assert message.startswith("inner (Writes): ")
    assert 'collection "state" is immutable' in message
    assert "mutable=['state']" in message


@pytest.mark.parametrize(
    ("params", "error", "parts"),
    [
        ({}, ScopeCollectionNotFound, ['the collection "params" is missing', "'state'"]),
        ({"counter": {}}, ScopeParamNotFoundError, ["counter/dense (Dense)", 'no "dense"']),
        (
            {"counter": {"dense": {"kernle": jnp.ones((3, 4))}}},
            ScopeParamNotFoundError,
            ['"/counter/dense" has no parameter "kernel"', "Did you mean 'kernle'?"],
        ),
        ({"countre": {"dense": {}}}, ScopeParamNotFoundError, ["Did you mean 'countre'?"]),
        (
            {"counter": {"dense": {"kernel": jnp.ones((5, 4))}}},
            ScopeParamShapeError,
            ["counter/dense (Dense)", "(3, 4)", "(5, 4)", "kernel"],
        ),
        (
            {"counter": {"dense": jnp.ones(3)}},
            ApplyScopeInvalidVariablesTypeError,
            ['"dense"', "expected a dict"],
        ),
    ],
)
def test_parameters_that_do_not_fit(params, error, parts):
    with pytest.raises(error) as caught:
        Net().apply({"params": params, "state": VARIABLES["state"]}, X)
    for part in parts:
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("variables", "error"),
    [
        (3, ApplyScopeInvalidVariablesTypeError),
        ({"params": 3}, ApplyScopeInvalidVariablesTypeError),
        ({1: {}}, ApplyScopeInvalidVariablesTypeError),
        ({"params": {1: 2}}, ApplyScopeInvalidVariablesTypeError),
        ({"params": {"params": {}}}, ApplyScopeInvalidVariablesStructureError),
        ({"params": VARIABLES}, ApplyScopeInvalidVariablesStructureError),
    ],
)
def test_variables_of_the_wrong_form(variables, error):
    with pytest.raises(error, match="[Vv]ariables"):
        Net().apply(variables, X)


def test_a_custom_initializer_is_compared_by_shape_too():
    class Custom(Module):
        @compact
        def __call__(self, n):
            return self.param("w", lambda key: {"a": jnp.ones(n), "b": jnp.ones(2)})

    variables = Custom().init(KEY, 3)
    Custom().apply(variables, 3)
    with pytest.raises(ScopeParamShapeError, match=r"\(3,\).*\(4,\)"):
        Custom().apply(variables, 4)


def test_filters_are_checked_at_once():
    with pytest.raises(InvalidFilterError, match="3"):
        Net().init(KEY, X, mutable=3)
    with pytest.raises(InvalidFilterError, match="None"):
        Net().apply(VARIABLES, X, mutable=None)


def test_a_traced_value_does_not_leak():
    class Leaks(Module):
        @compact
        def __call__(self, x):
            n = self.variable("state", "n", lambda: jnp.zeros(()))

            def f(y):
                n.value = y.sum()
                return y

            return jax.jit(f)(x)

    with pytest.raises(JaxTransformError, match='"n" in collection "state".*leak'):
        Leaks().apply({}, X, mutable=True)

    class MakesInside(Module):
        @compact
        def __call__(self, x):
            return jax.jit(lambda y: Dense()(y))(x)

    with pytest.raises(JaxTransformError, match="kernel"):
        MakesInside().init(KEY, X)
    variables = {"params": {"Dense_0": {"kernel": jnp.ones((3, 4))}}}
    np.testing.assert_array_equal(MakesInside().apply(variables, X), jnp.full((2, 4), 3.0))


def test_whole_calls_inside_transforms():
    step = jax.jit(lambda v, x: Net().apply(v, x, mutable=["state"]))
    _, changed = step(VARIABLES, X)
    assert changed["state"]["counter"]["n"] == 2
    grads = jax.grad(lambda p: Net().apply({**VARIABLES, "params": p}, X).sum())(
        VARIABLES["params"]
    )
    np.testing.assert_allclose(grads["counter"]["dense"]["kernel"], 2.0)
    batched = jax.vmap(Net().init, (0, None))(jax.random.split(KEY, 3), X)
    assert batched["params"]["counter"]["dense"]["kernel"].shape == (3, 3, 4)


def test_a_scope_ends_with_its_call():
    class Keeps(Module):
        @compact
        def __call__(self):
            return self.variable("state", "n", lambda: 0)

    handle, _ = Keeps().apply({}, mutable=True)
    assert handle.value == 0
    with pytest.raises(InvalidScopeError, match="after its call has ended"):
        handle.value = 1


def test_sow_gathers_and_is_quiet_where_it_may_not_write():
    class Sows(Module):
        @compact
        def __call__(self, x):
            stored = [self.sow("seen", "x", x), self.sow("seen", "x", 2 * x)]
            self.sow("sums", "x", x, reduce_fn=jnp.add, init_fn=lambda: 0.0)
            return all(stored)

    assert Sows().apply({}, 1.0) is False
    stored, found = Sows().apply({}, 1.0, mutable=["seen", "sums"])
    assert stored is True
    assert found == {"seen": {"x": (1.0, 2.0)}, "sums": {"x": 1.0}}
    _, more = Sows().apply(found, 3.0, mutable=["seen"])
    assert more["seen"]["x"] == (1.0, 2.0, 3.0, 6.0)
    assert "intermediates" not in Sows().init(KEY, 1.0)

    class Clash(Module):
        @compact
        def __call__(self):
            self.param("x", ones, ())
            self.sow("params", "x", 1)

    class Clash2(Module):
        @compact
        def __call__(self, x):
            Dense(name="a")(x)
            self.sow("seen", "a", x)

    with pytest.raises(ArgumentError, match='already uses the name "a"'):
        Clash2().init(KEY, X)


def test_perturb_gives_the_gradient_of_an_intermediate():
    class Perturbed(Module):
        @compact
        def __call__(self, x):
            x = self.perturb("h", 2 * x)
            return (x**2).sum()

    model = Perturbed()
    variables = model.init(KEY, X)
    np.testing.assert_array_equal(variables["perturbations"]["h"], jnp.zeros((2, 3)))
    grads = jax.grad(lambda p: model.apply({"perturbations": p}, X))(variables["perturbations"])
    np.testing.assert_allclose(grads["h"], 4 * X)
    assert model.apply({}, X) == model.apply(variables, X)
    with pytest.raises(ArgumentError, match="'h'"):
        model.apply({"perturbations": {}}, X)


class Box(AxisMetadata):
    """A box that remembers a name."""

    def __init__(self, value, name):
        self.value = value
        self.name = name

    def unbox(self):
        return self.value

    def replace_boxed(self, value):
        return Box(value, self.name)

    def add_axis(self, index, params):
        return self

    def remove_axis(self, index, params):
        return self


jax.tree_util.register_pytree_node(Box, lambda b: ((b.value,), b.name), lambda n, v: Box(v[0], n))


def test_boxes_are_stored_and_taken_off_when_read():
    class Boxed(Module):
        @compact
        def __call__(self):
            w = self.param("w", lambda key: Box(jnp.ones(2), "rows"))
            raw = self.param("raw", lambda key: Box(jnp.ones(2), "rows"), unbox=False)
            v = self.variable("state", "v", lambda: Box(0, "count"))
            v.value = v.value + 1
            return w, raw, v.value

    (w, raw, v), variables = Boxed().init_with_output(KEY)
    assert w.shape == (2,)
    assert raw.name == "rows"
    assert v == 1
    assert variables["params"]["w"].name == "rows"
    assert variables["state"]["v"].name == "count"
    assert variables["state"]["v"].value == 1
    again = Boxed().apply(variables, mutable=["state"])[1]
    assert again["state"]["v"].value == 2


def test_lazy_init_computes_initial_values_only():
    calls = []

    class Heavy(Module):
        @compact
        def __call__(self, x):
            y = Dense()(x)
            jax.debug.callback(lambda: calls.append(1))
            return self.perturb("y", y)

    shape = jax.ShapeDtypeStruct((2, 3), jnp.float32)
    lazy = [Heavy().lazy_init(KEY, shape), Heavy().lazy_init({"params": KEY}, X)]
    jax.effects_barrier()
    assert calls == []
    for variables in lazy:
        jax.tree.map(np.testing.assert_array_equal, variables, Heavy().init(KEY, X))
        assert isinstance(variables["params"]["Dense_0"]["kernel"], jax.Array)


def test_lazy_init_computes_what_is_stored_if_no_input_goes_into_it():
    class Normalized(Module):
        @compact
        def __call__(self, x):
            y = Counter()(x)
            self.put_variable("params", "twice", 2 * self.param("w", ones, (3,)))
            return y

    shape = jax.ShapeDtypeStruct((2, 3), jnp.float32)
    variables = Normalized().lazy_init(KEY, shape)
    jax.tree.map(np.testing.assert_array_equal, variables, Normalized().init(KEY, X))

    class Depends(Module):
        @compact
        def __call__(self, x):
            return self.param("w", lambda key: x)

    with pytest.raises(LazyInitError, match='"w" in collection "params"'):
        Depends().lazy_init(KEY, shape)


def test_an_error_of_the_user_says_in_which_module_it_happened():
    class Broken(Module):
        @compact
        def __call__(self, x):
            return x @ jnp.ones((7, 2))

    class Outer(Module):
        @compact
        def __call__(self, x):
            return Broken(name="inner")(x)

    with pytest.raises(TypeError) as caught:
        Outer().apply({}, X)
    assert caught.value.__notes__[-1] == "In inner (Broken), method __call__."


def test_an_error_is_located_once_and_only_in_modules():
    error = LinnetError("what", hint="mend")
    assert str(error) == "what\n  mend"
    error.locate("a (A)")
    error.locate("b (B)")
    assert str(error) == "a (A): what\n  mend"


@pytest.mark.parametrize("init", ["init", "lazy_init", "jit"])
def test_initial_values_have_strong_types(init):
    """The second training step then finds the program of the first."""

    class Scale(Module):
        @compact
        def __call__(self, x):
            w = self.param("w", lambda key: {"a": jnp.full((), 0.5), "b": jnp.arange(2) * 1})
            n = self.variable("state", "n", jnp.full, (), 3)
            return x * w["a"] + n.value

    make = Scale().lazy_init if init == "lazy_init" else Scale().init
    variables = (jax.jit(make) if init == "jit" else make)(jax.random.key(0), jnp.ones(2))
    leaves = jax.tree.leaves(variables)
    assert len(leaves) == 3
    assert not any(leaf.weak_type for leaf in leaves)
    traces = []

    @jax.jit
    def step(variables):
        traces.append(1)
        return jax.tree.map(
            lambda v, one: v - one, variables, jax.tree.map(jnp.ones_like, variables)
        )

    step(step(variables))
    assert len(traces) == 1
