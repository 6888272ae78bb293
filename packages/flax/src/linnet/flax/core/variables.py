"""The names of `flax.core.variables`."""

from linnet.module_core.linen import Variable as Variable
