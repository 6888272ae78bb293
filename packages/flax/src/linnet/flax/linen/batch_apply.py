"""The names of `flax.linen.batch_apply`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from linnet.linen.batch_apply import *  # noqa: F403


def ndim_at_least(x: ArrayLike, num_dims: int) -> bool:
    """Whether an array, or a number, has at least `num_dims` dimensions."""
    return bool(np.ndim(x) >= num_dims)


def arbitrary_mergeable_leaf(
    min_num_dims: int, args: Sequence[object], kwargs: Mapping[str, object]
) -> ArrayLike | None:
    """The first array among arguments with at least `min_num_dims` dimensions, or None."""
    leaves = jax.tree.leaves((tuple(args), dict(kwargs)))
    return next((x for x in leaves if ndim_at_least(x, min_num_dims)), None)


def merge_leading_dims(x: ArrayLike, num_dims: int) -> ArrayLike:
    """An array [d1, ..., dn, ...] as [d1 · … · dn, ...]; one of lower rank stays as it is.

    >>> import jax.numpy as jnp
    >>> merge_leading_dims(jnp.ones((2, 3, 4)), 2).shape
    (6, 4)
    """
    if not ndim_at_least(x, num_dims):
        return x
    return jnp.reshape(x, (-1, *np.shape(x)[num_dims:]))


def split_leading_dim(x: ArrayLike, to_dim: Sequence[int]) -> jax.Array:
    """An array [d1 · … · dn, ...] as [d1, ..., dn, ...].

    >>> import jax.numpy as jnp
    >>> split_leading_dim(jnp.ones((6, 4)), (2, 3)).shape
    (2, 3, 4)
    """
    return jnp.reshape(x, (*to_dim, *np.shape(x)[1:]))
