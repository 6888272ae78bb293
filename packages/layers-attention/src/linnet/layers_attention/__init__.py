"""Attention: one implementation, two styles.

`functional` contains the arithmetic as pure functions of arrays; the modules in `linen` declare
parameters and call it, and those in `nnx` own their variables and call it. Each is imported on
first use, so that one style never imports the other.
"""

import typing as _typing

from linnet.module_core.on_demand import names_on_demand as _names_on_demand

from .__about__ import __version__ as __version__

if _typing.TYPE_CHECKING:
    from . import functional as functional
    from . import linen as linen
    from . import nnx as nnx
else:
    __getattr__, __dir__ = _names_on_demand(__name__)
