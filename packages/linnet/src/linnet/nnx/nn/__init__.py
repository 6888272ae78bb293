"""The layers by kind, each kind a module of its own."""

import importlib as _importlib
import typing as _typing

if _typing.TYPE_CHECKING:
    from . import initializers as initializers

_KINDS = ("initializers",)


def __getattr__(name: str) -> _typing.Any:
    if name in _KINDS:
        return _importlib.import_module(f".{name}", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(_KINDS)
