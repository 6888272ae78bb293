"""Optimizer, ModelAndOptimizer, EMA and TrainState."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from comparing import placed
from linnet.module_core import nnx
from linnet.module_core.errors import ArgumentError, ArgumentTypeError
from linnet.module_core.nnx.structure.bundle import Bundle
from linnet.module_core.nnx.structure.effect import Inside


class Model(nnx.Module):
    def __init__(self, seed=0):
        rng = np.random.default_rng(seed)
        self.layers = [nnx.Param(placed(rng.normal(size=(3, 3)), jnp.float32)) for _ in "ab"]
        self.low = nnx.LoRAParam(jnp.ones(3), unit="volt")
        self.mean = nnx.BatchStat(jnp.zeros(3))
        self.calls = nnx.Variable(jnp.int32(0))

    def __call__(self, x):
        for kernel in self.layers:
            x = jnp.tanh(x @ kernel)
        return x + self.low


X = np.linspace(-1, 1, 6, dtype=np.float32).reshape(2, 3)


def gradient(model, wrt=nnx.Param, x=X):
    """The gradient of a model's loss as a state of variables."""
    graphdef, params, rest = nnx.split(model, wrt, ...)

    def loss(values):
        flat = dict(nnx.to_flat_state(values))
        state = nnx.map_state(lambda p, v: v.copy(flat[p]), params)
        return jnp.mean(nnx.merge(graphdef, state, rest, copy=True)(x) ** 2)

    values = nnx.to_pure_dict(params)
    found = dict(nnx.to_flat_state(jax.grad(loss)(values)))
    return nnx.map_state(lambda p, v: v.copy(found[p]), params)


def values(node, *filters):
    return {
        "/".join(map(str, p)): np.asarray(v.raw_value)
        for p, v in nnx.to_flat_state(nnx.state(node, *filters))
    }


def assert_close(found, expected, **kwargs):
    assert found.keys() == expected.keys()
    for name in found:
        np.testing.assert_allclose(found[name], expected[name], err_msg=name, **kwargs)


def test_adam_equals_a_hand_written_one():
    model = Model()
    optimizer = nnx.Optimizer(model, optax.adam(0.1, b1=0.9, b2=0.99), wrt=nnx.Param)
    expected = {k: v.astype(np.float64) for k, v in values(model, nnx.Param).items()}
    m = dict.fromkeys(expected, 0.0)
    v = dict.fromkeys(expected, 0.0)
    for t in range(1, 4):
        grads = gradient(model)
        for k, g in values(grads).items():
            g = g.astype(np.float64)
            m[k] = 0.9 * m[k] + 0.1 * g
            v[k] = 0.99 * v[k] + 0.01 * g * g
            step = m[k] / (1 - 0.9**t) / (np.sqrt(v[k] / (1 - 0.99**t)) + 1e-8)
            expected[k] = expected[k] - 0.1 * step
        optimizer.update(model, grads)
    assert_close(values(model, nnx.Param), expected, rtol=1e-4, atol=1e-5)
    assert int(optimizer.step.value) == 3
    assert not np.any(model.mean.value)


def test_the_state_is_variables_that_belong_to_the_model_s():
    model = Model()
    optimizer = nnx.Optimizer(model, optax.adam(0.1), wrt=nnx.Param)
    flat = {"/".join(map(str, p)): v for p, v in nnx.to_flat_state(nnx.state(optimizer))}
    assert list(flat) == [
        "opt_state/0/count",
        *(f"opt_state/0/{m}/{p}" for m in ("mu", "nu") for p in ("layers/0", "layers/1", "low")),
        "step",
    ]
    assert type(flat["opt_state/0/count"]) is nnx.OptArray
    assert type(flat["opt_state/0/mu/low"]) is nnx.OptVariable
    assert flat["opt_state/0/mu/low"].unit == "volt"
    assert type(optimizer.step) is nnx.OptState
    assert optimizer.step.dtype == jnp.uint32
    before = optimizer.opt_state[0].mu["low"]
    updates = optimizer.update(model, gradient(model))
    assert optimizer.opt_state[0].mu["low"] is before
    assert updates["low"].shape == (3,)


def test_filters_leave_the_rest_alone():
    model = Model()
    optimizer = nnx.Optimizer(model, optax.sgd(0.1), wrt=nnx.LoRAParam)
    before = values(model)
    optimizer.update(model, gradient(model))  # a gradient for more than is optimized
    after = values(model)
    assert [k for k in before if np.any(before[k] != after[k])] == ["low"]
    both = nnx.Optimizer(model, optax.sgd(0.1), wrt=[nnx.LoRAParam, nnx.PathContains("layers")])
    both.update(model, gradient(model))
    assert np.any(values(model)["layers/1"] != after["layers/1"])


def test_bare_gradients_and_bare_variables():
    model, twin = Model(), Model()
    grads = gradient(model)
    nnx.Optimizer(model, optax.sgd(0.1), wrt=nnx.Param).update(model, grads)
    nnx.Optimizer(twin, optax.sgd(0.1), wrt=nnx.Param).update(twin, nnx.to_pure_dict(grads))
    assert_close(values(twin), values(model), rtol=0)
    weight = nnx.Param(jnp.ones(2))
    optimizer = nnx.Optimizer(weight, optax.sgd(0.5), wrt=nnx.Param)
    optimizer.update(weight, weight.copy(jnp.ones(2)))
    np.testing.assert_array_equal(weight.value, [0.5, 0.5])


@pytest.mark.parametrize(
    "tx",
    [
        lambda: optax.MultiSteps(optax.adam(0.1), 2),
        lambda: optax.masked(optax.adam(0.1), lambda p: jax.tree.map(lambda x: x.ndim > 1, p)),
        lambda: optax.inject_hyperparams(optax.adam)(learning_rate=0.1),
        lambda: optax.chain(optax.clip_by_global_norm(0.1), optax.adamw(0.1)),
    ],
    ids=["multisteps", "masked", "hyperparameters", "chain"],
)
def test_inside_jit_as_outside(tx):
    @nnx.jit
    def step(model, optimizer):
        model.calls.value = model.calls.value + 1
        return optimizer.update(model, gradient(model))

    found = []
    for run in (step, step.__wrapped__):
        model = Model()
        optimizer = nnx.Optimizer(model, tx(), wrt=nnx.Param)
        kernel, state = model.layers[0], nnx.state(optimizer)
        for _ in range(3):
            run(model, optimizer)
        assert model.layers[0] is kernel
        for path, variable in nnx.to_flat_state(nnx.state(optimizer)):
            assert dict(nnx.to_flat_state(state))[path] is variable
        found.append((values(model), int(optimizer.step.value)))
    assert_close(found[0][0], found[1][0], rtol=1e-4, atol=1e-6)
    assert found[0][1] == found[1][1] == 3


def test_only_what_changed_comes_back():
    def step(model, optimizer):
        optimizer.update(model, gradient(model, nnx.LoRAParam))

    model = Model()
    optimizer = nnx.Optimizer(model, optax.sgd(0.1), wrt=nnx.LoRAParam)
    kernel = model.layers[0].raw_value
    nnx.jit(step)(model, optimizer)
    assert model.layers[0].raw_value is kernel
    bundle = Bundle([model, optimizer])

    def run(values):
        inside = Inside(bundle.graphdef, values)
        step(*inside.roots)
        return inside.leave(None)

    assert len(jax.eval_shape(run, bundle.values()).values) == 2  # the adapter and the step


def test_a_learning_rate_in_the_state_can_be_set():
    model = Model()
    tx = optax.inject_hyperparams(optax.sgd)(learning_rate=1.0)
    optimizer = nnx.Optimizer(model, tx, wrt=nnx.Param)
    optimizer.opt_state.hyperparams["learning_rate"][...] = jnp.float32(0)
    before = values(model)
    optimizer.update(model, gradient(model))
    assert_close(values(model), before, rtol=0)


def test_model_and_optimizer_keep_the_model():
    model, twin = Model(), Model()
    optimizer = nnx.ModelAndOptimizer(model, optax.sgd(0.1))
    assert optimizer.model is model

    @nnx.jit
    def step(optimizer):
        optimizer.update(gradient(optimizer.model))

    step(optimizer)
    assert optimizer.model is model
    nnx.Optimizer(twin, optax.sgd(0.1), wrt=nnx.Param).update(twin, gradient(twin))
    assert_close(values(model), values(twin), rtol=1e-6)


def test_mistakes_with_optimizers_are_named():
    model = Model()
    with pytest.raises(ArgumentTypeError, match="'wrt' is missing.\n.*wrt=nnx.Param"):
        nnx.Optimizer(model, optax.sgd(0.1))
    with pytest.raises(TypeError, match="tx must be a gradient transformation"):
        nnx.Optimizer(model, 0.1, wrt=nnx.Param)
    with pytest.raises(ArgumentError, match="wrt='params' selects no variable of Model, which has"):
        nnx.Optimizer(model, optax.sgd(0.1), wrt="params")
    with pytest.raises(
        ArgumentError, match=r"wrt=Variable selects .* no gradient, .* floating: calls\."
    ):
        nnx.Optimizer(model, optax.sgd(0.1), wrt=nnx.Variable)
    optimizer = nnx.Optimizer(model, optax.sgd(0.1), wrt=nnx.Param)
    with pytest.raises(ArgumentTypeError, match="'grads' is missing"):
        optimizer.update(gradient(model))
    with pytest.raises(AttributeError, match="doesn't keep the model"):
        optimizer.model
    with pytest.raises(
        ArgumentError, match=("grads must be a state, as nnx.grad returns it, got None")
    ):
        optimizer.update(model, None)
    with pytest.raises(ArgumentError, match=r"missing: layers/0, layers/1; unknown: other\."):
        optimizer.update(model, {"low": jnp.ones(3), "other": jnp.ones(3)})
    bad = nnx.to_pure_dict(gradient(model)) | {"low": jnp.float32(1)}
    with pytest.raises(ArgumentError, match=r"low has \(\) for \(3,\)"):
        optimizer.update(model, bad)
    model.more = nnx.Param(jnp.ones(2))
    adam = nnx.Optimizer(Model(), optax.adam(0.1), wrt=nnx.Param)
    with pytest.raises(
        ArgumentError, match="variables other than the 4 variables of the model that Param selects"
    ):
        adam.update(model, nnx.state(model, nnx.Param))
    model = Model()
    model.low = nnx.LoRAParam(jnp.ones(5))
    adam = nnx.Optimizer(Model(), optax.adam(0.1), wrt=nnx.Param)
    with pytest.raises(
        ArgumentError,
        match=r"of other shapes: opt_state\[0\]\.mu\['low'\] has \(3,\), expected \(5,\); .*\.nu",
    ):
        adam.update(model, nnx.state(model, nnx.Param))

    def fail(*_):
        raise ValueError("my own")

    own = nnx.Optimizer(
        model, optax.GradientTransformation(optax.adam(0.1).init, fail), wrt=nnx.Param
    )
    with pytest.raises(ValueError, match="^my own$"):
        own.update(model, nnx.state(model, nnx.Param))
    assert int(optimizer.step.value) == int(adam.step.value) == 0


def test_gradients_of_examples_that_the_transformation_averages():
    def average(updates, state, params):
        return jax.tree.map(lambda g: -g.mean(0), updates), state

    def step(tx):
        model = nnx.Dict(w=nnx.Param(jnp.ones((2, 3))))
        nnx.Optimizer(model, tx, wrt=nnx.Param).update(model, {"w": jnp.ones((5, 2, 3))})
        return model.w

    assert step(optax.GradientTransformation(lambda params: (), average))[0, 0] == 0
    with pytest.raises(ArgumentError, match=r"tx makes of them, .*: w has \(5, 2, 3\) for"):
        step(optax.sgd(0.5))


def test_running_averages_that_a_filter_selects_with_parameters_are_named():
    model = Model()
    with pytest.warns(UserWarning, match=r"running averages of batch statistics.*: mean\.\n"):
        nnx.Optimizer(model, optax.sgd(0.1), wrt=nnx.Not(nnx.PathContains("calls")))
    alone = nnx.Optimizer(model, optax.sgd(0.1), wrt=nnx.BatchStat)  # asked for: no warning
    alone.update(model, {"mean": jnp.ones(3)})
    assert float(model.mean[0]) == pytest.approx(-0.1)


def test_averages_of_parameters():
    model = Model()
    ema = nnx.EMA(model, 0.9, only=nnx.Param)
    expected = values(model, nnx.Param)
    for seed in (1, 2):
        new = Model(seed)
        ema.update(new if seed == 1 else nnx.pure(nnx.state(new)))
        expected = {k: 0.9 * v + 0.1 * values(new)[k] for k, v in expected.items()}
    assert_close(values(ema.params), expected, rtol=1e-6)
    applied = ema.apply_to(model)
    assert_close(values(applied, nnx.Param), expected, rtol=1e-6)
    assert applied.mean is model.mean
    assert applied.low is not model.low
    assert applied(X).shape == (2, 3)
    assert not np.any(model.low.value != 1)


def test_averages_inside_jit_keep_types():
    class Mixed(nnx.Module):
        def __init__(self, x):
            self.half = nnx.Param(jnp.full(2, x, jnp.bfloat16))
            self.count = nnx.Variable(jnp.int32(x))
            self.rngs = nnx.Rngs(x)

    ema = nnx.EMA(Mixed(1), 0.5)
    nnx.jit(lambda ema, model: ema.update(model))(ema, Mixed(3))
    assert ema.params.half.dtype == jnp.bfloat16
    assert ema.params.half.value.tolist() == [2.0, 2.0]
    assert int(ema.params["count"].value) == 3  # integers and keys have no average
    assert ema.params["rngs"]["default"]["key"].value == jax.random.key(3)


def test_mistakes_with_averages_are_named():
    ema = nnx.EMA(Model(), 0.9)
    model = Model()
    del model.low
    with pytest.raises(ArgumentError, match="1 of 5 averaged variables has no value here: low"):
        ema.update(model)
    with pytest.raises(ArgumentError, match=r"between 0 and 1, got 1\.5"):
        nnx.EMA(Model(), 1.5)


def test_train_states_are_trees_for_plain_jit():
    class Train(nnx.TrainState):
        rest: nnx.State

    model = Model()
    graphdef, params, rest = nnx.split(model, nnx.Param, ...)
    train = Train.create(graphdef, params=params, tx=optax.adam(0.1), rest=rest)

    @jax.jit
    def step(train):
        def loss(params):
            y, _ = train.apply(params, "rest")(X)
            return jnp.mean(y**2)

        return train.apply_gradients(jax.grad(loss)(train.params))

    twin = Model()
    optimizer = nnx.Optimizer(twin, optax.adam(0.1), wrt=nnx.Param)
    for _ in range(2):
        train = step(train)
        optimizer.update(twin, gradient(twin))
    assert (int(train.step), train.step.dtype) == (2, jnp.int32)
    assert_close(values(train.params), values(twin, nnx.Param), rtol=1e-5)
    assert isinstance(train, Train)
    with pytest.raises(ArgumentTypeError, match=r"Train\.step to be a State, got Array"):
        train.apply("step")


def test_calls_of_split_modules_leave_their_state_alone():
    class Counter(nnx.Module):
        def __init__(self):
            self.parts = {"a": [nnx.Variable(jnp.int32(0))]}

        def add(self, n):
            self.parts["a"][0].value = self.parts["a"][0].value + n
            return "done"

    outer = nnx.Dict(counter=Counter())
    graphdef, state = nnx.split(outer)
    output, (_, after) = nnx.call((graphdef, state)).counter.add(2)
    assert output == "done"
    assert int(after["counter"]["parts"]["a"][0].value) == 2
    assert int(outer.counter.parts["a"][0].value) == 0
    output, _ = nnx.call((graphdef, state))["counter"].parts["a"][0].get_value()
    assert int(output) == 0
    # A structure among the arguments of jax's own transforms has no leaves.
    assert jax.tree.leaves(graphdef) == []
    assert (
        jax.jit(lambda g, s: nnx.call((g, s))["counter"].add(1)[1][0])(graphdef, state) == graphdef
    )


class Fit(nnx.Module):
    """Weights as variables or as plain arrays, and a count that isn't optimized."""

    def __init__(self, wrap):
        self.slope = wrap(jnp.array([[1.0], [2.0], [3.0]]))
        self.offset = nnx.Param(jnp.zeros(1))
        self.used = nnx.Variable(jnp.array(0))

    def __call__(self, x):
        self.used[...] += 1
        return x @ jnp.asarray(self.slope) + self.offset


INPUTS = jnp.array([[1.0, 0.5, -1.0], [0.0, 2.0, 1.0], [-1.0, 0.0, 0.5], [0.5, -0.5, 2.0]])


def loss_of(model):
    return jnp.mean((model(INPUTS) - 1) ** 2)


SEARCHES = {
    "lbfgs": optax.lbfgs,
    "zoom": lambda: optax.chain(optax.sgd(1.0), optax.scale_by_zoom_linesearch(5)),
    "backtracking": lambda: optax.chain(
        optax.sgd(1.0), optax.scale_by_backtracking_linesearch(5, store_grad=True)
    ),
}


class TestLineSearches:
    """Extra arguments reach the transformation, with bare values as everywhere in optax."""

    @pytest.mark.parametrize("name", SEARCHES)
    @pytest.mark.parametrize("transform", [lambda f: f, nnx.jit], ids=["eager", "jit"])
    def test_they_find_a_lower_loss(self, name, transform):
        model = Fit(nnx.Param)
        optimizer = nnx.Optimizer(model, SEARCHES[name](), wrt=nnx.Param)
        graphdef, _, rest = nnx.split(model, nnx.Param, ...)
        seen = []

        def at(params):
            seen.extend(
                map(type, jax.tree.leaves(params, is_leaf=lambda x: isinstance(x, nnx.Variable)))
            )
            return loss_of(nnx.merge(graphdef, params, rest, copy=True))

        @transform
        def step(model, optimizer):
            value, grads = nnx.value_and_grad(loss_of)(model)
            optimizer.update(model, grads, grad=grads, value=value, value_fn=at)
            return value

        losses = [step(model, optimizer) for _ in range(2)]
        assert losses[1] < losses[0]
        assert not any(issubclass(cls, nnx.Variable) for cls in seen)

    def test_gradients_of_more_than_is_optimized_do(self):
        model = Fit(nnx.Param)
        wrt = nnx.PathContains("slope")
        optimizer = nnx.Optimizer(model, optax.lbfgs(), wrt=wrt)
        graphdef, _, rest = nnx.split(model, wrt, ...)
        value, grads = nnx.value_and_grad(loss_of)(model)
        optimizer.update(
            model,
            grads,
            grad=grads,
            value=value,
            value_fn=lambda s: loss_of(nnx.merge(graphdef, s, rest, copy=True)),
        )
        assert loss_of(model) < value
        assert model.offset[0] == 0


class TestPlainArrays:
    @staticmethod
    def is_slope(path, leaf):
        return path[-1] == "slope"

    @pytest.mark.parametrize("tx", [optax.sgd(0.1), optax.adam(0.1), optax.lbfgs(linesearch=None)])
    def test_they_are_optimized_as_variables_are(self, tx):
        slopes = []
        for wrap in (nnx.Param, lambda x: x):
            model = Fit(wrap)
            optimizer = nnx.Optimizer(model, tx, wrt=self.is_slope)
            for _ in range(2):
                value = jnp.asarray(model.slope)
                grads = jax.grad(lambda s: jnp.mean((INPUTS @ s - 1) ** 2))(value)
                optimizer.update(model, nnx.State({"slope": grads}))
            slopes.append(np.asarray(model.slope))
            assert int(optimizer.step[...]) == 2
        np.testing.assert_array_equal(*slopes)

    def test_so_they_are_within_jax_jit(self):
        @jax.jit
        def step(model, optimizer):
            grads = jax.grad(lambda s: jnp.mean((INPUTS @ s - 1) ** 2))(model.slope)
            optimizer.update(model, nnx.State({"slope": grads}))
            return model, optimizer

        model = Fit(lambda x: x)
        before = model.slope
        model, _ = step(model, nnx.Optimizer(model, optax.sgd(0.1), wrt=self.is_slope))
        assert isinstance(model.slope, jax.Array)
        assert not np.array_equal(model.slope, before)

    def test_other_shapes_raise_an_error(self):
        model = Fit(lambda x: x)
        optimizer = nnx.Optimizer(model, optax.sgd(0.1), wrt=self.is_slope)
        with pytest.raises(ArgumentError, match=r"slope has \(2,\) for \(3, 1\)"):
            optimizer.update(model, nnx.State({"slope": jnp.ones(2)}))


@pytest.mark.parametrize("value", [0.5, jnp.full((2,), 0.5)], ids=["number", "weak type"])
def test_a_step_over_weak_types_is_compiled_once(value):
    model, traces = nnx.Dict(scale=nnx.Param(value)), []
    optimizer = nnx.Optimizer(model, optax.adam(0.1), wrt=nnx.Param)

    @nnx.jit
    def step(model, optimizer):
        traces.append(1)
        optimizer.update(model, nnx.grad(lambda m: jnp.sum(m.scale * 2))(model))

    for _ in range(3):
        step(model, optimizer)
    assert len(traces) == 1


def test_all_of_an_optimizer_is_counted():
    model = nnx.Dict({f"w{i}": nnx.Dict(x=nnx.Param(jnp.ones(20))) for i in range(10)})
    head = repr(nnx.Optimizer(model, optax.adam(0.1), wrt=nnx.Param)).splitlines()[0]
    assert "OptVariable: 400" in head
    assert "Total: 402" in head


def test_classes_of_training_take_the_type_of_their_model():
    def step(optimizer: nnx.Optimizer[Fit], graphdef: nnx.GraphDef[Fit]) -> nnx.TrainState[Fit]: ...

    model = Fit(nnx.Param)
    optimizer = nnx.ModelAndOptimizer[Fit](model, optax.sgd(0.1))
    assert "__orig_class__" not in vars(optimizer)
    assert nnx.clone(optimizer).model is not model
