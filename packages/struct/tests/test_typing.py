"""What mypy and pyright know about dataclasses: the constructor's fields, and `replace`."""

import json
import re
import subprocess
import sys

import pytest

# A line that a checker must reject ends in "# bad"; `reveal_type` names the types.
PROGRAM = """
from collections.abc import Callable
from typing import Any, reveal_type

from linnet import struct
from linnet.struct import FrozenDict, freeze, serialization

@struct.dataclass
class Decorated:
    x: int
    f: Callable[[int], int] = struct.field(pytree_node=False, default=abs)
    names: list[str] = struct.field(default_factory=list)

@struct.dataclass(kw_only=True)
class Keyword:
    x: int

class Node(struct.PyTreeNode):
    x: int
    tag: str = struct.field(pytree_node=False, default="t")

class Sub(Node, kw_only=True):
    y: float = 0.0

Decorated(1)
Decorated(1, f=abs, names=["a"])
Decorated("1")  # bad
Decorated(1, g=abs)  # bad
Decorated()  # bad
Decorated(1).x = 2  # bad
Keyword(x=1)
Keyword(1)  # bad
Node(1, "u")
Node("1")  # bad
Node(1).x = 2  # bad
Sub(1, y=2.0)
Sub(1, "t", 2.0)  # bad
Node(1).replace(1)  # bad

reveal_type(Decorated(1))  # Decorated
reveal_type(Decorated(1).names)  # list[str]
reveal_type(Node(1).replace(x=2))  # Node
reveal_type(Sub(1).replace(y=2.0).y)  # float
reveal_type(freeze({"a": 1}))  # FrozenDict[str, int]
reveal_type(FrozenDict({"a": 1})["a"])  # int
reveal_type(FrozenDict(a=1))  # FrozenDict[str, Any]
reveal_type(FrozenDict({"a": 1}).copy({"b": 2}))  # FrozenDict[str, int]
reveal_type(serialization.to_bytes({}))  # bytes

class Bad(struct.PyTreeNode):
    x: int = struct.field(default="text")  # bad
"""

LINES = PROGRAM.splitlines()
REFUSED = {i for i, line in enumerate(LINES, 1) if line.endswith("# bad")}
REVEALED = {i: line.split("# ")[1] for i, line in enumerate(LINES, 1) if "reveal_type(" in line}


def plain(name):
    """The name of a type without the modules and the quotes around its parts."""
    return re.sub(r"(\w+\.)+", "", name.strip('"'))


def test_mypy(tmp_path):
    api = pytest.importorskip("mypy.api")
    (tmp_path / "program.py").write_text(PROGRAM)
    # jax and numpy are not read: that takes seconds, and it is this package that is checked.
    (tmp_path / "mypy.ini").write_text(
        "[mypy]\nstrict = true\n"
        "[mypy-jax.*,numpy.*,jax,numpy]\nfollow_imports = skip\nfollow_imports_for_stubs = true\n"
        "[mypy-linnet.*]\nignore_errors = true\n"
    )
    out, err, _ = api.run(
        [
            f"--config-file={tmp_path / 'mypy.ini'}",
            f"--cache-dir={tmp_path / 'cache'}",
            "--no-error-summary",
            str(tmp_path / "program.py"),
        ]
    )
    assert err == ""
    errors, notes = set(), {}
    for line in out.splitlines():
        number, kind, text = re.fullmatch(r".*?:(\d+): (error|note): (.*)", line).groups()
        if kind == "error":
            errors.add(int(number))
        elif found := re.search(r'type is "(.*)"', text):
            notes[int(number)] = plain(found[1])
    assert errors == REFUSED, out
    assert notes == REVEALED


def test_pyright(tmp_path):
    # The wheel of basedpyright has the program; the package pyright downloads it on its first run.
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
            notes[number] = plain(re.search(r'is "(.*)"', found["message"])[1])
    assert errors == REFUSED, run.stdout
    assert notes == REVEALED
