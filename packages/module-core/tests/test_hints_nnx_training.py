"""Every hint of nnx's optimizers and metrics, followed to the letter."""

from pathlib import Path

import jax
import jax.numpy as jnp
import optax
import pytest

import hints
from hints import Remedy
from linnet.module_core import nnx

SOURCES = Path(nnx.__file__).parent / "training"
LOGITS = jnp.array([[0.0, 1.0], [3.0, 2.0]])
LABELS = jnp.array([1, 1])
TX = optax.adam(0.1)


class Model(nnx.Module):
    """A kernel and a running mean, and optionally integers."""

    def __init__(self, counted=None, parts=1, size=3):
        self.kernel = nnx.Param(jnp.ones((2, size)))
        self.mean = nnx.BatchStat(jnp.zeros(3))
        self.decoder = nnx.List([nnx.Dict(w=nnx.Param(jnp.ones(3))) for _ in range(parts)])
        if counted is not None:
            self.count = counted(jnp.zeros((), jnp.int32))


def gradients(model, wrt=nnx.Param):
    return jax.tree.map(jnp.ones_like, nnx.state(model, wrt))


def optimizer(model, wrt=nnx.Param, **attributes):
    return nnx.Optimizer(model, TX, wrt=wrt, **attributes)


def updated(model, grads, made_for=None):
    optimizer(made_for or model).update(model, grads)
    return model


def differentiated(chosen):
    """An update with gradients of two models, or of the one that is trained."""
    model, teacher = Model(), Model()
    both = nnx.grad(lambda m, t: (m.kernel * t.kernel).sum(), argnums=(0, 1))(model, teacher)
    return updated(model, chosen(both))


def kept():
    model = Model()
    nnx.ModelAndOptimizer(model, TX).update(gradients(model))
    return model


def averaged(average_of, update_with):
    average = nnx.EMA(average_of, 0.9)
    average.update(update_with)
    return average


def accuracy(logits, labels, **options):
    metric = nnx.metrics.Accuracy(**options)
    metric.update(logits=logits, labels=labels)
    return metric.compute()


def average(argname, **values):
    metric = nnx.metrics.Average(argname)
    metric.update(**values)
    return metric.compute()


ONE_HOT = jax.nn.one_hot(LABELS, 2, dtype=int)

REMEDIES = [
    Remedy(
        "Update with the model that the average was made from.",
        lambda: averaged(model := Model(), model.decoder),
        lambda: averaged(model := Model(), model),
    ),
    Remedy(
        "Call update({}=...), or give the metric a different argname.",
        lambda: average("values", loss=jnp.ones(2)),
        lambda: [average("values", values=jnp.ones(2)), average("loss", loss=jnp.ones(2))],
    ),
    Remedy(
        "Write nnx.metrics.Accuracy(threshold=0.5).",
        lambda: nnx.metrics.Accuracy("values"),
        lambda: nnx.metrics.Accuracy(threshold=0.5),
    ),
    Remedy(
        "Convert one-hot labels to class indices with labels.argmax(-1).",
        lambda: accuracy(LOGITS, ONE_HOT),
        lambda: accuracy(LOGITS, ONE_HOT.argmax(-1)),
    ),
    Remedy(
        "Two classes, one logit each: pass threshold=0.5.",
        lambda: accuracy(LOGITS[:, 0], LABELS),
        lambda: accuracy(LOGITS[:, 0], LABELS, threshold=0.5),
    ),
    Remedy(
        "Write labels.squeeze(-1).",
        lambda: accuracy(LOGITS, LABELS[:, None]),
        lambda: accuracy(LOGITS, LABELS[:, None].squeeze(-1)),
    ),
    Remedy(
        "Write labels.astype(int).",
        lambda: accuracy(LOGITS, LABELS.astype(float)),
        lambda: accuracy(LOGITS, LABELS.astype(float).astype(int)),
    ),
    Remedy(
        "Pass an instance with reset, update and compute, such as nnx.metrics.Average().",
        lambda: nnx.MultiMetric(loss="values"),
        lambda: nnx.MultiMetric(loss=nnx.metrics.Average()),
    ),
    Remedy(
        "wrt is a filter: a type such as nnx.Param, or nnx.PathContains('decoder'). A string",
        lambda: optimizer(Model(), wrt="params"),
        lambda: [optimizer(Model(), wrt=nnx.Param)],
    ),
    Remedy(
        "wrt is a filter: a type such as nnx.Param, or nnx.PathContains('decoder'). A string",
        lambda: optimizer(Model(), wrt="params"),
        lambda: optimizer(Model(), wrt=nnx.PathContains("decoder")),
    ),
    Remedy(
        "wrt=nnx.All(nnx.Param, nnx.Not(nnx.PathContains('count'))).",
        lambda: optimizer(Model(counted=nnx.Param)),
        lambda: [
            optimizer(Model(counted=nnx.BatchStat)),
            optimizer(
                Model(counted=nnx.Param),
                wrt=nnx.All(nnx.Param, nnx.Not(nnx.PathContains("count"))),
            ),
        ],
    ),
    Remedy(
        "nnx.value_and_grad returns a pair: loss, grads = nnx.value_and_grad(f)(model).",
        lambda: differentiated(lambda both: (1.0, both[0])),
        lambda: differentiated(lambda both: (1.0, both[0])[1]),
    ),
    Remedy(
        "With several differentiated arguments, pass the state that belongs to the model.",
        lambda: differentiated(lambda both: both),
        lambda: differentiated(lambda both: both[0]),
    ),
    Remedy(
        "Write nnx.Optimizer(model, tx, wrt=nnx.Param), or use nnx.ModelAndOptimizer, which keeps",
        lambda: nnx.Optimizer(Model(), TX),
        lambda: [nnx.Optimizer(Model(), TX, wrt=nnx.Param), kept()],
    ),
    Remedy(
        "The order is nnx.Optimizer(model, tx, wrt=nnx.Param).",
        lambda: nnx.Optimizer(TX, Model(), wrt=nnx.Param),
        lambda: nnx.Optimizer(Model(), TX, wrt=nnx.Param),
    ),
    Remedy(
        "nnx.ModelAndOptimizer keeps the model and takes only gradients.",
        lambda: optimizer(model := Model()).update(gradients(model)),
        lambda: [kept(), updated(model := Model(), gradients(model))],
    ),
    Remedy(
        "Write optimizer.update(model, grads).",
        lambda: optimizer(model := Model()).update(gradients(model), model),
        lambda: optimizer(model := Model()).update(model, gradients(model)),
    ),
    Remedy(
        "Make an instance of it first.",
        lambda: optimizer(Model),
        lambda: optimizer(Model()),
    ),
    Remedy(
        "Make a new optimizer after adding or removing parameters, or to train another model",
        lambda: updated(model := Model(parts=2), gradients(model), made_for=Model()),
        lambda: updated(model := Model(parts=2), gradients(model), made_for=model),
    ),
    Remedy(
        "Was a layer replaced after the optimizer was made? Make a new optimizer afterwards.",
        lambda: updated(model := Model(size=4), gradients(model), made_for=Model()),
        lambda: updated(model := Model(size=4), gradients(model), made_for=model),
    ),
]

ADVICE = [  # which is part of a message
    Remedy(
        "pass it to update(model, grads), or use nnx.ModelAndOptimizer.",
        lambda: optimizer(Model()).model,
        lambda: [
            updated(model := Model(), gradients(model)),
            nnx.ModelAndOptimizer(Model(), TX).model,
        ],
    ),
]


@pytest.mark.parametrize("remedy", [*REMEDIES, *ADVICE], ids=lambda r: r.words[:40])
def test_a_remedy_works(remedy):
    hints.try_remedy(remedy)


def test_every_hint_has_a_remedy():
    found = hints.hints_in(SOURCES)
    assert hints.untried(found, REMEDIES) == []
    assert hints.unknown(found, [remedy.words for remedy in REMEDIES]) == []
