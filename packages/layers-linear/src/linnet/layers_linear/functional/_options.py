"""Options that are passed on only if they are given."""

from __future__ import annotations

from typing import Any


def given(**options: Any) -> dict[str, Any]:
    """Those options that aren't None.

    What takes the place of a function of JAX need not know all of that function's options, nor does
    an older JAX.
    """
    return {name: value for name, value in options.items() if value is not None}
