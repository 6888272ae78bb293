"""Training on a mesh, in processes that have eight devices."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize(
    "name", ["sharded_training.py", "nnx_sharded_training.py", "explicit_mesh.py"]
)
def test_on_eight_devices(name):
    checks = Path(__file__).with_name(name)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-rA", str(checks)],
        env={**os.environ, "JAX_NUM_CPU_DEVICES": "8", "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
    )
    reason = re.search(r"^SKIPPED \[1\] .*?:\d+: (.*)$", done.stdout, re.MULTILINE)
    if done.returncode == pytest.ExitCode.NO_TESTS_COLLECTED and reason:
        pytest.skip(reason[1])
    assert done.returncode == 0, done.stdout + done.stderr
