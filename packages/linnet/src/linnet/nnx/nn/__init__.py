"""The layers by kind, each kind a module of its own."""

import importlib as _importlib
import typing as _typing

if _typing.TYPE_CHECKING:
    from . import activations as activations
    from . import attention as attention
    from . import dtypes as dtypes
    from . import initializers as initializers
    from . import linear as linear
    from . import lora as lora
    from . import normalization as normalization
    from . import recurrent as recurrent
    from . import stochastic as stochastic

_PARTS = (
    "activations",
    "attention",
    "dtypes",
    "initializers",
    "linear",
    "lora",
    "normalization",
    "recurrent",
    "stochastic",
)


if not _typing.TYPE_CHECKING:

    def __getattr__(name: str) -> _typing.Any:
        if name in _PARTS:
            return _importlib.import_module(f".{name}", __name__)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(_PARTS)
