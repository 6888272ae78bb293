# /// script
# requires-python = ">=3.11,<3.13"
# dependencies = ["clu==0.0.12", "flax==0.12.8", "jax==0.10.2", "optax==0.2.8"]
#
# [tool.linnet]
# library = "clu"
# tests = ["clu/metrics_test.py", "clu/parameter_overview_test.py"]
# # It fills a collection from threads: how it ends depends on their timing.
# deselect = ["clu/metrics_test.py::MetricsTest::test_collection_mixed_async"]
# tests-need = ["chex", "absl-py"]
# ///
"""A classifier whose loss and accuracy are collected by clu's metrics, which are flax.struct's."""

import flax
import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from clu import metrics, parameter_overview
from flax.training import train_state
from showing import show, step


@flax.struct.dataclass
class Metrics(metrics.Collection):
    """The metrics collected in each step."""

    accuracy: metrics.Accuracy
    loss: metrics.Average.from_output("loss")


class Classifier(nn.Module):
    """Two dense layers."""

    @nn.compact
    def __call__(self, x):
        return nn.Dense(3)(nn.relu(nn.Dense(16)(x)))


def main():
    """Trains for a few steps."""
    images, labels = jax.random.normal(jax.random.key(1), (32, 8)), jnp.arange(32) % 3
    model = Classifier()
    params = model.init(jax.random.key(0), images)["params"]
    state = train_state.TrainState.create(apply_fn=model.apply, params=params, tx=optax.adam(1e-2))

    @jax.jit
    def train_step(state):
        def loss_of(params):
            logits = state.apply_fn({"params": params}, images)
            losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
            return losses.mean(), logits

        (loss, logits), gradients = jax.value_and_grad(loss_of, has_aux=True)(state.params)
        collected = Metrics.single_from_model_output(logits=logits, labels=labels, loss=loss)
        return state.apply_gradients(grads=gradients), collected

    collected = None
    for _ in range(5):
        state, now = train_step(state)
        if collected is None:
            step()
        collected = now if collected is None else collected.merge(now)
    show("metrics", collected.compute())
    show("params", state.params)
    print(parameter_overview.get_parameter_overview(state.params))
    show("parameters", parameter_overview.count_parameters(state.params))


if __name__ == "__main__":
    main()
