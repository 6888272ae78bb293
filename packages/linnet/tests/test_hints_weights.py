"""Every hint of `linnet.weights`, followed to the letter."""

import tempfile
import zipfile
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import hints
from hints import Remedy
from linnet import linen as nn
from linnet import nnx
from linnet.module_core import weights
from linnet.weights import compare_intermediates, from_torch, load, save, to_torch

SOURCES = Path(weights.__file__).parent
X = jnp.ones((1, 8))
ONES = {"weight": np.ones((4, 8), np.float32), "bias": np.ones(4, np.float32)}
BOTH = {f"a.{k}": v for k, v in ONES.items()} | {"b.weight": np.ones((2, 4), np.float32)}
WEIGHT = {"weight": ONES["weight"]}
PREFIXED = {f"model.module.{k}": v for k, v in ONES.items()}
MORE = {"n": np.ones(1), "head.weight": np.ones((2, 4)), "head.bias": np.ones(2)}
OTHER = {"w": ONES["weight"], "b": ONES["bias"], "n": np.ones(1)}
INPUTS = {"inputs": [X]}
DENSE = {"params": {"kernel": jnp.zeros((8, 4)), "bias": jnp.zeros(4)}}


class Model(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Dense(2, use_bias=False, name="b")(nn.Dense(4, name="a")(x))


def linear(state_dict, **options):
    return from_torch(nnx.Linear(8, 4, rngs=nnx.Rngs(0)), state_dict, **options)


class Flat(nnx.Module):
    def __init__(self):
        self.conv = nnx.Conv(1, 2, (3,), rngs=nnx.Rngs(0))
        self.head = nnx.Linear(10, 3, rngs=nnx.Rngs(0))


FLAT = {
    "conv.weight": np.ones((2, 1, 3), np.float32),
    "conv.bias": np.ones(2, np.float32),
    "head.weight": np.ones((3, 10), np.float32),
    "head.bias": np.ones(3, np.float32),
}


def files():
    """A folder with two files, and an archive."""
    folder = Path(tempfile.mkdtemp())
    save(folder / "one.safetensors", ONES)
    save(folder / "two.safetensors", ONES)
    with zipfile.ZipFile(folder / "model.bin", "w") as file:
        file.writestr("data.pkl", b"")
    return folder


def saved(dtype):
    save(Path(tempfile.mkdtemp()) / "m.safetensors", {"w": jnp.zeros(2, dtype)})


def written(variables):
    path = Path(tempfile.mkdtemp()) / "m.safetensors"
    save(path, ONES)
    model = nnx.Linear(8, 4, rngs=nnx.Rngs(0))
    return load(path, model) if variables else from_torch(model, load(path))


REMEDIES = [
    Remedy(
        "Collect them in a dict, with a forward hook on each module.",
        lambda: compare_intermediates({"a": X}, [X]),
        lambda: compare_intermediates({"a": X}, {"a": X}),
    ),
    Remedy(
        "Pass nnx.capture(model, method_outputs=nnx.Intermediate)(*inputs)[1], or in linen",
        lambda: compare_intermediates(None, {"": X}),
        lambda: [
            compare_intermediates(
                nnx.capture(nnx.Linear(8, 4, rngs=nnx.Rngs(0)), method_outputs=nnx.Intermediate)(X)[
                    1
                ],
                {"": X[:, :4]},
            ),
            compare_intermediates(
                nn.Dense(4).apply(DENSE, X, capture_intermediates=True, mutable=["intermediates"])[
                    1
                ],
                {"": X[:, :4]},
            ),
        ],
    ),
    Remedy(
        "Pass the renames of from_torch as rename=.",
        lambda: compare_intermediates({"a": X}, {"b": X}),
        lambda: compare_intermediates({"a": X}, {"b": X}, rename={"b": "a"}),
    ),
    Remedy(
        "Pass the model's state dict: names and tensors.",
        lambda: linear(ONES | {"bias": np.array(["a"] * 4)}),
        lambda: linear(ONES),
    ),
    Remedy(
        "Weights of a PyTorch model are loaded by from_torch(target, load(path)).",
        lambda: written(True),
        lambda: written(False),
    ),
    Remedy(
        "Did you mean {}?",
        lambda: from_torch(Flat(), FLAT, flattened={"heads": (2, 5)}),
        lambda: from_torch(Flat(), FLAT, flattened={"head": (2, 5)}),
    ),
    Remedy(
        "Put names that differ into rename=, and names without a counterpart into ignore=.",
        lambda: linear(OTHER),
        lambda: linear(OTHER, rename={"w": "weight", "b": "bias"}, ignore=["n"]),
    ),
    Remedy(
        "The layers within a linen module are known from a call: pass inputs=, such as"
        " (jnp.ones((1, 8)),).",
        lambda: from_torch(Model(), BOTH, variables=from_torch(Model(), BOTH, **INPUTS)),
        lambda: from_torch(Model(), BOTH, inputs=(jnp.ones((1, 8)),)),
    ),
    Remedy(
        "A checkpoint often holds the state dict among other things: pass that alone, such as"
        " checkpoint[{}].",
        lambda: linear({"epoch": 3, "state_dict": ONES}),
        lambda: linear({"epoch": 3, "state_dict": ONES}["state_dict"]),
        filled=("'state_dict'",),
    ),
    Remedy(
        'All names begin with a prefix: pass rename={"{}": ""}.',
        lambda: linear(PREFIXED),
        lambda: linear(PREFIXED, rename={"model.module": ""}),
        filled=("model.module",),
    ),
    Remedy(
        'Some names begin with a prefix: pass rename={"{}": ""} and ignore={}.',
        lambda: linear(PREFIXED | MORE),
        lambda: linear(PREFIXED | MORE, rename={"model.module": ""}, ignore=["n", "head.*"]),
        filled=("model.module", "['n', 'head.*']"),
    ),
    Remedy(
        'Pass flattened={"{}": (C, H, W)} with their sizes, or {"{}": None} if nothing is'
        " flattened there.",
        lambda: from_torch(Flat(), FLAT),
        lambda: [
            from_torch(Flat(), FLAT, flattened={"head": shape}) for shape in ((2, 1, 5), None)
        ],
        filled=("head", "head"),
    ),
    Remedy(
        'Write {"model.layers.{i}": "layers/{i}"}.',
        lambda: linear(ONES, rename=["model"]),
        lambda: linear(ONES, rename={"model.layers.{i}": "layers/{i}"}),
    ),
    Remedy(
        "Pass the path of the file.",
        lambda: load(files()),
        lambda: load(files() / "one.safetensors"),
    ),
    Remedy(
        "Cast it to one that they hold: {}.",
        lambda: saved(jnp.int4),
        lambda: saved(jnp.int8),
    ),
    Remedy(
        "Leave it out.",
        lambda: linear(ONES, variables={}),
        lambda: linear(ONES),
    ),
    Remedy(
        "Pass the module first, then the state dict.",
        lambda: from_torch(ONES, ONES),
        lambda: linear(ONES),
    ),
    Remedy(
        "Pass inputs=[x].",
        lambda: from_torch(Model(), BOTH, inputs=X),
        lambda: from_torch(Model(), BOTH, inputs=[X]),
    ),
    Remedy(
        "Pass variables=module.init(key, *inputs).",
        lambda: from_torch(nn.Dense(4), WEIGHT, inputs=[X], ignore=["*/bias"]),
        lambda: from_torch(
            nn.Dense(4),
            WEIGHT,
            inputs=[X],
            ignore=["*/bias"],
            variables=nn.Dense(4).init(jax.random.key(0), X),
        ),
    ),
    Remedy(
        "Pass variables=, or inputs= for those that init makes, or both.",
        lambda: from_torch(nn.Dense(4), ONES),
        lambda: from_torch(nn.Dense(4), ONES, inputs=[X]),
    ),
    Remedy(
        'Pass what init returned: {"params": ...}.',
        lambda: from_torch(nn.Dense(4), ONES, variables=[ONES]),
        lambda: from_torch(nn.Dense(4), ONES, variables=DENSE),
    ),
    Remedy(
        "Pass the variables of a linen module as variables=, and load an abstract nnx module"
        " first.",
        lambda: to_torch(nn.Dense(4), inputs=[X]),
        lambda: to_torch(nn.Dense(4), variables=from_torch(nn.Dense(4), ONES, inputs=[X])),
    ),
    Remedy(
        "Read a file with load(path), or pass model.state_dict().",
        lambda: linear(str(files() / "one.safetensors")),
        lambda: linear(load(files() / "one.safetensors")),
    ),
]
ELSEWHERE = ["torch.save writes such archives. Load it with torch.load"]  # PyTorch isn't installed


@pytest.mark.parametrize("remedy", REMEDIES, ids=lambda r: r.words[:40])
def test_a_remedy_works(remedy):
    hints.try_remedy(remedy)


def test_every_hint_has_a_remedy():
    found = hints.hints_in(SOURCES)
    assert hints.untried(found, REMEDIES, ELSEWHERE) == []
    assert hints.unknown(found, [*(remedy.words for remedy in REMEDIES), *ELSEWHERE]) == []
