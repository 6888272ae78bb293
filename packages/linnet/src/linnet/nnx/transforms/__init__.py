"""Transforms of functions of modules."""

import importlib as _importlib
import typing as _typing

if _typing.TYPE_CHECKING:
    from . import autodiff as autodiff
    from . import compilation as compilation
    from . import iteration as iteration
    from . import transforms as transforms

_PARTS = (
    "autodiff",
    "compilation",
    "iteration",
    "transforms",
)


if not _typing.TYPE_CHECKING:

    def __getattr__(name: str) -> _typing.Any:
        if name in _PARTS:
            return _importlib.import_module(f".{name}", __name__)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(_PARTS)
