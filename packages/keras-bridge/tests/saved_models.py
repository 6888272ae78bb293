"""Run as a program: saves models to a folder, or loads them and writes what they predict.

python saved_models.py save FOLDER
python saved_models.py load FOLDER
"""

import sys
from pathlib import Path

import jax
import keras
import numpy as np

if __name__ == "__main__":  # as a program it has no package
    import modules
else:
    from . import modules

from linnet.keras_bridge import FlaxLayer, NNXLayer
from linnet.module_core import linen, nnx

X = np.linspace(-1, 1, 12, dtype="float32").reshape(4, 3)
IDS = np.array([[1, 2, 0], [9, 3, 3]], "int32")


def layers():
    """Layers of models: linen and nnx, with and without state, nested, of functions."""
    nested = linen.Sequential(
        [modules.Dense(4), jax.nn.tanh, modules.Net(activation=modules.twice)]
    )
    model = modules.NNXNet(activation=modules.twice, rngs=nnx.Rngs(0))
    return {
        "stateful": [FlaxLayer(modules.Net())],
        "seeded": [FlaxLayer(modules.Net(), seed=3, dtype="mixed_bfloat16")],
        "nested": [FlaxLayer(modules.Holder(nested), call_value)],
        "method": [FlaxLayer(modules.Coder(), "encode")],
        "given": [FlaxLayer(modules.Dense(2), variables=given())],
        "nnx": [NNXLayer(model)],
        "factory": [NNXLayer(modules.make_nnx_net)],
        "class": [NNXLayer(modules.NNXNet, seed=1)],
    }


def given():
    return modules.Dense(2).init(jax.random.key(5), X)


@keras.saving.register_keras_serializable(package="tests")
def call_value(module, inputs, training):
    first, activation, net = module.value.layers
    return net(activation(first(inputs)), training)


def save(folder):
    """Trains each model for a step, saves it, and writes its predictions."""
    for name, chain in layers().items():
        model = keras.Sequential([keras.Input((3,)), *chain, keras.layers.Dense(1)])
        model.compile("adam", "mse")
        model.fit(X, X[:, :1], verbose=0)
        model.save(folder / f"{name}.keras")
        model.save_weights(folder / f"{name}.weights.h5")
        np.save(folder / f"{name}.npy", model.predict(X, verbose=0))
    integers = keras.Sequential([FlaxLayer(modules.Embed()), keras.layers.Flatten()])
    np.save(folder / "integers.npy", integers.predict(IDS, verbose=0))
    integers.save(folder / "integers.keras")


def load(folder):
    """Loads the models and checks the predictions, and those of the weights alone."""
    for name in layers():
        expected = np.load(folder / f"{name}.npy")
        model = keras.saving.load_model(folder / f"{name}.keras")
        np.testing.assert_array_equal(model.predict(X, verbose=0), expected)
        model.set_weights([0 * w for w in model.get_weights()])
        model.load_weights(folder / f"{name}.weights.h5")
        np.testing.assert_array_equal(model.predict(X, verbose=0), expected)
        print(name, type(model.layers[0]).__name__)
    integers = keras.saving.load_model(folder / "integers.keras")
    np.testing.assert_array_equal(
        integers.predict(IDS, verbose=0), np.load(folder / "integers.npy")
    )


if __name__ == "__main__":
    {"save": save, "load": load}[sys.argv[1]](Path(sys.argv[2]))
