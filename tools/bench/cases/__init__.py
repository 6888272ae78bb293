"""The cases: each module in this folder has a list of them, `CASES`."""

from __future__ import annotations

import importlib
import pkgutil

from bench.case import Case


def all_cases() -> list[Case]:
    """The cases of all modules, in the order of the modules' names."""
    cases: list[Case] = []
    for module in sorted(m.name for m in pkgutil.iter_modules(__path__)):
        cases.extend(importlib.import_module(f"{__name__}.{module}").CASES)
    return cases
