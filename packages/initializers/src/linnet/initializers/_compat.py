"""Differences between the versions of JAX that this package supports."""

from __future__ import annotations

import inspect

import jax

HAS_OUT_SHARDING = "out_sharding" in inspect.signature(jax.nn.initializers.zeros).parameters
"""Initializers take `out_sharding`. Goes once the oldest supported jax is 0.7."""
