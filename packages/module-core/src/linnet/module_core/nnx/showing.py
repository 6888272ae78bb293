"""`display`: renders objects as trees in a notebook, and prints them elsewhere."""

from __future__ import annotations

import sys
from typing import Any

from ..notebook import as_html


def display(*args: object) -> None:
    """Shows objects, as expandable trees in a notebook and as text elsewhere.

    In a notebook, treescope (`linnet-module-core[treescope]`) renders them if it is installed, with
    pictures of arrays. Without it, a tree shows shapes, dtypes, bytes and shardings, like the tree
    of a module that a cell returns.

    Args:
      *args: modules, states, arrays, linen's variables, or any other objects.

    >>> import jax.numpy as jnp
    >>> from linnet.module_core import nnx
    >>> nnx.display({"bias": nnx.Param(jnp.ones(2))})
    {'bias': Param( # 2 (8 B)
      value=Array([1., 1.], dtype=float32)
    )}
    """
    ipython = sys.modules.get("IPython")  # a running notebook has imported it
    if ipython is None or ipython.get_ipython() is None:
        for value in args:
            print(value)
        return
    treescope = _treescope()
    for value in args:
        if treescope is None:
            ipython.display.display(ipython.display.HTML(as_html(value)))
        else:
            with treescope.active_autovisualizer.set_scoped(treescope.ArrayAutovisualizer()):
                treescope.display(value)


def _treescope() -> Any:
    """The `treescope` module, or None if it isn't installed."""
    try:
        import treescope  # type: ignore[import-untyped]
    except ImportError:
        return None
    return treescope
