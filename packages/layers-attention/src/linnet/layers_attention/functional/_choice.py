"""Which implementation computes a call of attention."""

from __future__ import annotations

from collections.abc import Callable

from . import exact
from ._call import Call
from ._checks import check_implementation
from ._types import Array


def implementation_for(call: Call, name: str) -> Callable[[Call], Array]:
    """The function that computes `call`."""
    name = check_implementation(name)
    return exact.attend
