"""The modules and names of Flax 0.12.8, from Linnet's packages.

Each module of Flax is a module here, in the same place, and passes on the names that a program
expects in it. Modules are loaded when they are first used, whether they are imported or reached as
attributes.

>>> import jax, jax.numpy as jnp
>>> from linnet import flax
>>> variables = flax.linen.Dense(3).init(jax.random.key(0), jnp.ones((1, 2)))
>>> flax.traverse_util.flatten_dict(variables, sep="/")["params/kernel"].shape
(2, 3)

`install` makes `import flax` give this package; `python -m linnet.flax script.py` runs a program
that way. (PYTEST_DONT_REWRITE: pytest would warn when this package is imported before its plugins.)
"""

import typing as _typing

from linnet.flax._passing_on import passing_on as _passing_on
from linnet.flax.running import install as install
from linnet.flax.running import uninstall as uninstall
from linnet.flax.running.plugins import load_ipython_extension as load_ipython_extension
from linnet.flax.running.plugins import pytest_addoption as pytest_addoption
from linnet.flax.running.plugins import pytest_configure as pytest_configure
from linnet.flax.running.plugins import unload_ipython_extension as unload_ipython_extension

from .version import __version__ as __version__

if _typing.TYPE_CHECKING:
    from linnet.module_core.config import config as config

    from . import configurations as configurations
    from . import core as core
    from . import cursor as cursor
    from . import errors as errors
    from . import experimental as experimental
    from . import ids as ids
    from . import io as io
    from . import jax_utils as jax_utils
    from . import linen as linen
    from . import metrics as metrics
    from . import nnx as nnx
    from . import serialization as serialization
    from . import struct as struct
    from . import traceback_util as traceback_util
    from . import training as training
    from . import traverse_util as traverse_util
    from . import typing as typing
    from . import version as version
else:
    __getattr__, __dir__ = _passing_on(__name__, config="linnet.module_core.config:config")
