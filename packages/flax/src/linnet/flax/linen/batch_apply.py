"""The names of `flax.linen.batch_apply`."""

from linnet.linen.batch_apply import *  # noqa: F403
