"""`init` outside `jit`: a trace and the initial values, or an eager run if that would differ."""

import gc
import weakref

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from comparing import identical
from linnet.module_core.errors import LinnetError
from linnet.module_core.linen import (
    Module,
    compact,
    eager_init,
    intercept_methods,
    nowrap,
    remat,
    with_partitioning,
)

INIT = jax.nn.initializers
KEY = jax.random.key(0)
X = jnp.arange(6.0).reshape(2, 3)


class Dense(Module):
    kernel_init: object = INIT.lecun_normal()
    features: int = 4

    @compact
    def __call__(self, x):
        return x @ self.param("kernel", self.kernel_init, (x.shape[-1], self.features))


def with_body(body, **members):
    """A module class whose `__call__` is `body`."""
    return type("Model", (Module,), {"__call__": compact(body), **members})


def counted(body):
    """A module, and the list of its runs: whether each was traced."""
    runs = []

    def run(self, x):
        runs.append(isinstance(x + 0, jax.core.Tracer))
        return body(self, x)

    return with_body(run), runs


def eagerly(monkeypatch, module, *args, **kwargs):
    with monkeypatch.context() as patch:
        patch.setattr(eager_init, "may_trace", lambda *_: False)
        return module.init(*args, **kwargs)


def everything(self, x):
    boxed = with_partitioning(INIT.normal(), (None, "model"))
    self.param("z_boxed", boxed, (3, 4))
    y = Dense()(x)
    self.param("own", lambda key, n: {"a": jax.random.normal(key, (n,)), "b": np.ones(n)}, 2)
    self.param("orthogonal", INIT.orthogonal(), (3, 3))
    self.param("zeros", INIT.zeros, (2,), jnp.int8)
    self.variable("batch_stats", "mean", lambda: jnp.zeros(4)).value += 0
    self.variable("batch_stats", "seen", lambda: np.int32(3))
    self.variable("batch_stats", "key", self.make_rng)
    return remat(Dense)(name="again")(y)


def plain(self, x):
    self.param("z_boxed", with_partitioning(INIT.normal(), (None, "model")), (3, 4))
    self.variable("batch_stats", "mean", lambda: jnp.zeros(4))
    self.param("full", INIT.constant(0.3), (2,))
    self.param("own", lambda key, n: {"a": jax.random.normal(key, (n,)), "b": np.ones(n)}, 2)
    return Dense(name="a")(Dense(INIT.truncated_normal())(x))


@pytest.mark.parametrize("body", [everything, plain])
@pytest.mark.parametrize("key", [KEY, jax.random.PRNGKey(3), jax.random.key(1, impl="rbg")])
def test_the_variables_are_those_of_an_eager_run(monkeypatch, body, key):
    model, runs = counted(body)
    traced, eager = model().init(key, X), eagerly(monkeypatch, model(), key, X)
    identical(traced, eager)
    assert str(jax.tree.structure(traced)) == str(jax.tree.structure(eager))
    assert [list(tree) for tree in traced.values()] == [list(tree) for tree in eager.values()]
    assert type(traced["params"]["own"]["b"]) is type(eager["params"]["own"]["b"])
    assert runs == ([True, False] if body is plain else [True, False, False])


def test_nothing_is_computed_but_initial_values():
    calls = []

    def body(self, x):
        y = Dense()(x)
        return jax.pure_callback(lambda y: calls.append(1) or np.asarray(y), y, y)

    model, runs = counted(body)
    model().init(KEY, X)
    assert not calls
    assert runs == [True]
    model().init_with_output(KEY, X)
    assert calls
    assert runs == [True, False]


def test_a_user_s_initializer_is_called_once_with_a_key_and_returns_an_array():
    seen = []

    def init(key, shape):
        seen.append((key, np.asarray(jax.random.normal(key, shape))))
        return seen[-1][1]

    model, runs = counted(lambda self, x: Dense(init)(x))
    variables = model().init(KEY, X)
    assert runs == [True]
    assert len(seen) == 1
    identical(variables["params"]["Dense_0"]["kernel"], seen[0][1])


def branches(self, x):
    return Dense()(x) if x.sum() > 0 else x


def converts(self, x):
    return np.asarray(Dense()(x)).sum()


def sows(self, x):
    self.sow("losses", "loss", Dense()(x).sum())


def depends_on_activations(self, x):
    x = Dense()(x)
    self.param("scale", lambda key: 1 / x.std(0))


def computes(self, x):
    Dense(name="a")(x)
    self.put_variable("params", "b", self.get_variable("params", "a")["kernel"] * 2)


def prints_in_a_program(self, x):
    jax.debug.print("sum {}", Dense()(x).sum())


@pytest.mark.parametrize(
    "body", [branches, converts, sows, depends_on_activations, computes, prints_in_a_program]
)
def test_what_a_trace_cannot_tell_runs_eagerly(monkeypatch, capfd, body):
    model, runs = counted(body)
    first = model().init(KEY, X)
    printed = capfd.readouterr().out
    assert runs == [True, False]
    identical(first, model().init(KEY, X))
    assert runs == [True, False, False]  # remembered
    identical(first, eagerly(monkeypatch, model(), KEY, X))
    assert printed.count("sum") == (body is prints_in_a_program)


def test_an_initial_value_may_depend_on_inputs(monkeypatch):
    def body(self, x):
        return x / self.param("scale", lambda key: x.std(0) if x.sum() > 0 else None)

    model, runs = counted(body)
    identical(model().init(KEY, X), eagerly(monkeypatch, model(), KEY, X))
    assert runs == [True, False]


def test_what_is_kept_outside_is_an_array():
    kept = []

    def body(self, x):
        kept[:] = [Dense()(x)]

    model, runs = counted(body)
    model().init(KEY, X)
    assert runs == [True, False]
    assert np.isfinite(np.asarray(kept[0])).all()


def test_a_method_that_prints_is_not_traced(capsys):
    def shows(self, x):
        print("mean", x.mean())
        return x

    prints = with_body(shows)
    model, runs = counted(lambda self, x: prints()(x + 1))
    model().init(KEY, X)
    assert capsys.readouterr().out == "mean 3.5\n"
    assert runs == [True, False]


def test_an_error_is_that_of_an_eager_run():
    def body(self, x):
        Dense()(x)
        self.param("kernel", INIT.lecun_normal(), ())

    model, runs = counted(body)
    with pytest.raises((ValueError, LinnetError)) as info:
        model().init(KEY, X)
    assert info.value.__context__ is None
    assert runs == [True, False]
    with pytest.raises((ValueError, LinnetError)):
        model().init(KEY, X)
    assert runs == [True, False, True, False]  # the model may be right for other inputs


def test_a_model_that_catches_every_error_is_not_half_traced():
    def shows(self, x):
        print(end="")
        return self.param("p", INIT.ones, (1,))

    prints = with_body(shows)

    def body(self, x):
        try:
            return prints()(x)
        except Exception:
            return x

    model, runs = counted(body)
    assert "params" in model().init(KEY, X)
    assert runs == [True, False]


@pytest.mark.parametrize("option", ["jax_disable_jit", "jax_debug_nans", "jax_debug_infs"])
def test_modes_for_debugging_run_eagerly(option):
    model, runs = counted(lambda self, x: x)
    before = getattr(jax.config, option)
    jax.config.update(option, True)
    try:
        model().init(KEY, X)
    finally:
        jax.config.update(option, before)
    assert runs == [False]


def test_interceptors_and_meshes_run_eagerly():
    model, runs = counted(lambda self, x: x)
    with intercept_methods(lambda f, args, kwargs, context: f(*args, **kwargs)):
        model().init(KEY, X)
    if hasattr(jax, "set_mesh"):
        with jax.set_mesh(jax.make_mesh((1,), ("data",))):
            model().init(KEY, X)
    assert set(runs) == {False}


def test_transforms_of_init_are_left_alone():
    model, runs = counted(lambda self, x: Dense()(x))
    init = model().init
    single = init(KEY, X)
    del runs[:]
    assert jax.jit(init)(KEY, X)["params"]["Dense_0"]["kernel"].shape == (3, 4)
    many = jax.vmap(init, (0, None))(jnp.stack([KEY, KEY]), X)
    identical(jax.tree.map(lambda a: a[1], many), single)
    jax.grad(lambda x: x * init(KEY, X)["params"]["Dense_0"]["kernel"].sum())(1.0)
    jax.grad(lambda x: init(KEY, x)["params"]["Dense_0"]["kernel"].sum())(X)
    assert len(runs) == 4


def test_a_value_of_an_outer_transform_in_the_model():
    def loss(scale):
        model = Dense(lambda key, shape: scale * jnp.ones(shape))
        return model.init(KEY, X)["params"]["kernel"].sum()

    assert jax.grad(loss)(2.0) == 12


def test_types_stay_as_in_an_eager_run(monkeypatch):
    def body(self, x):
        self.param("weak", lambda key: jnp.full((), 0.5))
        self.param("number", lambda key: 3)
        self.variable("state", "text", lambda: "words")
        assert type(self.get_variable("params", "number")) is int

    model = with_body(body)
    variables = model().init(KEY, X)
    assert not variables["params"]["weak"].weak_type
    assert variables["params"]["number"] == 3
    assert variables["state"]["text"] == "words"


@jax.custom_jvp
def doubled(x):
    return 2 * x


doubled.defjvp(lambda x, dx: (doubled(*x), 2 * dx[0]))


@pytest.mark.parametrize("function", [doubled, jax.jit(doubled)], ids=["as it is", "jitted"])
def test_a_trace_that_jax_keeps_holds_no_values(function, monkeypatch):
    """What jax caches for a function refers to the trace in which it was first called."""
    model, runs = counted(lambda self, x: function(Dense()(x)))
    collected = []
    monkeypatch.setattr(gc, "collect", lambda generation=2: collected.append(generation))
    model().init(KEY, X)
    assert runs == [True]
    assert 2 not in collected, "a full collection takes most of a second in a large program"


def test_nothing_is_kept_alive():
    def body(self, x):
        return Dense()(x)

    model = with_body(body)
    reference = weakref.ref(model)
    variables = model().init(KEY, X)
    arrays = weakref.ref(variables["params"]["Dense_0"]["kernel"])
    del model, variables
    gc.collect()
    assert reference() is None
    assert arrays() is None


def test_methods_of_other_names(monkeypatch):
    def encode(self, x, *, scale):
        return Dense()(x) * self.shape_of(x)[0] * scale

    encode = compact(encode)
    members = {"encode": encode, "shape_of": nowrap(lambda self, x: x.shape)}
    model = type("Model", (Module,), members)()
    first = model.init(KEY, X, method="encode", scale=2)
    identical(first, eagerly(monkeypatch, model, KEY, X, method="encode", scale=2))
    identical(first, model.init({"params": KEY}, np.asarray(X), scale=2, method=type(model).encode))
