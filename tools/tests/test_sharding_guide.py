"""docs/guides/sharding.md on as many devices as it is about; test_docs_blocks.py has one."""

import os
import subprocess
import sys
from pathlib import Path


def test_on_eight_devices():
    pages = Path(__file__).with_name("test_docs_blocks.py")
    chosen = ["-k", "test_page and sharding"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *chosen, str(pages)],
        env={**os.environ, "JAX_NUM_CPU_DEVICES": "8", "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed" in done.stdout
