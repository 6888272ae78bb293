"""Options that are passed only if they are set."""

from __future__ import annotations

from typing import Any


def given(**options: object) -> dict[str, Any]:
    """The options that aren't None.

    A replacement for a JAX function need not accept all of that function's options, and an older
    JAX may not have them.
    """
    return {name: value for name, value in options.items() if value is not None}
