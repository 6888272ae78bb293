"""The examples in Flax's docstrings, run on Linnet.

They are collected from the installed Flax when the tests run, with its names exchanged for ours;
no part of them is stored here. An example that passes doctest on Flax has to pass on Linnet, with
the same output. One that fails on Flax itself (because it is out of date, or needs something that
isn't installed) is skipped.
"""

import doctest
import importlib
import inspect
import io
import pkgutil
import re
import warnings

import pytest

import linnet.linen
import linnet.nnx
import linnet.struct

# Linnet's counterparts of the Flax modules that examples import.
PLACES = {
    "flax.linen": "linnet.linen",
    "flax.nnx": "linnet.nnx",
    "flax.struct": "linnet.struct",
    "flax.core": "linnet.struct",
    "flax.traverse_util": "linnet.struct.traverse_util",
    "flax.serialization": "linnet.struct.serialization",
    "flax.errors": "linnet.module_core.errors",
    "flax.typing": "linnet.module_core.typing",
    "flax.configurations": "linnet.module_core.config",
}

ROOTS = ("linen", "nnx", "struct", "traverse_util", "serialization", "core")
# The text of an error is the library's own.
FLAGS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS | doctest.IGNORE_EXCEPTION_DETAIL

DIFFERENT = {
    "linen.kw_only_dataclasses": "prints a signature; ours says what the constructor returns",
    "nnx.deprecations.deprecated": "a tool for Flax's own deprecations",
    "nnx.module.view_info": "prints docstrings, which are our own",
    "nnx.pytreelib.is_data": "a list or dict that holds arrays is data: it may be an attribute",
    "nnx.rnglib.Rngs": "prints an error's message, which says more",
    "nnx.training.ema.EMA.apply_to": "a copy shares no arrays with the original",
    "nnx.training.metrics.MultiMetric": "attributes print in the order in which they were set",
}
"""Examples that differ on purpose, by the name of what they document, with the reason."""


def modules(name):
    """A module and everything below it that can be imported."""
    root = importlib.import_module(name)
    yield root
    for found in pkgutil.walk_packages(getattr(root, "__path__", ()), f"{name}."):
        try:
            yield importlib.import_module(found.name)
        except ImportError:  # an extra that isn't installed
            continue


def collected():
    """Every docstring with examples, once, by the name of what it documents."""
    finder = doctest.DocTestFinder(exclude_empty=True)
    tests = {}
    seen = set()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some parts are deprecated
        found = [
            test
            for root in ROOTS
            for module in modules(f"flax.{root}")
            for test in finder.find(module, globs={})
        ]
    for test in found:
        if test.examples and test.docstring not in seen:
            seen.add(test.docstring)
            tests[test.name.removeprefix("flax.")] = test
    return tests


def ours(text):
    """Code or output with Flax's names exchanged for Linnet's."""
    text = re.sub(r"^(\s*)from flax import (.+)$", _imports, text, flags=re.MULTILINE)
    text = re.sub(r"^(\s*)import flax$", r"\1import linnet.linen, linnet.nnx, linnet.struct", text)
    for theirs in sorted(PLACES, key=len, reverse=True):
        text = re.sub(rf"\b{re.escape(theirs)}\b", PLACES[theirs], text)
    return text


def _imports(match):
    """`from flax import linen as nn, struct`, as imports of Linnet's modules."""
    lines = []
    for name in match[2].split(","):
        name, _, alias = name.strip().partition(" as ")
        place = PLACES.get(f"flax.{name}", f"flax.{name}")
        lines.append(f"import {place} as {alias or name}")
    return match[1] + "; ".join(lines)


def run(test, *, exchanged):
    """What doctest reports about an example; nothing if it passes."""
    change = ours if exchanged else str
    examples = [
        doctest.Example(
            change(e.source), change(e.want), e.exc_msg, e.lineno, e.indent, dict(e.options)
        )
        for e in test.examples
    ]
    known = {"linnet": linnet} if exchanged else {}
    copy = doctest.DocTest(examples, known, test.name, test.filename, test.lineno, None)
    said = io.StringIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        doctest.DocTestRunner(optionflags=FLAGS, verbose=False).run(copy, out=said.write)
    return said.getvalue()


EXAMPLES = collected()


@pytest.mark.parametrize("name", EXAMPLES)
def test_example(name):
    said = run(EXAMPLES[name], exchanged=True)
    if name in DIFFERENT:
        assert said, "it no longer differs: take it off the list"
        return
    if said and run(EXAMPLES[name], exchanged=False):
        pytest.skip("fails on Flax itself")
    if said:  # without the example itself
        pytest.fail(outcome(said), pytrace=False)


def outcome(said):
    """The last lines of doctest's report: the printed output, or the error that was raised."""
    return inspect.cleandoc("\n".join(said.rstrip().splitlines()[-6:]))


def test_there_are_examples_of_every_part():
    parts = {name.partition(".")[0] for name in EXAMPLES}
    assert {"linen", "nnx", "struct", "traverse_util"} <= parts


def test_what_differs_exists():
    assert set(DIFFERENT) <= set(EXAMPLES)
