"""Modules of one kind as modules of the other."""

from linnet.module_core.bridge import Functional as Functional
from linnet.module_core.bridge import ToLinen as ToLinen
from linnet.module_core.bridge import ToNNX as ToNNX
from linnet.module_core.bridge import functional as functional
from linnet.module_core.bridge import lazy_init as lazy_init
from linnet.module_core.bridge import to_linen as to_linen
from linnet.module_core.bridge import to_linen_class as to_linen_class
from linnet.module_core.nnx import Module as Module
from linnet.module_core.nnx import Pytree as Pytree
from linnet.module_core.nnx import Rngs as Rngs
from linnet.module_core.nnx import State as State
