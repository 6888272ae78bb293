"""`functional`: turns an nnx class into a pair of functions, `init` and `apply`."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from ..errors import ArgumentError
from ..nnx.module import Module
from ..nnx.streams.rngs import Rngs
from ..nnx.structure.calling import Caller, call
from ..nnx.structure.graph import split
from ..nnx.structure.graphdef import GraphDef

M = TypeVar("M", bound=Module)


@dataclasses.dataclass
class Functional(Generic[M]):
    """A module's class and arguments.

    Attributes:
      module_type: the class.
      graphdef: the structure, after `init` has run.
      args, kwargs: the class's arguments.
    """

    module_type: type[M]
    graphdef: GraphDef | None
    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    def init(self, *, rngs: Rngs | None = None) -> Any:
        """Creates a module and returns its state.

        Args:
          rngs: streams that are passed to the class, unless None.
        """
        named = {} if rngs is None else {"rngs": rngs}
        module = self.module_type(*self.args, **self.kwargs, **named)
        self.graphdef, state = split(module)
        return state

    def apply(self, *states: object) -> Caller:
        """Calls a module with a state; see `nnx.call`.

        Raises:
          ArgumentError: `init` has not been called.
        """
        if self.graphdef is None:
            raise ArgumentError(
                f"{self.module_type.__name__} has no structure yet: call init before apply."
            )
        return call((self.graphdef, *states))


def functional(cls: type[M]) -> Callable[..., Functional[M]]:
    """A function that takes the arguments of a class, and returns its `init` and `apply`.

    >>> import jax.numpy as jnp
    >>> from linnet.module_core import nnx
    >>> class Scale(nnx.Module):
    ...     def __init__(self, n, *, rngs):
    ...         self.factor = nnx.Param(rngs.params.normal((n,)))
    ...     def __call__(self, x):
    ...         return self.factor * x
    >>> scale = nnx.bridge.functional(Scale)(3)
    >>> state = scale.init(rngs=nnx.Rngs(0))
    >>> y, (graphdef, state) = scale.apply(state)(jnp.ones(3))
    >>> y.shape
    (3,)
    """

    def make(*args: object, **kwargs: object) -> Functional[M]:
        return Functional(cls, None, args, kwargs)

    return make
