"""What to use instead of each name and module of Flax 0.12.8 that Linnet doesn't have."""

from __future__ import annotations

REMEDIES: dict[str, str] = {}
"""By full name, as a program writes it ("flax.nnx.Missing")."""
