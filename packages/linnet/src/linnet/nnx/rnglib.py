"""Streams of random keys."""

from linnet.module_core.nnx import Pytree as Pytree
from linnet.module_core.nnx import RngCount as RngCount
from linnet.module_core.nnx import RngKey as RngKey
from linnet.module_core.nnx import Rngs as Rngs
from linnet.module_core.nnx import RngState as RngState
from linnet.module_core.nnx import RngStream as RngStream
from linnet.module_core.nnx import StreamBackups as StreamBackups
from linnet.module_core.nnx import Variable as Variable
from linnet.module_core.nnx import backup_keys as backup_keys
from linnet.module_core.nnx import fork_rngs as fork_rngs
from linnet.module_core.nnx import reseed as reseed
from linnet.module_core.nnx import restore_rngs as restore_rngs
from linnet.module_core.nnx import split_rngs as split_rngs
from linnet.module_core.nnx import with_rngs as with_rngs
