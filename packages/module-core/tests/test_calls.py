"""How methods are called: init, apply, bind, clone, interceptors, captured results."""

import functools
import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from linnet.module_core import linen as nn
from linnet.module_core.config import config
from linnet.module_core.errors import (
    ApplyModuleInvalidMethodError,
    ArgumentError,
    ArgumentTypeError,
    CallCompactUnboundModuleError,
    CallUnbindOnUnboundModuleError,
    InvalidRngError,
    ShapeError,
)

KEY = jax.random.key(0)
X = jnp.ones((2, 3))


class Dense(nn.Module):
    features: int = 4

    @nn.compact
    def __call__(self, x):
        kernel = self.param("kernel", jax.nn.initializers.normal(), (x.shape[-1], self.features))
        return x @ kernel


class Auto(nn.Module):
    width: int = 2

    def setup(self):
        self.encoder = Dense(self.width)
        self.decoder = Dense(3)

    def encode(self, x, double=False):
        z = self.encoder(x)
        return 2 * z if double else z

    def __call__(self, x):
        return self.decoder(self.encode(x))


MODEL = Auto()
VARIABLES = MODEL.init(KEY, X)


def twice(module, x, *, double=False):
    return module.encode(module(x), double)


@pytest.mark.parametrize("method", ["encode", Auto.encode, MODEL.encode, lambda m, x: m.encode(x)])
def test_a_method_is_given_by_name_function_or_bound_method(method):
    expected = X @ VARIABLES["params"]["encoder"]["kernel"]
    np.testing.assert_array_equal(MODEL.apply(VARIABLES, X, method=method), expected)
    made = MODEL.init(KEY, X, method=method)
    assert list(made["params"]) == ["encoder"]


def test_arguments_reach_the_method():
    plain = MODEL.apply(VARIABLES, X, method="encode")
    np.testing.assert_array_equal(MODEL.apply(VARIABLES, X, True, method="encode"), 2 * plain)
    np.testing.assert_array_equal(
        MODEL.apply(VARIABLES, X, double=True, method="encode"), 2 * plain
    )
    partial = functools.partial(twice, double=True)
    np.testing.assert_array_equal(
        MODEL.apply(VARIABLES, X, method=partial), 2 * MODEL.apply(VARIABLES, X, method=twice)
    )


@pytest.mark.parametrize(
    ("method", "error", "words"),
    [
        ("encod", AttributeError, "Did you mean 'encode'"),
        ("width", TypeError, "must be a callable"),
        (3, ApplyModuleInvalidMethodError, "cannot call 3"),
        (lambda: 1, ApplyModuleInvalidMethodError, "first argument is the module"),
    ],
)
def test_bad_methods(method, error, words):
    with pytest.raises(error, match=words):
        MODEL.apply(VARIABLES, X, method=method)


def test_plain_functions_of_modules():
    y, variables = nn.init_with_output(twice, MODEL)(KEY, X)
    assert set(nn.init(twice, MODEL)(KEY, X)["params"]) == {"encoder", "decoder"}
    np.testing.assert_array_equal(nn.apply(twice, MODEL)(variables, X), y)
    y, changed = nn.apply(twice, MODEL, mutable=True)(variables, X, double=True)
    assert set(changed) == {"params"}


def test_bind_and_unbind():
    bound = MODEL.bind(VARIABLES)
    np.testing.assert_array_equal(bound(X), MODEL.apply(VARIABLES, X))
    np.testing.assert_array_equal(bound.encode(X), MODEL.apply(VARIABLES, X, method="encode"))
    assert bound.encoder.path == ("encoder",)
    assert bound.encoder.name == "encoder"
    assert bound.encoder.parent is bound
    free, variables = bound.decoder.unbind()
    assert free == Dense(3)
    assert variables == {"params": VARIABLES["params"]["decoder"]}
    assert bound.variables == VARIABLES
    with pytest.raises(CallUnbindOnUnboundModuleError):
        MODEL.unbind()


def test_bind_with_mutable_state_and_keys():
    class Noisy(nn.Module):
        @nn.compact
        def __call__(self):
            n = self.variable("state", "n", lambda: 0)
            n.value += 1
            return jax.random.normal(self.make_rng("noise"))

    bound = Noisy().bind({}, rngs={"noise": KEY}, mutable=["state"])
    assert bound() != bound()
    assert bound.variables == {"state": {"n": 2}}


def test_clone_and_copy():
    bound = MODEL.bind(VARIABLES)
    assert bound.encoder.clone(features=9) == Dense(9, name="encoder")
    assert bound.encoder.clone().scope is None

    class Twice(nn.Module):
        @nn.compact
        def __call__(self, x):
            first = nn.Sequential([Dense(3, parent=None)])
            second = first.copy()
            third = first.copy(name="third")
            return third(second(first(x)))

    assert set(Twice().init(KEY, X)["params"]) == {"Sequential_0", "Sequential_1", "third"}


def test_init_and_apply_inside_another_module():
    class Meta(nn.Module):
        inner: nn.Module

        @nn.compact
        def __call__(self, x):
            variables = self.inner.init(KEY, x)
            fast = Dense(2)
            return self.inner.apply(variables, x), fast.apply(fast.init(KEY, x), x), fast(x)

    (outer, free, _mine), variables = Meta(MODEL).init_with_output(KEY, X)
    np.testing.assert_array_equal(outer, MODEL.apply(VARIABLES, X))
    np.testing.assert_array_equal(free, Dense(2).init_with_output(KEY, X)[0])
    assert set(variables["params"]) == {"Dense_0"}


def test_a_model_is_never_changed_by_its_calls():
    before = repr(MODEL), dict(MODEL.__dict__)
    MODEL.init(KEY, X)
    MODEL.bind(VARIABLES)(X)
    assert (repr(MODEL), dict(MODEL.__dict__)) == before


def test_captured_results():
    _, found = MODEL.apply(VARIABLES, X, capture_intermediates=True)
    seen = found["intermediates"]
    assert set(seen) == {"encoder", "decoder", "__call__"}
    np.testing.assert_array_equal(seen["__call__"][0], MODEL.apply(VARIABLES, X))
    assert len(seen["encoder"]["__call__"]) == 1

    chosen = lambda module, method: method == "encode"  # noqa: E731
    _, found = MODEL.apply(VARIABLES, X, mutable=["params"], capture_intermediates=chosen)
    assert set(found) == {"params", "intermediates"}
    assert set(found["intermediates"]) == {"encode"}
    assert set(MODEL.init(KEY, X, capture_intermediates=True)) == {"params", "intermediates"}


def test_interceptors_nest_and_see_every_method():
    log = []

    def outer(next_fun, args, kwargs, context):
        log.append(("outer", type(context.module).__name__, context.method_name))
        return next_fun(*args, **kwargs)

    def inner(next_fun, args, kwargs, context):
        log.append(("inner", type(context.module).__name__, context.method_name))
        return next_fun(*args, **kwargs) + 1

    with nn.intercept_methods(outer), nn.intercept_methods(inner):
        y = Dense().apply(Dense().init(KEY, X), X)
    assert log[-2:] == [("outer", "Dense", "__call__"), ("inner", "Dense", "__call__")]
    np.testing.assert_allclose(y, Dense().init_with_output(KEY, X)[0] + 1)
    log.clear()
    with nn.intercept_methods(outer):
        MODEL.apply(VARIABLES, X)
    assert [entry[1:] for entry in log] == [
        ("Auto", "setup"),
        ("Auto", "__call__"),
        ("Auto", "encode"),
        ("Dense", "__call__"),
        ("Dense", "__call__"),
    ]


def test_operations_carry_the_names_of_their_modules():
    def text():
        return jax.jit(MODEL.apply).lower(VARIABLES, X).as_text(debug_info=True)

    assert "Auto/Auto.encode/encoder" in text()
    with nn.override_named_call(False):
        assert "Auto/Auto.encode/encoder" not in text()
    nn.disable_named_call()
    assert config.flax_profile is False
    nn.enable_named_call()
    assert config.flax_profile is True


def test_threads_do_not_see_each_others_modules():
    results = []

    def work():
        for _ in range(20):
            results.append(set(Deep().init(KEY, X)["params"]))

    class Deep(nn.Module):
        @nn.compact
        def __call__(self, x):
            return Dense(3)(Dense(3)(x))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [{"Dense_0", "Dense_1"}] * 80


def test_init_wants_a_key():
    with pytest.raises(InvalidRngError, match="got None"):
        MODEL.init(None, X)
    with pytest.raises(InvalidRngError, match='needs PRNG for "params"'):
        MODEL.init({}, X)


def test_unbound_modules_say_what_to_do():
    with pytest.raises(CallCompactUnboundModuleError, match=r"Dense\.__call__"):
        Dense()(X)
    for use in (
        lambda m: m.make_rng(),
        lambda m: m.variables,
        lambda m: m.path,
        lambda m: m.param("a", jnp.ones, ()),
        lambda m: m.variable("a", "b", jnp.ones, ()),
        lambda m: m.sow("a", "b", 1),
        lambda m: m.perturb("a", 1),
        lambda m: m.is_initializing(),
        lambda m: m.is_mutable_collection("a"),
        lambda m: m.has_rng("a"),
        lambda m: m.has_variable("a", "b"),
        lambda m: m.get_variable("a", "b"),
        lambda m: m.put_variable("a", "b", 1),
    ):
        with pytest.raises(ValueError, match="unbound") as caught:
            use(Dense())
        assert "Dense" in str(caught.value)
    with pytest.raises(ArgumentError, match="only be made in setup"):
        Dense().bind({}).param("a", jnp.ones, ())


def test_is_initializing():
    class Asks(nn.Module):
        def __call__(self):
            return self.is_initializing()

    assert Asks().init_with_output(KEY)[0] is True
    assert Asks().apply({}) is False
    assert Asks().bind({})() is False


def test_sequential_passes_tuples_and_dicts_on():
    chain = nn.Sequential(
        [lambda x: (x, 2 * x), lambda a, b: {"p": a, "q": b}, lambda p, q: p + q, Dense(2)]
    )
    y, variables = chain.init_with_output(KEY, X)
    np.testing.assert_allclose(y, 3 * X @ variables["params"]["layers_3"]["kernel"])
    with pytest.raises(ValueError, match="'layers' must be a sequence, got 'Dense'"):
        nn.Sequential(Dense(2))
    with pytest.raises(ValueError, match="Empty Sequential"):
        nn.Sequential([]).apply({}, X)


def test_batch_apply():
    a, b = jnp.arange(24.0).reshape(2, 3, 4), jnp.arange(4.0)
    out = nn.BatchApply(lambda a, b: {"y": a @ b, "shape": a})(a, b)
    np.testing.assert_array_equal(out["y"], a @ b)
    assert out["shape"].shape == (2, 3, 4)
    with pytest.raises(ShapeError, match="no argument"):
        nn.BatchApply(jnp.sum)(b)
    with pytest.raises(ShapeError, match="different leading"):
        nn.BatchApply(jnp.add)(a, a[:1])


def test_merge_param():
    assert nn.merge_param("p", None, 3) == nn.merge_param("p", 3, None) == 3
    assert nn.merge_param("p", False, None) is False
    for a, b in ((None, None), (1, 2)):
        with pytest.raises(ValueError, match='"p" was given'):
            nn.merge_param("p", a, b)
    assert issubclass(ArgumentTypeError, TypeError)
