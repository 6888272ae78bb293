"""Modules of linen and nnx as submodules of a `bridge.Module`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ... import linen
from ..module import Module
from ..rngs import Rngs
from .module import adopt, running_scope
from .to_nnx import ToNNX, _initializing


def linen_in_bridge_mdl(linen_module: linen.Module, name: str | None = None) -> Any:
    """A linen module as a submodule of the `bridge.Module` whose method runs.

    Args:
      linen_module: the module.
      name: of the submodule; its class and number by default.
    """
    context, scope = running_scope("linen_in_bridge_mdl")
    module = ToNNX(linen_module)
    module.to_nnx__rngs = scope.rngs  # not forked: one call, one stream
    if scope.initializing:
        _initializing.set(_initializing.get() | {id(module)})  # until init returns
    adopt(context, module, name, type(linen_module).__name__)
    return module


def nnx_in_bridge_mdl(factory: Callable[[Rngs], Module], name: str | None = None) -> Any:
    """A module of nnx as a submodule of the `bridge.Module` whose method runs.

    Args:
      factory: makes the module from streams.
      name: of the submodule; its class and number by default.
    """
    context, scope = running_scope("nnx_in_bridge_mdl")
    module = factory(scope.rngs if len(scope.rngs) else Rngs(0))
    adopt(context, module, name)
    return module
