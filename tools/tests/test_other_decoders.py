"""Decoders of many families against what PyTorch computed: `data/decoders.npz`.

For each family it holds config.json, the names and shapes of the tensors, and what transformers
5.24 computed in float32 with the weights that `drawn` returns: the logits of two rows
of tokens, and the three likeliest tokens after them.
"""

import functools
import importlib
import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("optax", reason="the examples need it")

from comparing import identical, near
from drawn_weights import drawn
from linnet import nnx
from linnet.weights import to_torch

pytestmark = pytest.mark.usefixtures("examples")

with np.load(Path(__file__).parent / "data" / "decoders.npz") as file:
    DATA = dict(file)
FAMILIES = [name.removesuffix(".config") for name in DATA if name.endswith(".config")]
SPARSE = ("mixtral", "qwen2_moe", "olmoe", "gpt_oss", "glm4_moe")
# Penalties, a window in most layers, sinks, embedded positions and a window in every other layer,
# normalization after the rotation, sines and cosines, and rotary positions that change once a text
# is long: the model has to read it again.
WRITE = ("falcon_rw", "cohere2", "gpt_oss", "gpt_neo", "hunyuan", "xglm", "phi3")


@functools.cache
def loaded(name):
    """The module of the family, the checkpoint, and the model."""
    other = "deepseek" if name.startswith("deepseek") else "decoders"
    other = "llama" if name.startswith("phi3") else other
    module = importlib.import_module("sparse_decoders" if name.startswith(SPARSE) else other)
    config, shapes = (json.loads(str(DATA[f"{name}.{part}"])) for part in ("config", "shapes"))
    of = importlib.import_module("llama").Checkpoint(config, drawn(shapes))
    return module, of, module.load_model(of)


@pytest.mark.parametrize("name", FAMILIES)
def test_logits(name):
    module, of, model = loaded(name)
    expected = DATA[f"{name}.logits"]
    ours = nnx.jit(lambda model, x: model(x))(model, DATA["tokens"])
    near(ours, expected, 1e-4, 1e-4 * float(np.abs(expected).max()))
    ignore = getattr(module, "IGNORED", ())
    names = module.names_of(of) if hasattr(module, "names_of") else of.names()
    back = to_torch(model, like=of.tensors, rename=names, ignore=ignore)
    assert all(back[key].tobytes() == value.tobytes() for key, value in of.tensors.items())


def test_stacked_experts():
    """`model.state_dict()` of transformers 5 has one tensor for all experts of a layer."""
    module, of, usual = loaded("qwen2_moe")
    tensors, experts = {}, {}
    for key, value in of.tensors.items():
        if ".experts." in key:
            before, after = key.split(".experts.")
            number, part = after.removesuffix(".weight").split(".")
            experts.setdefault(before, {})[int(number), part] = value
        else:
            tensors[key] = value
    for at, parts in experts.items():
        count = 1 + max(number for number, _ in parts)
        gate, up, down = (
            np.stack([parts[number, f"{part}_proj"] for number in range(count)])
            for part in ("gate", "up", "down")
        )
        tensors[f"{at}.experts.gate_up_proj"] = np.concatenate([gate, up], axis=1)
        tensors[f"{at}.experts.down_proj"] = down
    stacked = of._replace(tensors=tensors)
    model = module.load_model(stacked)
    identical(nnx.to_pure_dict(nnx.state(model)), nnx.to_pure_dict(nnx.state(usual)))
    identical(to_torch(model, like=tensors, rename=module.names_of(stacked)), tensors)


@pytest.mark.parametrize("name", WRITE)
def test_generated(name):
    _, _, model = loaded(name)
    written = importlib.import_module("llama").write(model, list(DATA["tokens"]), 3)
    np.testing.assert_array_equal(written, DATA[f"{name}.generated"])
