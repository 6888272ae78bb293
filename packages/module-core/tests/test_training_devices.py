"""Training on several devices: training_devices.py, in a process that has four."""

import os
import subprocess
import sys
from pathlib import Path


def test_on_four_devices():
    checks = Path(__file__).with_name("training_devices.py")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-rA", str(checks)],
        env={**os.environ, "JAX_NUM_CPU_DEVICES": "4", "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
