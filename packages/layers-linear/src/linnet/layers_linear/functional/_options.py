"""Options that are passed on only if they are set."""

from __future__ import annotations

from typing import Any


def given(**options: object) -> dict[str, Any]:
    """Those options that aren't None.

    A replacement for a JAX function need not know all of that function's options, and neither does
    an older JAX.
    """
    return {name: value for name, value in options.items() if value is not None}
