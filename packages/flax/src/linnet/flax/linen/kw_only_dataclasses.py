"""The names of `flax.linen.kw_only_dataclasses`."""

from linnet.linen.kw_only_dataclasses import *  # noqa: F403
