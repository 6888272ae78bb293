"""Training with the data divided among 8 devices: the same numbers as on one."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np

PROGRAM = Path(__file__).parent / "distributed.py"


def test_data_parallel():
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=8"
    environment = {**os.environ, "XLA_FLAGS": flags, "JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}
    finished = subprocess.run(
        [sys.executable, str(PROGRAM)],
        capture_output=True,
        text=True,
        check=False,
        env={**environment, "JAX_PLATFORMS": "cpu"},
    )
    assert finished.returncode == 0, finished.stderr
    printed = finished.stdout.splitlines()
    half = len(printed) // 2
    alone, divided = printed[:half], printed[half:]
    assert alone[0] == "devices 1"
    assert divided[0] == "devices 8"
    assert len(alone) > 8
    for a, b in zip(alone[1:], divided[1:], strict=True):
        np.testing.assert_allclose(
            np.array(a.split(), float), np.array(b.split(), float), atol=2e-3
        )
