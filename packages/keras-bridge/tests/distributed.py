"""Run as a program, on 8 virtual devices: one training step, all data on each or divided.

python distributed.py [data]
"""

from __future__ import annotations

import sys
from pathlib import Path

import jax
import keras
import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
import modules

from linnet.keras_bridge import FlaxLayer, NNXLayer
from linnet.module_core import nnx

assert len(jax.devices()) == 8
if sys.argv[1:] == ["data"]:
    keras.distribution.set_distribution(keras.distribution.DataParallel())

keras.utils.set_random_seed(0)
inputs = keras.Input((3,))
given = modules.Dense(3).init(jax.random.key(0), np.ones((1, 3)))
x = FlaxLayer(modules.Norm())(FlaxLayer(modules.Dense(3), variables=given)(inputs))
model = keras.Model(inputs, NNXLayer(modules.NNXNet(rngs=nnx.Rngs(0)))(x))
model.compile("sgd", "mse")
data = np.random.default_rng(0).normal(size=(32, 3)).astype("float32")
model.fit(data, data[:, :2], batch_size=16, shuffle=False, verbose=0)
devices = {len(v.value.sharding.device_set) for v in model.variables}
print("devices", *sorted(devices))
for weight in model.get_weights():
    print(*np.asarray(weight, "float64").round(4).ravel())
print(*model.predict(data, verbose=0).round(4).ravel())
