"""Metrics, against NumPy."""

import jax.numpy as jnp
import numpy as np
import pytest

from linnet.module_core import nnx
from linnet.module_core.errors import ArgumentError, ArgumentTypeError, ShapeError

RNG = np.random.default_rng(0)
BATCHES = [RNG.normal(3, 2, shape).astype(np.float32) for shape in [(4,), (2, 3), (1,), ()]]
MASKS = [np.array([True, False, True, True]), np.array([[True], [False]]), np.array([False]), True]


def test_average():
    metric = nnx.metrics.Average("loss")
    assert np.isnan(metric.compute())
    for batch in BATCHES:
        metric.update(loss=jnp.asarray(batch))
    metric.update(loss=2)
    metric.update(loss=2.5)
    everything = np.concatenate([*(b.ravel() for b in BATCHES), [2, 2.5]])
    np.testing.assert_allclose(metric.compute(), everything.mean(), rtol=1e-6)
    assert int(metric.count.value) == len(everything)
    metric.reset()
    assert np.isnan(metric.compute())


@pytest.mark.parametrize("cls", [nnx.metrics.Average, nnx.metrics.Welford])
def test_masked_values_do_not_count(cls):
    metric = cls()
    chosen = []
    for batch, mask in zip(BATCHES, MASKS, strict=True):
        metric.update(values=jnp.asarray(batch), mask=jnp.asarray(mask))
        chosen.append(batch[np.broadcast_to(mask, batch.shape)])
    chosen = np.concatenate(chosen)
    found = metric.compute()
    mean = found if cls is nnx.metrics.Average else found.mean
    np.testing.assert_allclose(mean, chosen.mean(), rtol=1e-6)
    assert int(metric.count.value) == len(chosen)
    with pytest.raises(ShapeError, match=r"of shape \(4,\); got shape \(3,\)"):
        metric.update(values=jnp.ones(4), mask=jnp.ones(3))


def test_low_precision_is_added_up_in_float32():
    metric = nnx.metrics.Average()
    metric.update(values=jnp.full(1000, 1.0, jnp.bfloat16))
    metric.update(values=jnp.full(3, 1.0, jnp.bfloat16))
    assert float(metric.total.value) == 1003.0


def test_welford():
    metric = nnx.metrics.Welford()
    assert np.isnan(metric.compute().standard_deviation)
    for batch in BATCHES:
        metric.update(values=jnp.asarray(batch) + 1000)
    metric.update(values=jnp.zeros((0, 3)))
    everything = np.concatenate([b.ravel() for b in BATCHES]).astype(np.float64) + 1000
    found = metric.compute()
    n = len(everything)
    np.testing.assert_allclose(found.mean, everything.mean(), rtol=1e-6)
    np.testing.assert_allclose(found.standard_deviation, everything.std(), rtol=1e-3)
    np.testing.assert_allclose(
        found.standard_error_of_mean, everything.std() / np.sqrt(n), rtol=1e-3
    )
    metric.reset()
    assert int(metric.count.value) == 0
    assert float(metric.mean.value) == 0


def test_accuracy():
    metric = nnx.metrics.Accuracy()
    logits = RNG.normal(size=(4, 5, 3)).astype(np.float32)
    labels = RNG.integers(0, 3, (4, 5))
    right = logits.argmax(-1) == labels
    metric.update(logits=jnp.asarray(logits), labels=jnp.asarray(labels), loss="ignored")
    np.testing.assert_allclose(metric.compute(), right.mean())
    metric.reset()
    mask = right | (RNG.random((4, 5)) < 0.5)
    metric.update(logits=jnp.asarray(logits), labels=jnp.asarray(labels), mask=jnp.asarray(mask))
    np.testing.assert_allclose(metric.compute(), right[mask].mean())


def test_accuracy_of_two_classes():
    metric = nnx.metrics.Accuracy(threshold=0.5)
    metric.update(logits=jnp.array([0.3, 0.6, 0.5, 0.9]), labels=jnp.array([0, 1, 1, 0]))
    assert float(metric.compute()) == 0.75
    metric.update(logits=jnp.array([0.1]), labels=jnp.array([False]))
    assert float(metric.compute()) == np.float32(0.8)


def test_several_in_the_order_of_declaration_also_inside_jit():
    metrics = nnx.MultiMetric(loss=nnx.metrics.Average(), accuracy=nnx.metrics.Accuracy())

    @nnx.jit
    def evaluate(metrics, logits):
        metrics.update(logits=logits, labels=jnp.array([0, 1]), values=logits.sum())
        return metrics.compute()["loss"], list(metrics.compute()) == ["loss", "accuracy"]

    loss, ordered = evaluate(metrics, jnp.eye(2))
    assert float(loss) == 2.0
    assert bool(ordered)
    assert list(metrics.compute()) == ["loss", "accuracy"]
    assert float(metrics.accuracy.compute()) == 1.0
    metrics.reset()
    assert int(metrics.loss.count.value) == 0


def test_masks_for_all_or_by_name():
    metrics = nnx.MultiMetric(a=nnx.metrics.Average("x"), b=nnx.metrics.Average("x"))
    x, mask = jnp.array([1.0, 2.0]), jnp.array([True, False])
    metrics.update(x=x, mask=mask)
    assert {k: float(v) for k, v in metrics.compute().items()} == {"a": 1.0, "b": 1.0}
    metrics.reset()
    metrics.update(x=x, mask={"b": mask})
    assert {k: float(v) for k, v in metrics.compute().items()} == {"a": 1.5, "b": 1.0}
    with pytest.raises(ArgumentError, match="mask for 'c', but no such metric"):
        metrics.update(x=x, mask={"c": mask})


def test_a_metric_of_one_s_own():
    class Largest(nnx.Metric):
        def __init__(self):
            self.value = nnx.metrics.MetricState(jnp.float32(-jnp.inf))

        def reset(self):
            self.value.value = jnp.float32(-jnp.inf)

        def update(self, *, x, **_):
            self.value.value = jnp.maximum(self.value.value, jnp.max(x))

        def compute(self):
            return self.value.value

    metrics = nnx.MultiMetric(largest=Largest(), mean=nnx.metrics.Average("x"))
    metrics.update(x=jnp.array([1.0, 4.0]))
    assert float(metrics.compute()["largest"]) == 4.0
    graphdef, state = metrics.split()
    assert nnx.merge(graphdef, state).largest.value is metrics.largest.value
    with pytest.raises(NotImplementedError, match=r"Metric doesn't define update\(\)"):
        nnx.Metric().update()


def test_mistakes_are_named():
    metric = nnx.metrics.Accuracy()
    logits = jnp.eye(3)
    with pytest.raises(ShapeError, match=r"need labels of shape \(3,\), got \(3, 3\).\n.*argmax"):
        metric.update(logits=logits, labels=jnp.eye(3, dtype=int))
    with pytest.raises(ShapeError, match=r"got \(4,\)"):
        metric.update(logits=logits, labels=jnp.ones(4, int))
    with pytest.raises(ArgumentTypeError, match="integers, got dtype float32"):
        metric.update(logits=logits, labels=jnp.ones(3))
    with pytest.raises(ShapeError, match="with a threshold"):
        nnx.metrics.Accuracy(0.5).update(logits=logits, labels=jnp.ones(3, int))
    with pytest.raises(ArgumentTypeError, match="threshold must be a float or None, got 'a'"):
        nnx.metrics.Accuracy("a")
    with pytest.raises(TypeError, match="Expected keyword argument 'values', got 'value'"):
        nnx.metrics.Average().update(value=1.0)
    with pytest.raises(TypeError, match="Expected keyword argument 'values', got none"):
        nnx.metrics.Welford().update()
    with pytest.raises(ArgumentTypeError, match="'a' is .* not a metric"):
        nnx.MultiMetric(a=3)
    with pytest.raises(ArgumentError, match="can't be named 'update'"):
        nnx.MultiMetric(update=nnx.metrics.Average())
