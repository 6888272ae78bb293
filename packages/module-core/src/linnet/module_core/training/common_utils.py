"""Helpers for training loops: batches for `jax.pmap`, metrics of its replicas, one-hot labels.

`jax.pmap` maps over an axis that has one entry per device: here it is the first, and is called the
device axis.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from ..errors import ArgumentError, ShapeError

T = TypeVar("T")

__all__ = ["get_metrics", "onehot", "shard", "shard_prng_key", "stack_forest"]


def shard(xs: T) -> T:
    """Splits the first axis of each array in a tree over this process's devices.

    Args:
      xs: a tree of NumPy or jax arrays, [B, ...].

    Returns:
      The tree with arrays of [devices, B / devices, ...].

    Raises:
      ShapeError: an array's first axis cannot be split into equal parts.

    >>> shard({"image": np.zeros((8, 2))})["image"].shape == (jax.local_device_count(), 8, 2)
    True
    """
    devices = jax.local_device_count()

    def split(path: tuple[Any, ...], x: Any) -> Any:  # an array of any library
        x = x if hasattr(x, "reshape") else np.asarray(x)
        shape = tuple(x.shape)
        if shape and shape[0] % devices:
            raise ShapeError(
                f"shard: {jax.tree_util.keystr(path) or 'the array'} has shape {shape}; its first"
                f" axis cannot be split over {devices} devices.",
                hint="Drop the last elements, or pad them with `linnet.jax_utils.pad_shard_unpad`.",
            )
        return x.reshape((devices, -1, *shape[1:]))

    parts: T = jax.tree_util.tree_map_with_path(split, xs)
    return parts


def shard_prng_key(prng_key: jax.Array) -> jax.Array:
    """Splits a key into one for each device of this process, along the first axis."""
    return jax.random.split(prng_key, num=jax.local_device_count())


def stack_forest(forest: Sequence[T]) -> T:
    """Stacks a sequence of trees of the same structure, leaf by leaf, along a new first axis.

    Raises:
      ArgumentError: the sequence is empty.

    >>> stack_forest([{"loss": 1.0}, {"loss": 2.0}])["loss"].tolist()
    [1.0, 2.0]
    """
    if not forest:
        raise ArgumentError(
            "stack_forest: there are no trees to stack.",
            hint="Were any steps run before the metrics were collected?",
        )
    stacked: T = jax.tree.map(lambda *leaves: jnp.stack(leaves), *forest)
    return stacked


def get_metrics(device_metrics: Sequence[T]) -> T:
    """Collects the metrics of several steps that were computed by `jax.pmap`.

    Args:
      device_metrics: a tree for each step, whose arrays have equal entries along the device axis,
        as after `jax.lax.pmean`.

    Returns:
      One tree on the host; each array's first axis is the step.

    Raises:
      ArgumentError: there are no steps.
    """
    first = jax.tree.map(lambda x: x[0], device_metrics)
    metrics: T = stack_forest(jax.device_get(first))
    return metrics


def onehot(
    labels: jax.Array, num_classes: int, on_value: float = 1.0, off_value: float = 0.0
) -> jax.Array:
    """One-hot vectors in float32, along a new last axis.

    Args:
      labels: integers, [...]; one outside 0 to `num_classes` - 1 gives `off_value` everywhere.
      num_classes: the number of classes, C.
      on_value: the value at the label.
      off_value: the value everywhere else.

    Returns:
      [..., C].

    >>> onehot(jnp.array([0, 2]), 3, on_value=0.5).tolist()
    [[0.5, 0.0, 0.0], [0.0, 0.0, 0.5]]
    """
    labels = jnp.asarray(labels)
    chosen = labels[..., None] == jnp.arange(num_classes).reshape((1,) * labels.ndim + (-1,))
    values = lax.select(chosen, jnp.full(chosen.shape, on_value), jnp.full(chosen.shape, off_value))
    return values.astype(jnp.float32)
