"""Variables of nnx on a mesh: nnx_mesh.py, in a process that has eight devices."""

import os
import subprocess
import sys
from pathlib import Path


def test_on_eight_devices():
    checks = Path(__file__).with_name("nnx_mesh.py")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-rA", str(checks)],
        env={**os.environ, "JAX_NUM_CPU_DEVICES": "8", "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
