"""`display`: objects drawn by treescope in a notebook, and printed elsewhere."""

from __future__ import annotations

import sys
from typing import Any


def display(*args: object) -> None:
    """Shows objects: as trees to unfold in a notebook, as text elsewhere.

    In a notebook they are drawn by treescope (`linnet-module-core[treescope]`) if it is installed.

    Args:
      *args: modules, states, arrays, anything.
    """
    treescope = _treescope()
    for value in args:
        if treescope is None:
            print(value)
        else:
            with treescope.active_autovisualizer.set_scoped(treescope.ArrayAutovisualizer()):
                treescope.display(value)


def _treescope() -> Any:
    """The viewer, where there is a notebook for it to draw in."""
    ipython = sys.modules.get("IPython")  # imported by whoever runs the notebook
    if ipython is None or ipython.get_ipython() is None:
        return None
    try:
        import treescope  # type: ignore[import-untyped]
    except ImportError:
        return None
    return treescope
