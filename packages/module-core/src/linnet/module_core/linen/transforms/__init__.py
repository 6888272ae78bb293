"""Lifted transforms: jax's transforms for modules. The mechanism stands in `lifting`."""

from .autodiff import custom_vjp, grad, jvp, value_and_grad, vjp
from .control_flow import cond, switch, while_loop
from .jit import fold_rngs, jit
from .map_variables import add_metadata_axis, map_variables
from .remat import checkpoint, remat, remat_scan
from .scan import scan
from .vmap import vmap

__all__ = [
    "add_metadata_axis",
    "checkpoint",
    "cond",
    "custom_vjp",
    "fold_rngs",
    "grad",
    "jit",
    "jvp",
    "map_variables",
    "remat",
    "remat_scan",
    "scan",
    "switch",
    "value_and_grad",
    "vjp",
    "vmap",
    "while_loop",
]
