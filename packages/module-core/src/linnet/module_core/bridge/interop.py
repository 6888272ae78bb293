"""Modules of linen and nnx as submodules of a `bridge.Module`."""

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
    """A linen module as a submodule of the `bridge.Module` whose method runs.

    Args:
      linen_module: the module.
      name: of the submodule; its class and number by default.
    """
    context, scope = running_scope("linen_in_bridge_mdl")
    module = ToNNX(linen_module)
    module.to_nnx__rngs = scope.rngs  # not forked: one call, one stream
    # Of what init calls, the variables are those that its first call makes: nothing is sown.
    module.to_nnx__mutable = as_static(scope.mutable)
    if scope.initializing:
        start_initializing(module)  # until init returns
    adopt(context, module, name, type(linen_module).__name__)
    return module


def nnx_in_bridge_mdl(factory: Callable[[Rngs], Module], name: str | None = None) -> Any:
    """A module of nnx as a submodule of the `bridge.Module` whose method runs.

    Args:
      factory: makes the module from streams.
      name: of the submodule; its class and number by default.
    """
    context, scope = running_scope("nnx_in_bridge_mdl")
    if isinstance(factory, Module):
        raise ArgumentError(
            "nnx_in_bridge_mdl takes a function that makes the module from streams, got an instance"
            f" of {type(factory).__name__}.",
            hint="Write nnx_in_bridge_mdl(lambda rngs: nnx.Linear(2, 3, rngs=rngs)).",
        )
    module = factory(scope.rngs if len(scope.rngs) else Rngs(0))
    if not scope.initializing and not len(scope.rngs):
        forbid_streams(module)  # those of the seed 0 were for variables that were given
    adopt(context, module, name)
    return module
