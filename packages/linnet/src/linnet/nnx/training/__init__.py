"""What training takes beside the model."""

import importlib as _importlib
import typing as _typing

if _typing.TYPE_CHECKING:
    from . import ema as ema
    from . import metrics as metrics
    from . import optimizer as optimizer

_PARTS = (
    "ema",
    "metrics",
    "optimizer",
)


if not _typing.TYPE_CHECKING:

    def __getattr__(name: str) -> _typing.Any:
        if name in _PARTS:
            return _importlib.import_module(f".{name}", __name__)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(_PARTS)
