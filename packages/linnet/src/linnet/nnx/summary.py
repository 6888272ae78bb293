"""A model as a table."""

from linnet.module_core.nnx.summary import CallInfo as CallInfo
from linnet.module_core.nnx.summary import filter_rng_streams as filter_rng_streams
from linnet.module_core.nnx.summary import tabulate as tabulate
