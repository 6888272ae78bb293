"""A program for 8 virtual devices: trains on one, with divided data, and with divided weights.

    python distributed.py

For each, prints the number of devices that hold the weights, the weights, and the predictions; and
how a LayoutMap has divided the weights of the model and of the optimizer.
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
    """Trains a model with layers of both styles, with given and drawn weights, state and keys."""
    keras.utils.clear_session()
    if distribution is not None:
        keras.distribution.set_distribution(distribution)
    keras.utils.set_random_seed(0)
    given = modules.Dense(4).init(jax.random.key(0), np.ones((1, 3)))
    layers = [
        FlaxLayer(modules.Dense(4), variables=given),
        FlaxLayer(modules.Norm()),
        FlaxLayer(modules.Net(4)),
        NNXLayer(modules.NNXNet(2, rngs=nnx.Rngs(0))),
    ]
    model = keras.Sequential([keras.Input((3,)), *layers])
    model.compile(keras.optimizers.SGD(0.1, momentum=0.5), "mse")
    data = np.random.default_rng(0).normal(size=(32, 3)).astype("float32")
    model.fit(data, data[:, :2], batch_size=16, shuffle=False, verbose=0)
    print("devices", *{len(v.value.sharding.device_set) for v in model.variables})
    for weight in model.get_weights():
        print(*np.asarray(weight, "float64").round(4).ravel())
    print(*model.predict(data, verbose=0).round(4).ravel())
    for variable in [*model.variables, *model.optimizer.variables]:
        spec = getattr(variable.value.sharding, "spec", ())
        if any(spec):
            print("divided", variable.path, spec)


def by_path():
    """Kernels are divided over two devices, by the paths of the weights."""
    layouts = keras.distribution.LayoutMap(
        keras.distribution.DeviceMesh((4, 2), ["batch", "model"])
    )
    layouts[".*flax_layer/params/kernel"] = (None, "model")
    layouts[".*Dense_[01]/kernel"] = (None, "model")
    layouts[".*layers/0/kernel"] = (None, "model")
    layouts[".*layers/1/kernel"] = ("model", None)
    return keras.distribution.ModelParallel(layout_map=layouts, batch_dim_name="batch")


if __name__ == "__main__":
    assert len(jax.devices()) == 8
    train()
    train(keras.distribution.DataParallel())
    # Newer versions of Keras create large weights in a compiled program; here, they do so for all
    # kernels.
    keras.src.backend.jax.core.should_shard_at_init = lambda layout, shape: len(shape) == 2
    train(by_path())
