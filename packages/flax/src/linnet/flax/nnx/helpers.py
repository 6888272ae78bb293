"""The names of `flax.nnx.helpers`."""

import inspect
from collections.abc import Callable
from typing import Any

from linnet.nnx.helpers import *  # noqa: F403


def has_keyword_arg(func: Callable[..., Any], name: str) -> bool:
    """Whether a function has a parameter that can be passed by this name."""
    found = inspect.signature(func).parameters.get(name)
    return found is not None and found.kind in (
        inspect.Parameter.POSITIONAL_OR_KEYWORD,
        inspect.Parameter.KEYWORD_ONLY,
    )
