"""Helpers of the programs in this folder: `show` prints and keeps numbers, `step` prints the time.

The runner compares the numbers that two runs of a program kept. A program that you start yourself
only prints.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

SHOWN: dict[str, np.ndarray] = {}
STARTED = float(os.environ.get("CLIENT_STARTED", time.time()))


def step() -> None:
    """Prints the time from the start of the command to this call, the end of the first step."""
    seconds = time.time() - STARTED
    print(f"first step after {seconds:.1f} s")
    _keep("seconds", np.array(seconds))


def show(name: str, tree: Any) -> None:
    """Prints a line for each array of a tree, and keeps it for the comparison.

    Numbers are kept in the widest type of their kind, which holds all of the others exactly.
    """
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        if isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            leaf = jax.random.key_data(leaf)
        array = np.asarray(leaf)
        kind = str(array.dtype)
        if jnp.issubdtype(array.dtype, jnp.floating):
            array = array.astype(np.float64)
        mean = array.astype(complex).mean() if array.size else np.nan
        label = f"{name}{jax.tree_util.keystr(path)}"
        print(f"{label}: {kind}{list(array.shape)}, mean {mean:.6g}")
        _keep(f"{label}: {kind}", array)


def _keep(name: str, array: np.ndarray) -> None:
    assert name not in SHOWN, f"{name} is shown twice"
    SHOWN[name] = array
    if result := os.environ.get("CLIENT_RESULT"):
        with Path(result).open("wb") as file:
            np.savez(file, **SHOWN)  # type: ignore[arg-type]  # names like its options are not used
