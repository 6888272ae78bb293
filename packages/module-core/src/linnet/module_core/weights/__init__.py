"""Weights from PyTorch and from files.

`from_torch` loads a state dict into an nnx module or a linen module, and `to_torch` makes one.
`compare_intermediates` finds the layer at which outputs start to differ from PyTorch's.
`load` and `save` read and write safetensors files with any tree of arrays.

This is part of module-core, not a package of its own: it needs both kinds of modules and what
their layers declare about themselves, has no other dependency, and its users have module-core
anyway.
"""

from .comparing import compare_intermediates as compare_intermediates
from .files import load as load
from .files import save as save
from .torch import from_torch as from_torch
from .torch import to_torch as to_torch
