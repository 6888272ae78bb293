"""What type checkers know of modules: a constructor's fields, and what a call returns."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

# Behind each line that a checker must refuse stands "# bad"; types are named by `reveal_type`.
PROGRAM = """
from typing import reveal_type

import jax
import linnet.linen as nn

nn.Dense(3, True, None, jax.numpy.float32, "highest")
nn.Dense(3, kernel_init=nn.initializers.ones, dot_general=jax.lax.dot_general, name="head")
nn.Conv(8, (3, 3), padding=((1, 2), (0, 1)), strides=2)
nn.DenseGeneral((3, 4), axis=(-2, -1))
nn.Dropout(0.5, deterministic=True)
nn.Dense()  # bad
nn.Dense("3")  # bad
nn.Dense(fetures=3)  # bad
nn.Dense(3, use_bias="no")  # bad
nn.Conv(3)  # bad
nn.Embed(10)  # bad

class MLP(nn.Module):
    hidden: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        reveal_type(nn.Dense(self.hidden)(x))  # Array
        reveal_type(nn.max_pool(x, (2, 2)))  # Array
        return nn.softmax(nn.Dense(10)(nn.relu(x)))

MLP(hidden=3)
MLP(hiden=3)  # bad
reveal_type(MLP(3))  # MLP
reveal_type(nn.Dense(3))  # Dense
reveal_type(nn.Dense(3).features)  # int

from linnet import nnx

rngs = nnx.Rngs(0)
layer = nnx.Linear(3, 4, rngs=rngs)
reveal_type(layer)  # Linear
reveal_type(layer.in_features)  # int
reveal_type(layer(jax.numpy.ones((2, 3))))  # Array
reveal_type(nnx.relu(jax.numpy.ones(3)))  # Array
reveal_type(nnx.nn.linear.Embed(3, 4, rngs=rngs).attend(jax.numpy.ones(4)))  # Array
nnx.Conv(3, 4, kernel_size=(3, 3), padding=((1, 2), 0), kernel_metadata={"a": 1}, rngs=rngs)
nnx.LinearGeneral((3, 4), 5, axis=(-2, -1), batch_axis={0: 2}, rngs=rngs)
nnx.Dropout(0.5, rngs=rngs, broadcast_dims=(1,))
nnx.LoRA(3, 2, 4, base_module=layer, kernel=3, rngs=rngs)  # bad
nnx.Linear(3, 4)  # bad
nnx.Linear(3, rngs=rngs)  # bad
nnx.Linear(3, 4, use_bias="no", rngs=rngs)  # bad
nnx.Linear(3, 4, fetures=3, rngs=rngs)  # bad
nnx.Linea(3, 4, rngs=rngs)  # bad

@nnx.jit
def predict(model: nnx.Linear, x: jax.Array) -> jax.Array:
    return model(x)

@nnx.jit(donate_argnums=0)
def donating(model: nnx.Linear, x: jax.Array) -> jax.Array:
    return model(x)

@nnx.remat(static_argnums=1)
def cheap(model: nnx.Linear, times: int) -> jax.Array:
    return model(jax.numpy.ones(3)) * times

def loss(model: nnx.Linear, x: jax.Array) -> tuple[jax.Array, int]:
    return model(x).sum(), 3

class Block(nnx.Module):
    @nnx.jit
    def __call__(self, x: jax.Array) -> jax.Array:
        return x

    @nnx.vmap(in_axes=(None, 0))
    def rows(self, x: jax.Array) -> jax.Array:
        return x

x = jax.numpy.ones((2, 3))
reveal_type(predict(layer, x))  # Array
reveal_type(donating(layer, x))  # Array
reveal_type(cheap(layer, 2))  # Array
reveal_type(nnx.vmap(predict, in_axes=(None, 0))(layer, x))  # Array
reveal_type(nnx.value_and_grad(loss, has_aux=True)(layer, x)[0][1])  # int
reveal_type(Block()(x))  # Array
reveal_type(Block().rows(x))  # Array
predict.lower(layer, x)
predict(3)  # bad
donating(layer)  # bad
cheap(layer, "twice")  # bad
nnx.grad(loss)(3, x)  # bad
nnx.jit(predict, donate_argnum=0)  # bad
Block()(3)  # bad

param = nnx.Param(x)
reveal_type(param.value)  # Array
reveal_type(param + x)  # Array
reveal_type(x @ param)  # Array
reveal_type(2 * param)  # Array
reveal_type(-param)  # Array
reveal_type(nnx.List([Block()])[0])  # Block
reveal_type(nnx.merge(*nnx.split(layer)))  # Linear
reveal_type(nnx.clone(layer))  # Linear
reveal_type(nnx.state(layer))  # State

reveal_type(nn.remat(nn.Dense)(3))  # Dense
reveal_type(nn.vmap(MLP, variable_axes={"params": 0})(hidden=3))  # MLP
nn.vmap(nn.Dense)(features="3")  # bad
nn.jit(MLP)(hiden=3)  # bad
"""

LINES = list(enumerate(PROGRAM.splitlines(), start=1))
REFUSED = {number for number, line in LINES if line.endswith("# bad")}
REVEALED = {n: line.split("# ")[1] for n, line in LINES if "reveal_type(" in line}


def plain(name: str) -> str:
    """The last part of a dotted name."""
    return name.rsplit(".", 1)[-1]


def test_mypy(tmp_path: Path) -> None:
    api = pytest.importorskip("mypy.api")
    (tmp_path / "program.py").write_text(PROGRAM)
    (tmp_path / "mypy.ini").write_text(
        "[mypy]\nstrict = true\n[mypy-linnet.*]\nignore_errors = true"
    )
    # Where all runs share a cache, jax is read but once.
    cache = Path(__file__).parents[3] / ".mypy_cache"
    out, err, _ = api.run(
        [
            f"--config-file={tmp_path / 'mypy.ini'}",
            f"--cache-dir={cache}",
            "--no-error-summary",
            str(tmp_path / "program.py"),
        ]
    )
    assert err == ""
    errors, notes = set(), {}
    for line in out.splitlines():
        found = re.fullmatch(r".*?:(\d+): (error|note): (.*)", line)
        assert found, line
        if found[2] == "error":
            errors.add(int(found[1]))
        elif revealed := re.search(r'type is "(.*)"', found[3]):
            notes[int(found[1])] = plain(revealed[1])
    assert errors == REFUSED, out
    assert notes == REVEALED


def test_pyright(tmp_path: Path) -> None:
    # Pyright with its program in the wheel: the package pyright would fetch it in its first run.
    pytest.importorskip("basedpyright")
    (tmp_path / "program.py").write_text(PROGRAM)
    (tmp_path / "pyrightconfig.json").write_text('{"typeCheckingMode": "standard"}')
    command = [sys.executable, "-m", "basedpyright", "--outputjson"]
    run = subprocess.run(
        [*command, f"--pythonpath={sys.executable}", "program.py"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
    )
    errors, notes = set(), {}
    for found in json.loads(run.stdout)["generalDiagnostics"]:
        number = found["range"]["start"]["line"] + 1
        if found["severity"] == "error":
            errors.add(number)
        elif found["severity"] == "information":
            notes[number] = plain(found["message"].split('is "')[1].rstrip('"'))
    assert errors == REFUSED, run.stdout
    assert notes == REVEALED
