"""Code within the sentences and tables of pages names existing objects; expressions run.

Blocks are run by `test_docs_blocks`. A name such as `nnx.view` in a sentence is looked up here, and
in the tables of the pages for people who come from other libraries, each piece of code in the
columns for Linnet is executed: in the linen column within a module, so that `self.param(...)` runs.
If an argument is `...`, only the function and its keywords are checked.
"""

import ast
import importlib
import importlib.util
import inspect
import re
from functools import cache
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

import linnet.linen as nn
from linnet import nnx, traverse_util

DOCS = Path(__file__).parents[2] / "docs"
SPAN = re.compile(r"`([^`\n]+)`")
NAME = re.compile(r"(?<![\w.`/-])(?:nn|nnx|jax|jnp|optax|linnet)(?:\.[A-Za-z_]\w*)+(?!\w|-)")
CELL = re.compile(r"(?<!\\)\|")
ROOTS = {"nn": "linnet.linen", "nnx": "linnet.nnx", "jnp": "jax.numpy"}
TABLES = sorted(
    p for p in DOCS.glob("guides/from_*.md") if "## What is called what" in p.read_text()
)
HAS_OPTAX = importlib.util.find_spec("optax") is not None
# Pages about names that Linnet does not have.
ABOUT_OTHERS = ("differences.md", "clients.md", "design/nnx_dispatch.md", "design/packages.md")


def spans(page):
    """The code within sentences, without what other libraries call it (a table's first column)."""
    text = page.read_text(encoding="utf-8")
    text = re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S)
    others = page.name.startswith("from_") or page.name == "torch_weights.md"
    for line in text.splitlines():
        if others and line.startswith("|"):
            line = "|".join(CELL.split(line)[2:])
        yield from SPAN.findall(line)


def resolve(name):
    """The object of a dotted name, whose first parts may be modules that are not imported yet."""
    root, *parts = name.split(".")
    found, path = importlib.import_module(ROOTS.get(root, root)), ROOTS.get(root, root)
    for part in parts:
        path = f"{path}.{part}"
        try:
            found = getattr(found, part)
        except AttributeError:
            found = importlib.import_module(path)
    return found


PAGES = [p for p in sorted(DOCS.rglob("*.md")) if str(p.relative_to(DOCS)) not in ABOUT_OTHERS]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(DOCS).as_posix())
def test_named_things_exist(page):
    missing = []
    for name in {name for span in spans(page) for name in NAME.findall(span)}:
        if name.startswith("linnet.keras_bridge") or (name.startswith("optax.") and not HAS_OPTAX):
            continue  # the first asks for a backend when it is imported
        if name.startswith("jax.") and jax.__version_info__ < (0, 10):
            continue  # pages also mention what newer versions have
        try:
            resolve(name)
        except AttributeError as error:
            missing.append(f"{name}: {error}")
        except ModuleNotFoundError as error:
            if name.startswith(str(error.name)):  # and not what the module itself needs
                missing.append(f"{name}: {error}")
    assert not missing


# Tables of names.


class Stateful(nnx.Module):
    def __init__(self, *, rngs):
        self.layer = nnx.Linear(4, 4, rngs=rngs)

    def __call__(self, x):
        return self.layer(x)


class Block(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Dense(4)(x)


class StatefulBlock(nnx.Module):
    def __init__(self, width, *, rngs):
        self.dense = nnx.Linear(width, width, rngs=rngs)


@cache
def names():
    """The names that the tables assume, in both columns."""
    x = jnp.ones((2, 4))
    modules = {
        "nn": nn,
        "nnx": nnx,
        "jax": jax,
        "jnp": jnp,
        "optax": importlib.import_module("optax"),
    }
    floats = {"x": x, "batch": x, "logits": x, "targets": x, "state": x, "value": jnp.ones((4, 4))}
    inputs = {
        "xs": jnp.ones((2, 3, 4)),
        "image": jnp.ones((2, 4, 4, 1)),
        "labels": jnp.zeros(2, int),
    }
    options = {"n": 4, "d": 4, "h": 4, "heads": 2, "rate": 0.1, "train": False, "name": "name"}
    param = {"init": nn.initializers.zeros, "shape": (4,), "dtype": jnp.float32}
    others = {"key": jax.random.key(0), "flatten_dict": traverse_util.flatten_dict}
    return modules | floats | inputs | options | param | others


@cache
def stateful_names():
    known = dict(names())
    model, tx = Stateful(rngs=nnx.Rngs(0)), known["optax"].sgd(0.1)

    def loss(model):
        return jnp.sum(model(known["x"]) ** 2)

    known.update(model=model, rngs=nnx.Rngs(0), tx=tx, state=nnx.state(model))
    known.update(loss=loss, loss_fn=loss, grads=nnx.grad(loss)(model))
    known.update(optimizer=nnx.Optimizer(model, tx, wrt=nnx.Param))
    return known | {"Block": StatefulBlock, "Layer": StatefulBlock}


@cache
def linen_names():
    known, model = dict(names()), Block()
    variables = model.init(known["key"], known["x"])

    def loss(params):
        return jnp.sum(model.apply({"params": params}, known["x"]) ** 2)

    known.update(model=model, linen_model=model, apply=model.apply, loss=loss, linen_loss=loss)
    known.update(variables=variables, params=variables["params"], optimizer=known["optax"].sgd(0.1))
    return known | {"Block": Block}


def execute(code, namespace):
    """Runs a piece of code, or checks the rest of it if something is left out."""
    tree = ast.parse(code)
    if NAME.fullmatch(code):
        resolve(code)
    elif any(isinstance(n, ast.Constant) and n.value is ... for n in ast.walk(tree)):
        for call in (n for n in ast.walk(tree) if isinstance(n, ast.Call)):
            target = eval(ast.unparse(call.func), namespace)
            known = inspect.signature(target).parameters
            anything = any(p.kind is p.VAR_KEYWORD for p in known.values())
            unknown = {k.arg for k in call.keywords} - set(known)
            assert anything or not unknown, f"{code}: {unknown}"
    else:
        exec(compile(tree, code, "exec"), namespace)


class Probe(nn.Module):
    """Runs a piece of code in its call."""

    code: str

    @nn.compact
    def __call__(self):
        execute(self.code, linen_names() | {"self": self})


def rows(page):
    """Code in the columns for Linnet, with the style whose column it is in."""
    section = page.read_text(encoding="utf-8").split("## What is called what")[1].split("\n## ")[0]
    lines = [CELL.split(line)[1:-1] for line in section.splitlines() if line.startswith("|")]
    styles = ["linen" if "linen" in head else "nnx" for head in lines[0][1:]]
    for cells in lines[2:]:
        for style, cell in zip(styles, cells[1:], strict=True):
            for code in SPAN.findall(cell):
                if not code.lstrip("@").isidentifier():
                    yield style, code.lstrip("@")


@pytest.mark.skipif(not HAS_OPTAX, reason="the tables use optax")
@pytest.mark.parametrize("page", TABLES, ids=lambda page: page.stem)
def test_tables_of_names(page, capsys):
    failed = []
    linen_names()  # made here, and not within a module's call
    for style, code in rows(page):
        keys = {"params": jax.random.key(0), "dropout": jax.random.key(1)}
        try:
            if style == "nnx":
                execute(code, dict(stateful_names()))
            else:
                Probe(code).init(keys)
        except Exception as error:
            failed.append(f"{code}: {type(error).__name__}: {error}".splitlines()[0])
    assert not failed


def test_tables_are_found():
    assert {"from_equinox", "from_haiku", "from_pytorch", "from_keras"} <= {p.stem for p in TABLES}
    assert all(len(list(rows(page))) > 10 for page in TABLES)


@pytest.mark.parametrize(
    "code", ["nnx.Linear(2, 3)", "nnx.Linear(..., rng=1)", "nnx.linear", "model.step()"]
)
def test_wrong_code_is_found(code):
    with pytest.raises((AssertionError, AttributeError, ImportError, TypeError)):
        execute(code, dict(stateful_names()))
