"""Modules of one kind inside modules of the other."""

from linnet.module_core.bridge import linen_in_bridge_mdl as linen_in_bridge_mdl
from linnet.module_core.bridge import nnx_in_bridge_mdl as nnx_in_bridge_mdl
