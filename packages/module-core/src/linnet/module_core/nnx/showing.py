"""`display`: renders objects by treescope in a notebook, and prints them elsewhere."""

from __future__ import annotations

import sys
from typing import Any


def display(*args: object) -> None:
    """Shows objects, as expandable trees in a notebook and as text elsewhere.

    In a notebook, treescope (`linnet-module-core[treescope]`) renders them if it is installed.

    Args:
      *args: modules, states, arrays, or any other objects.
    """
    treescope = _treescope()
    for value in args:
        if treescope is None:
            print(value)
        else:
            with treescope.active_autovisualizer.set_scoped(treescope.ArrayAutovisualizer()):
                treescope.display(value)


def _treescope() -> Any:
    """The `treescope` module if code runs in a notebook, otherwise None."""
    ipython = sys.modules.get("IPython")  # a running notebook has imported it
    if ipython is None or ipython.get_ipython() is None:
        return None
    try:
        import treescope  # type: ignore[import-untyped]
    except ImportError:
        return None
    return treescope
