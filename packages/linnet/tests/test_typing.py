"""What type checkers know of modules: a constructor's fields, and what a call returns."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from importlib.util import find_spec
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
    if find_spec("pyright") is None:
        # It fetches a program from elsewhere when it first runs, so no session installs it.
        pytest.skip("pyright is not installed")
    (tmp_path / "program.py").write_text(PROGRAM)
    command = [sys.executable, "-m", "pyright", "--outputjson", f"--pythonpath={sys.executable}"]
    run = subprocess.run(
        [*command, "program.py"], capture_output=True, text=True, cwd=tmp_path, check=False
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
