"""Recurrent cells whose gates are separate layers in linen, and joined in nnx.

linen's OptimizedLSTMCell stores `ii`, `if`, `ig` and `io`; the nnx cell stores one kernel with all
four concatenated along the last axis. The GRU cells differ in the same way, except for the bias of
`hn`, which nnx doesn't have.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp


@dataclasses.dataclass(frozen=True)
class Join:
    """Joins several arrays into one along the last axis.

    Attributes:
      number: the number of arrays.
    """

    number: int

    def joined(
        self, parts: Sequence[jax.Array | jax.ShapeDtypeStruct]
    ) -> jax.Array | jax.ShapeDtypeStruct:
        """The joined array."""
        if any(isinstance(p, jax.ShapeDtypeStruct) for p in parts):
            shape = (*parts[0].shape[:-1], sum(p.shape[-1] for p in parts))
            return jax.ShapeDtypeStruct(shape, parts[0].dtype)  # type: ignore[no-untyped-call]
        return jnp.concatenate([jnp.asarray(p) for p in parts], -1)

    def split(self, whole: jax.Array) -> list[jax.Array]:
        """The parts."""
        return list(jnp.split(whole, self.number, -1))


@dataclasses.dataclass(frozen=True)
class Gates:
    """How the nnx cell joins the layers of a linen cell.

    Attributes:
      joined: maps (layer, parameter) in nnx to the layers in linen, in order.
      without_place: each (layer, parameter) in linen that has no counterpart in nnx.
    """

    joined: dict[tuple[str, str], tuple[str, ...]]
    without_place: tuple[tuple[str, str], ...] = ()


GATES = {
    "OptimizedLSTMCell": Gates(
        {
            ("dense_i", "kernel"): ("ii", "if", "ig", "io"),
            ("dense_h", "kernel"): ("hi", "hf", "hg", "ho"),
            ("dense_h", "bias"): ("hi", "hf", "hg", "ho"),
        }
    ),
    "GRUCell": Gates(
        {
            ("dense_i", "kernel"): ("ir", "iz", "in"),
            ("dense_i", "bias"): ("ir", "iz", "in"),
            ("dense_h", "kernel"): ("hr", "hz", "hn"),
        },
        without_place=(("hn", "bias"),),
    ),
    "SimpleCell": Gates(
        {
            ("dense_i", "kernel"): ("i",),
            ("dense_i", "bias"): ("i",),
            ("dense_h", "kernel"): ("h",),
            ("dense_h", "bias"): ("h",),
        }
    ),
}
"""The gates by nnx class."""
