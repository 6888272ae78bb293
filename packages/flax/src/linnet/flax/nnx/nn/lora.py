"""The names of `flax.nnx.nn.lora`."""

from linnet.nnx.nn.lora import *  # noqa: F403
