"""Switches that change the behavior of every module.

Switches are read from the environment once, at import: `FLAX_FIX_RNG_SEPARATOR=1` sets
`flax_fix_rng_separator`. The names are those of Flax, so that programs and their environments work
unchanged.

>>> config.flax_return_frozendict
False
>>> with temp_flip_flag("return_frozendict", True):
...     config.flax_return_frozendict
True
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from .errors import ArgumentError

_TRUE = ("y", "yes", "t", "true", "on", "1")
_FALSE = ("n", "no", "f", "false", "off", "0", "")


def _from_environment(name: str, default: bool) -> bool:
    text = os.environ.get(name.upper())
    if text is None:
        return default
    if text.lower() in _TRUE:
        return True
    if text.lower() in _FALSE:
        return False
    raise ArgumentError(
        f"Environment variable {name.upper()} is {text!r}, expected a boolean.",
        hint=f"Use one of {', '.join(_TRUE)} or {', '.join(n for n in _FALSE if n)}.",
    )


class Config:
    """The switches, as attributes.

    Attributes:
      flax_fix_rng_separator: a separator is hashed before every name and number of a random key's
        path, so that the paths ("ab", "c") and ("a", "bc") get different keys.
      flax_return_frozendict: `init`, `apply` and `variables` return a `FrozenDict`.
      flax_preserve_adopted_names: a module passed to another module's constructor keeps its name.
      flax_filter_frames: the library's frames are removed from tracebacks (see `tracebacks`).
      flax_profile: operations carry the names of their modules in profiles and in HLO.
    """

    flax_fix_rng_separator: bool
    flax_return_frozendict: bool
    flax_preserve_adopted_names: bool
    flax_filter_frames: bool
    flax_profile: bool

    def __init__(self) -> None:
        for name, default in _DEFAULTS.items():
            self.__dict__[name] = _from_environment(name, default)

    def __setattr__(self, name: str, value: object) -> None:
        self.update(name, value)

    def update(self, name: str, value: object) -> None:
        """Sets the switch `name`.

        Raises:
          LookupError: the switch doesn't exist.
        """
        if name not in _DEFAULTS:
            raise LookupError(f"Unknown switch {name!r}. Known switches: {', '.join(_DEFAULTS)}.")
        self.__dict__[name] = value

    def __reduce__(self) -> str:
        return "config"  # pickled by name: another process uses the switches set there

    def __repr__(self) -> str:
        return f"Config({', '.join(f'{k}={v}' for k, v in self.__dict__.items())})"


_DEFAULTS = {
    "flax_fix_rng_separator": False,
    "flax_return_frozendict": False,
    "flax_preserve_adopted_names": False,
    "flax_filter_frames": True,
    "flax_profile": True,
}

config = Config()
"""The switches of this process."""


@contextmanager
def temp_flip_flag(name: str, value: bool) -> Iterator[None]:
    """Sets the switch `flax_<name>` within a `with` block."""
    full = f"flax_{name}"
    old = getattr(config, full, None)
    config.update(full, value)
    try:
        yield
    finally:
        config.update(full, old)
