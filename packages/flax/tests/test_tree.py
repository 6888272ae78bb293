"""The tree of modules: where each name is, and which modules importing the tree loads."""

import subprocess
import sys

import linnet.flax


def test_the_version_is_that_of_flax():
    assert linnet.flax.__version__ == linnet.flax.version.__version__ == "0.12.8"


def test_importing_loads_no_style():
    code = (
        "import sys, linnet.flax\n"
        "print(*{'linnet.linen', 'linnet.nnx', 'flax'}.intersection(sys.modules))"
    )
    result = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    assert result.stdout.split() == []
