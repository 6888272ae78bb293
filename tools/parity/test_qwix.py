"""qwix, a library that quantizes and adapts Flax models, gives the same numbers for Linnet's.

It depends on internals of both libraries: it changes the class of modules, wraps their methods
again, asks which module is running, replaces jax's functions and `promote_dtype` with its own, and
finds parameters by the identity of their arrays.
"""

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from parity import qwix_programs

PROGRAMS = Path(qwix_programs.__file__)


def results(library):
    """The numbers of each program. They run in one process, which imports one of the libraries."""
    command = [sys.executable, str(PROGRAMS), library]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    lines = map(json.loads, done.stdout.splitlines())
    return {line["program"]: line["shown"] for line in lines}


def test_the_same_numbers():
    with ThreadPoolExecutor() as pool:
        found, expected = pool.map(results, ("linnet", "flax"))
    assert list(found) == list(expected) == list(qwix_programs.PROGRAMS)
    for name, shown in found.items():
        known = expected[name]
        assert list(shown) == list(known), name
        for path, (dtype, values) in shown.items():
            of, where = known[path], f"{name}: {path}"
            assert dtype == of[0], where
            np.testing.assert_allclose(values, of[1], rtol=1e-6, atol=1e-6, err_msg=where)
    for name in ("linen_ptq", "nnx_ptq"):
        assert "int8" in [dtype for dtype, _ in found[name].values()], name
    for name in ("linen_lora", "linen_qlora"):
        assert any("lora" in path for path in found[name]), name
