"""The packages use only jax's public names: a name with an underscore may be gone tomorrow.

ruff rejects imports of jax's private modules. This file finds what is reached through attributes,
such as `jax.numpy._name`.
"""

import ast
from pathlib import Path

import pytest

import workspace

FOREIGN = {"jax", "jaxlib", "numpy"}

# Also private, though without an underscore, according to jax's documentation.
PRIVATE_MODULES = {"jax.interpreters", "jaxlib"}


def private_names(source):
    """The names of jax and NumPy in a program that begin with an underscore, with their lines."""
    tree = ast.parse(source)
    bound = dict(bindings(tree))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Attribute):
            root, *attributes = ast.unparse(node).split(".")
            names = [".".join([bound[root], *attributes])] if root in bound else []
        else:
            continue
        for name in names:
            if name.split(".")[0] in FOREIGN and is_private(name):
                yield f"line {node.lineno}: {name}"


def bindings(tree):
    """The modules that local names of jax and NumPy refer to: `jnp` for `jax.numpy`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split(".")[0] in FOREIGN:
                    root = alias.name if alias.asname else alias.name.split(".")[0]
                    yield alias.asname or root, root
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in FOREIGN:
            for alias in node.names:
                yield alias.asname or alias.name, f"{node.module}.{alias.name}"


def is_private(name):
    parts = name.split(".")
    underscored = any(p.startswith("_") and not p.startswith("__") for p in parts)
    return underscored or any(".".join(parts[:n]) in PRIVATE_MODULES for n in (1, 2))


@pytest.mark.parametrize("package", workspace.packages(), ids=lambda p: p.short_name)
def test_only_public_names(package):
    found = {
        path.relative_to(package.folder).as_posix(): names
        for path in package.modules
        if (names := list(private_names(Path(path).read_text("utf-8"))))
    }
    assert not found, f"{package.name} uses private names: {found}"


@pytest.mark.parametrize(
    ("program", "found"),
    [
        ("import jax\njax._src.core.trace_ctx", "line 2: jax._src"),
        ("import jax.numpy as jnp\njnp._promote(1)", "line 2: jax.numpy._promote"),
        ("from jax import numpy as jnp\njnp._promote", "line 2: jax.numpy._promote"),
        ("from jax._src import core", "line 1: jax._src.core"),
        ("import jaxlib.xla_client", "line 1: jaxlib.xla_client"),
        ("import jax.interpreters.ad", "line 1: jax.interpreters.ad"),
        ("from numpy import _core", "line 1: numpy._core"),
    ],
)
def test_private_names_are_found(program, found):
    assert any(name.startswith(found) for name in private_names(program))


@pytest.mark.parametrize(
    "program", ["import jax\njax.__version__", "import os\nos._exit(0)", "self._x.jax._y"]
)
def test_others_are_let_be(program):
    assert not list(private_names(program))
