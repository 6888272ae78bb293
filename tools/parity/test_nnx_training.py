"""Optimizers, averages, training states and metrics: Flax's paths, types and numbers."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx as flax_nnx

from linnet.module_core import nnx

RNG = np.random.default_rng(0)
KERNELS = [RNG.normal(size=(3, 3)).astype(np.float32) for _ in range(2)]
X = jnp.asarray(RNG.normal(size=(4, 3)), jnp.float32)


def model_of(library):
    class Model(library.Module):
        def __init__(self):
            self.layers = library.List([library.Param(jnp.asarray(k)) for k in KERNELS])
            self.low = library.LoRAParam(jnp.ones(3, jnp.bfloat16), unit="volt")
            self.mean = library.BatchStat(jnp.zeros(3))

    return Model()


def gradients(library, model):
    """The same gradient for both: that of a fixed function of the variables' values."""
    return library.map_state(
        lambda _, v: v.replace(jnp.sin(v[...])), library.state(model, library.Param)
    )


def flat(library, node):
    return [
        (
            path,
            type(v).__name__,
            np.asarray(v.get_value()).dtype,
            np.asarray(v.get_value(), np.float64),
        )
        for path, v in library.to_flat_state(library.state(node))
    ]


def same(found, expected):
    assert [x[:3] for x in found] == [x[:3] for x in expected]
    for (path, *_, a), (*_, b) in zip(found, expected, strict=True):
        np.testing.assert_array_equal(a, b, err_msg=str(path))


TRANSFORMATIONS = {
    "sgd": lambda: optax.sgd(0.1, momentum=0.9, nesterov=True),
    "adamw": lambda: optax.adamw(0.1),
    "multisteps": lambda: optax.MultiSteps(optax.adam(0.1), 2),
    "hyperparameters": lambda: optax.inject_hyperparams(optax.adam)(learning_rate=0.1),
    "chain": lambda: optax.chain(optax.clip_by_global_norm(0.5), optax.lion(0.1)),
    "labels": lambda: optax.multi_transform(
        {"a": optax.adam(0.1), "b": optax.sgd(0.1)},
        lambda p: jax.tree.map(lambda x: "a" if x.ndim > 1 else "b", p),
    ),
}


@pytest.mark.parametrize("name", TRANSFORMATIONS)
def test_five_steps(name):
    found = []
    for library in (nnx, flax_nnx):
        model = model_of(library)
        optimizer = library.Optimizer(model, TRANSFORMATIONS[name](), wrt=library.Param)
        for _ in range(5):
            updates = optimizer.update(model, gradients(library, model))
        found.append((flat(library, optimizer), flat(library, model), jax.tree.leaves(updates)))
    for ours, theirs in zip(found[0][:2], found[1][:2], strict=True):
        same(ours, theirs)
    jax.tree.map(np.testing.assert_array_equal, found[0][2], found[1][2])


def test_model_and_optimizer():
    found = []
    for library in (nnx, flax_nnx):
        optimizer = library.ModelAndOptimizer(model_of(library), optax.adam(0.1))
        optimizer.update(gradients(library, optimizer.model))
        found.append(flat(library, optimizer))
    same(*found)


@pytest.mark.parametrize("only", ["Param", "LoRAParam", "BatchStat"])
def test_ema(only):
    found = []
    for library in (nnx, flax_nnx):
        model = model_of(library)
        ema = library.EMA(model, 0.9, only=getattr(library, only))
        for i in range(3):
            new = library.map_state(lambda _, v, i=i: v.replace(v[...] + i), library.state(model))
            ema.update(new)
        found.append((flat(library, ema), flat(library, ema.apply_to(model))))
    same(found[0][0], found[1][0])
    same(found[0][1], found[1][1])


def test_train_state():
    found = []
    for library in (nnx, flax_nnx):
        model = model_of(library)
        graphdef, params, _ = library.split(model, library.Param, ...)
        train = library.TrainState.create(graphdef, params=params, tx=optax.adam(0.1))
        for _ in range(3):
            train = train.apply_gradients(gradients(library, train.params))
        assert train.step.dtype == jnp.int32
        assert int(train.step) == 3
        found.append(flat(library, train.params))
    same(*found)


BATCHES = [X, X[0], X[:, :1] * 100, jnp.arange(5)]
LOGITS = jnp.asarray(RNG.normal(size=(6, 4)), jnp.float32)
LABELS = jnp.asarray(RNG.integers(0, 4, 6), jnp.int32)
MASK = jnp.asarray(RNG.random(6) < 0.5)


def metrics_of(library):
    return library.MultiMetric(
        welford=library.metrics.Welford("loss"),
        accuracy=library.metrics.Accuracy(),
        average=library.metrics.Average("loss"),
    )


def test_metrics():
    found = []
    for library in (nnx, flax_nnx):
        metrics = metrics_of(library)
        for batch in BATCHES:
            metrics.update(loss=batch, logits=LOGITS, labels=LABELS)
        metrics.update(loss=0.5, logits=LOGITS, labels=LABELS)
        metrics.update(loss=X, logits=LOGITS, labels=LABELS, mask={"accuracy": MASK})
        found.append((metrics.compute(), [x[:3] for x in flat(library, metrics)]))
        assert list(found[-1][0]) == ["welford", "accuracy", "average"]
    for name in found[0][0]:
        ours, theirs = (jax.tree.leaves(f[0][name]) for f in found)
        for a, b in zip(ours, theirs, strict=True):
            assert a.dtype == b.dtype
            np.testing.assert_allclose(a, b, rtol=1e-5, err_msg=name)
    assert found[0][1] == found[1][1]


def test_binary_accuracy():
    found = []
    for library in (nnx, flax_nnx):
        metric = library.metrics.Accuracy(threshold=0.25)
        metric.update(logits=LOGITS, labels=(LOGITS > 0.2).astype(jnp.int32))
        metric.update(logits=jnp.array([0.25]), labels=jnp.array([1]))
        found.append(float(metric.compute()))
    assert found[0] == found[1]
    assert 0 < found[0] <= 1


def test_call():
    def out(library):
        linear = library.Dict(w=library.Param(jnp.ones((3, 2))), f=library.Sequential(jnp.sin))
        y, (_, state) = library.call(library.split(linear)).f(X)
        return np.asarray(y), [p for p, _ in library.to_flat_state(state)]

    (y, paths), (expected, expected_paths) = out(nnx), out(flax_nnx)
    np.testing.assert_array_equal(y, expected)
    assert paths == expected_paths
