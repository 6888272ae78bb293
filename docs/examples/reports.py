"""Reports of the programs that load a checkpoint: its size, and how outputs and tensors compare."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from linnet import nnx


def print_size(model: nnx.Module, name: str, note: str = "") -> None:
    """How many parameters the model called `name` has."""
    count = sum(x.size for x in jax.tree.leaves(nnx.state(model, nnx.Param)))
    print(f"loaded     {name}, {count:,} parameters{note}")


def expected_of(folder: Path) -> Mapping[str, np.ndarray]:
    """PyTorch's arrays, by name: `in.` and `out.` arrays; empty if the folder has none."""
    file = folder / "expected.npz"
    return np.load(file) if file.exists() else {}


def print_difference(found: Any, expected: np.ndarray, what: str = "logits     differ") -> None:
    """The largest difference between an output and PyTorch's."""
    print(f"{what} by {np.abs(found - expected).max():.1e} from PyTorch's")


def print_outputs(compute: Callable[..., jax.Array], words: int, folder: Path, seed: int) -> None:
    """The first outputs for two texts, which are PyTorch's if the folder has them, else random.

    Args:
      compute: takes tokens and a mask, both int [2, T], and returns an array [2, ...].
      words: the size of the vocabulary.
      folder: the folder of the checkpoint.
      seed: the seed of random texts.
    """
    tokens = np.random.default_rng(seed).integers(1, words, (2, 12))
    is_real = np.ones((2, 12), int)
    if torch := expected_of(folder):
        tokens, is_real = torch["in.input_ids"], torch["in.attention_mask"]
    found = compute(tokens, is_real)
    if torch:
        print_difference(found, torch["out.logits"])
    for row in np.asarray(found).reshape(len(tokens), -1):
        print("a text    ", " ".join(f"{x:7.3f}" for x in row[:8]))


def print_kept(back: Mapping[str, Any], tensors: Mapping[str, Any]) -> None:
    """How many of a checkpoint's tensors have the same bits in what `to_torch` returned."""
    kept = sum(x.tobytes() == np.asarray(tensors[name]).tobytes() for name, x in back.items())
    print(f"back       {kept} of {len(tensors)} tensors as they were")
