"""Files: written in one process, read in another."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest

from linnet.keras_bridge import FlaxLayer, NNXLayer
from linnet.module_core.errors import ArgumentError

from . import saved_models
from .modules import Net, NNXNet

PROGRAM = Path(saved_models.__file__)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved")
    saved_models.save(folder)
    return folder


def run(*arguments):
    # Compiled as in this process: with other optimizations, last digits would differ.
    environment = {**os.environ, "JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}
    command = [sys.executable, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


def test_models_are_loaded_by_another_process(folder):
    # Files name the classes as this process knows them; the other process has another module.
    copies = folder / "copies"
    copies.mkdir()
    for path in folder.glob("*.*"):
        data = path.read_bytes()
        if path.suffix == ".keras":
            renamed(path, copies / path.name)
        else:
            (copies / path.name).write_bytes(data)
    finished = run(str(PROGRAM), "load", str(copies))
    assert finished.returncode == 0, finished.stderr
    assert len(finished.stdout.splitlines()) == len(saved_models.layers())


def renamed(path, to):
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(to, "w") as target:
        for name in source.namelist():
            data = source.read(name)
            if name == "config.json":
                data = data.replace(Net.__module__.encode(), b"modules")
            target.writestr(name, data)


def test_a_process_that_has_not_imported_the_module_gets_a_hint_to_do_so(folder):
    marker = folder / "ran"
    (folder / "absent_models.py").write_text(f"open({str(marker)!r}, 'w')", "utf-8")
    renamed_file = folder / "renamed.keras"
    with zipfile.ZipFile(folder / "stateful.keras") as source:
        config = json.loads(source.read("config.json"))
        rest = {n: source.read(n) for n in source.namelist() if n != "config.json"}
    text = json.dumps(config).replace(Net.__module__, "absent_models")
    with zipfile.ZipFile(renamed_file, "w") as target:
        target.writestr("config.json", text)
        for name, data in rest.items():
            target.writestr(name, data)
    sys.path.insert(0, str(folder))
    try:
        with pytest.raises((ArgumentError, TypeError), match="from absent_models import Net"):
            keras.saving.load_model(renamed_file)
    finally:
        sys.path.remove(str(folder))
    assert not marker.exists()
    loaded = keras.saving.load_model(renamed_file, custom_objects={"Net": Net})
    np.testing.assert_array_equal(
        loaded.predict(saved_models.X, verbose=0), np.load(folder / "stateful.npy")
    )


@pytest.mark.parametrize("name", ["stateful", "nnx"])
def test_weights_go_into_a_new_model(name, folder):
    layer = FlaxLayer(Net()) if name == "stateful" else NNXLayer(NNXNet, seed=9)
    model = keras.Sequential([keras.Input((3,)), layer, keras.layers.Dense(1)])
    if name == "nnx":  # with a custom activation
        layer = NNXLayer(lambda rngs: NNXNet(activation=lambda x: 2 * x, rngs=rngs))
        model = keras.Sequential([keras.Input((3,)), layer, keras.layers.Dense(1)])
    model.load_weights(folder / f"{name}.weights.h5")
    np.testing.assert_allclose(
        model.predict(saved_models.X, verbose=0), np.load(folder / f"{name}.npy"), rtol=1e-6
    )


def test_json_alone_gives_the_same_architecture(folder):
    model = keras.saving.load_model(folder / "stateful.keras")
    again = keras.models.model_from_json(model.to_json())
    assert again.layers[0].module == model.layers[0].module
    assert [v.shape for v in again.weights] == [v.shape for v in model.weights]


def test_the_seed_is_in_the_file(folder):
    model = keras.saving.load_model(folder / "seeded.keras")
    assert model.layers[0].seed == 3
    assert model.layers[0].seed_generator.state.value.tolist() == [3, 0]  # starts over


def test_a_model_that_cannot_be_saved_can_save_its_weights(tmp_path):
    model = keras.Sequential([keras.Input((3,)), FlaxLayer(Net(activation=lambda x: x), name="a")])
    with pytest.raises(ArgumentError, match=r"a \(FlaxLayer\): Net.activation holds"):
        model.save(tmp_path / "model.keras")
    model.save_weights(tmp_path / "model.weights.h5")
    before = model.get_weights()
    model.set_weights([0 * w for w in before])
    model.load_weights(tmp_path / "model.weights.h5")
    for a, b in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
