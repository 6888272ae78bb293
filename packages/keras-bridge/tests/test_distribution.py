"""Training with data or weights divided among 8 devices: the same numbers as on one."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np

PROGRAM = Path(__file__).parent / "distributed.py"


def test_data_and_model_parallel():
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
    numbers = [line for line in printed if not line.startswith("divided")]
    third = len(numbers) // 3
    alone, *others = [numbers[i * third : (i + 1) * third] for i in range(3)]
    assert [alone[0], *(other[0] for other in others)] == ["devices 1", "devices 8", "devices 8"]
    assert len(alone) > 8
    for other in others:
        for a, b in zip(alone[1:], other[1:], strict=True):
            np.testing.assert_allclose(
                np.array(a.split(), float), np.array(b.split(), float), atol=2e-3
            )
    divided = {line.split(maxsplit=2)[1] for line in printed if line.startswith("divided")}
    weights = {path for path in divided if "momentum" not in path}
    assert weights == {
        "flax_layer/params/kernel",
        "sequential/flax_layer_2/params/Dense_0/kernel",
        "sequential/flax_layer_2/params/Dense_1/kernel",
        "nnx_layer/layers/0/kernel",
        "nnx_layer/layers/1/kernel",
    }
    assert len(divided - weights) == 5  # the momentum of each
