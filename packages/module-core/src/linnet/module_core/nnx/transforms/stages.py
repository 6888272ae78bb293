"""The stages of a jitted function, as in jax: `Traced`, `Lowered`, `Compiled`.

Each wraps the corresponding stage of jax and has all of its attributes; only the call to a compiled
program handles objects.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, TypeVar

import jax

from ...tracebacks import entry
from ..structure.bundle import Bundle, put_back
from ..structure.effect import Outcome
from ..structure.structure import build
from .placing import settled

if TYPE_CHECKING:
    from .jit import Jitted

R = TypeVar("R")


def abstract_output(bundle: Bundle, outcome: Outcome) -> Any:  # like the function's output
    """The output of an abstract run, with shapes as the values of new objects."""
    effect = outcome.effect
    values: list[Any] = [None] * effect.graphdef.num_leaves
    given = bundle.values() if effect.kept else []
    for i, value in zip(effect.changed, outcome.values, strict=True):
        values[i] = value
    for i, old in effect.kept:
        values[i] = jax.eval_shape(lambda x: x, given[old])
    return put_back(outcome.output, build(effect.graphdef, values)[0])


class _Stage(Generic[R]):
    """A stage of a jitted function, with the attributes of jax's stage."""

    def __init__(self, jitted: Jitted[..., R], stage: Any) -> None:
        self._jitted = jitted
        self._stage = stage

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self._stage, name)


class Traced(_Stage[R]):
    """A traced function: `jaxpr`, `lower()`, and everything else of `jax.stages.Traced`."""

    def lower(self, **options: object) -> Lowered[R]:
        """Lowers the function to a program."""
        return Lowered(self._jitted, self._stage.lower(**options))


class Lowered(_Stage[R]):
    """A program before compilation: `compile()`, and everything else of `jax.stages.Lowered`."""

    def compile(self, *args: object, **options: object) -> Compiled[R]:
        """Compiles the program."""
        return Compiled(self._jitted, self._stage.compile(*args, **options))


class Compiled(_Stage[R]):
    """A compiled function, called like the original with arguments of the same structure."""

    @entry
    def __call__(self, *args: object, **kwargs: object) -> R:
        prepared = self._jitted._prepare(args, kwargs)
        outcome = settled(self._stage(*prepared.flat))
        output: R = self._jitted._modes.apply(prepared.bundle, outcome, "jit")
        return output
