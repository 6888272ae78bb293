"""Pages for contributors and reporters: their names, figures and promises hold."""

import dataclasses
import os
import re
import shutil
import subprocess
import sys

import pytest

import generate
import workspace

yaml = pytest.importorskip("yaml")

CONTRIBUTING = (workspace.ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")

# Takes bytes that were cut and damaged, while Python reports whatever is run, opened or imported.
LOADING = """
import random, sys
import jax, jax.numpy as jnp, numpy as np
from linnet.struct import serialization

tree = {"a": jnp.ones((2, 3), "bfloat16"), "b": [1, 2.5, 1j, "x", b"y", None, True],
        "key": jax.random.key(0), "scalar": np.float16(3)}
encoded = serialization.to_bytes(tree)
reported, listening = [], False
sys.addaudithook(lambda name, args: reported.append((name, args)) if listening else None)

def load(data):
    try:
        serialization.msgpack_restore(data)
    except serialization.InvalidBytesError:
        return False
    return True

load(encoded), load(encoded[:-1])  # what is imported the first time
rng, loaded, listening = random.Random(0), 0, True
for _ in range(3000):
    data = bytearray(encoded)
    for _ in range(rng.randint(0, 3)):
        data[rng.randrange(len(data))] = rng.randrange(256)
    loaded += load(bytes(data[: rng.choice([len(data), rng.randrange(len(data))])]))
listening = False
assert 300 < loaded < 2700, loaded
assert not reported, reported
"""


def test_loading_runs_nothing():
    """The promise of SECURITY.md."""
    subprocess.run([sys.executable, "-c", LOADING], check=True)


def test_the_citation_is_of_the_version_here():
    citation = yaml.safe_load((workspace.ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    package = workspace.find("linnet")
    assert citation["version"] == package.version
    settings = workspace.project(package.folder)["project"]
    assert citation["authors"] == settings["authors"]
    assert citation["license"] == settings["license"]


def test_links_lead_somewhere():
    for name in ("CONTRIBUTING.md", "SECURITY.md"):
        text = (workspace.ROOT / name).read_text(encoding="utf-8")
        for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", text):
            assert (workspace.ROOT / target).exists(), (name, target)


@pytest.mark.parametrize("package", workspace.packages(), ids=lambda p: p.short_name)
def test_readmes_are_one_family(package):
    text = (package.folder / "README.md").read_text(encoding="utf-8")
    assert text.startswith(f"# {package.name}\n")
    headings = re.findall(r"^## (.*)$", text, re.MULTILINE)
    assert headings[:2] == ["Install", "Use"]
    assert text.count("\n>>> ") > 3
    assert not re.findall(r"\]\((?!https://)", text), "leads nowhere on PyPI"


def test_pins_are_the_ranges_that_siblings_declare():
    declared = {name: r for p in workspace.packages() for name, r in p.siblings.items()}
    assert declared
    for name, requirement in declared.items():
        text = (workspace.find(name).folder / "README.md").read_text(encoding="utf-8")
        assert f"| pin | `{requirement}`" in text


def blocks():
    """The blocks of CONTRIBUTING.md, each with the files most recently named before it."""
    found = []
    for text, block in re.findall(r"(.*?)```python\n(.*?)```", CONTRIBUTING, re.DOTALL):
        *_, paragraph = text.strip().split("\n\n")
        found.append((re.findall(r"`((?:src|tests)/\S+\.py)`", paragraph), block))
    return found


def test_the_layer_that_contributing_adds_is_complete(tmp_path):
    """Adds the page's code blocks to a copy of the package, and its row at the end of the table."""
    package = workspace.find("layers-linear")
    original = package.folder
    folder = tmp_path / original.relative_to(workspace.ROOT)
    shutil.copytree(original, folder)
    new = []
    for names, block in blocks():
        assert names, block
        for name in names:
            path = folder / name
            if not path.exists():
                new.append(path)
                path.write_text(block, encoding="utf-8")
                continue
            text = path.read_text(encoding="utf-8")
            if block.startswith(" "):
                assert text.endswith("\n]\n")
                path.write_text(text[:-2] + block + "]\n", encoding="utf-8")
            else:
                path.write_text(f"{text}\n\n{block}", encoding="utf-8")
    assert len(new) == 3
    places = {name for names, _ in blocks() for name in names}
    assert len(places | {"CHANGELOG.md"}) <= 10
    row = "| `LayerScale` | `LayerScale` | `layer_scale` | LayerScale ([Touvron et al. 2021]("
    assert row in generate.layers(dataclasses.replace(package, folder=folder))
    tests = ["test_contract.py", "test_nnx_contract.py", "test_values.py"]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--doctest-modules"]
    command += [f"--basetemp={tmp_path / 'own'}"]
    command += [f"--config-file={workspace.ROOT / 'pyproject.toml'}", f"--rootdir={tmp_path}"]
    command += ["-k", "LayerScale or layer_scale", *map(str, new)]
    command += [str(folder / "tests" / name) for name in tests]
    searched = os.pathsep.join([str(folder / "src"), str(workspace.ROOT / "tools")])
    done = subprocess.run(
        command,
        cwd=tmp_path,  # the folder in which the tests find their tables
        env={**os.environ, "PYTHONPATH": searched},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (passed,) = re.findall(r"(\d+) passed", done.stdout)
    assert int(passed) > 30, done.stdout
