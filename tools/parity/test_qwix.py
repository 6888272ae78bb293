"""qwix, a library that quantizes and adapts Flax's models, on Linnet's: the same numbers.

It depends on internals of both: it changes the class of modules, wraps their methods again, asks
which module is running, replaces jax's functions and `promote_dtype` with its own, and finds
parameters by the identity of their arrays.
"""

import functools
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from parity import qwix_programs

PROGRAMS = Path(qwix_programs.__file__)


@functools.cache
def results(library):
    """What each program shows, all in one process, which imports only one of the two libraries."""
    command = [sys.executable, str(PROGRAMS), library]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    lines = map(json.loads, done.stdout.splitlines())
    return {line["program"]: line["shown"] for line in lines}


@pytest.mark.parametrize("name", qwix_programs.PROGRAMS)
def test_the_same_numbers(name):
    ours, theirs = results("linnet")[name], results("flax")[name]
    assert list(ours) == list(theirs)
    for path, (dtype, values) in ours.items():
        assert dtype == theirs[path][0], path
        np.testing.assert_allclose(values, theirs[path][1], rtol=1e-6, atol=1e-6, err_msg=path)


@pytest.mark.parametrize("name", ["linen_ptq", "nnx_ptq"])
def test_it_is_quantized(name):
    assert "int8" in [dtype for dtype, _ in results("linnet")[name].values()]


@pytest.mark.parametrize("name", ["linen_lora", "linen_qlora"])
def test_it_is_adapted(name):
    assert any("lora" in path for path in results("linnet")[name])
