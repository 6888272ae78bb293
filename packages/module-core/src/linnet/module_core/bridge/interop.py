"""Uses linen and nnx modules as submodules of a `bridge.Module`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .. import linen
from ..errors import ArgumentError
from ..nnx.module import Module
from ..nnx.streams.rngs import Rngs
from .as_nnx import ToNNX, as_static, start_initializing
from .module import adopt, running_scope
from .streams import forbid_streams


def linen_in_bridge_mdl(linen_module: linen.Module, name: str | None = None) -> Any:
    """Makes a linen module a submodule of the `bridge.Module` whose method is running.

    Args:
      linen_module: the module.
      name: name of the submodule; its class and number by default.
    """
    context, scope = running_scope("linen_in_bridge_mdl")
    module = ToNNX(linen_module)
    module.to_nnx__rngs = scope.rngs  # not forked: the call shares one stream
    # init keeps the variables that its first call creates: nothing is sown.
    module.to_nnx__mutable = as_static(scope.mutable)
    if scope.initializing:
        start_initializing(module)  # until init returns
    adopt(context, module, name, type(linen_module).__name__)
    return module


def nnx_in_bridge_mdl(factory: Callable[[Rngs], Module], name: str | None = None) -> Any:
    """Makes an nnx module a submodule of the `bridge.Module` whose method is running.

    Args:
      factory: creates the module from streams.
      name: name of the submodule; its class and number by default.
    """
    context, scope = running_scope("nnx_in_bridge_mdl")
    if isinstance(factory, Module):
        raise ArgumentError(
            "nnx_in_bridge_mdl takes a function that makes the module from random streams, got "
            f"an instance of {type(factory).__name__}.",
            hint="Write nnx_in_bridge_mdl(lambda rngs: nnx.Linear(2, 3, rngs=rngs)).",
        )
    module = factory(scope.rngs if len(scope.rngs) else Rngs(0))
    if not scope.initializing and not len(scope.rngs):
        forbid_streams(module)  # streams of seed 0 only created variables that were given
    adopt(context, module, name)
    return module
