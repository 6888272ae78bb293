"""Run as a program, on 8 virtual devices: some training steps, the data on one, then divided.

    python distributed.py

Prints each time on how many devices the weights are, the weights, and what the model predicts.
"""

import jax
import keras
import numpy as np

if __name__ == "__main__":  # as a program it has no package
    import modules
else:
    from . import modules

from linnet.keras_bridge import FlaxLayer, NNXLayer
from linnet.module_core import nnx


def train(distribution=None):
    """Trains a model of both styles, with given weights and others, with state and keys."""
    keras.utils.clear_session()
    if distribution is not None:
        keras.distribution.set_distribution(distribution)
    keras.utils.set_random_seed(0)
    given = modules.Dense(3).init(jax.random.key(0), np.ones((1, 3)))
    layers = [
        FlaxLayer(modules.Dense(3), variables=given),
        FlaxLayer(modules.Norm()),
        NNXLayer(modules.NNXNet(rngs=nnx.Rngs(0))),
    ]
    model = keras.Sequential([keras.Input((3,)), *layers])
    model.compile("sgd", "mse")
    data = np.random.default_rng(0).normal(size=(32, 3)).astype("float32")
    model.fit(data, data[:, :2], batch_size=16, shuffle=False, verbose=0)
    print("devices", *{len(v.value.sharding.device_set) for v in model.variables})
    for weight in model.get_weights():
        print(*np.asarray(weight, "float64").round(4).ravel())
    print(*model.predict(data, verbose=0).round(4).ravel())


if __name__ == "__main__":
    assert len(jax.devices()) == 8
    train()
    train(keras.distribution.DataParallel())
